"""What the command `study detect` does: score every text of a study by every detector, and measure the scores."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from evalkit import text
from evalkit.articles.detectors import learned, scores, two_models
from evalkit.articles.detectors.measure import calibrate, measure
from evalkit.articles.detectors.records import Detection, Kind, Told
from evalkit.articles.records import Condition, Study
from evalkit.assignment import Say, ignore_text
from evalkit.errors import UsageError
from evalkit.interfaces import LanguageModel, OnProgress, Progress, ignore
from evalkit.records import PerToken, Response, TokenScores
from evalkit.signature import DIGITS, version

if TYPE_CHECKING:
    from evalkit.decoder.joint import JointScores, TwoModels

EVEN = 0.5  # probability from which a text is called a model's


@dataclass(frozen=True, slots=True)
class DetectSettings:
    """The flags of `evalkit study detect`; UsageError where one cannot be carried out."""

    scorer: str = "nano"
    second: str | None = None  # with the scorer's vocabulary; None leaves the detectors out that need two models
    window: int | None = None  # tokens scored at once; None is as many as the models have
    has_learned: bool = True  # whether classifiers are trained on the study's texts
    seed: int = 0  # of folds and resamples

    def __post_init__(self) -> None:
        """Check what can be checked without loading anything."""
        if not self.scorer.strip():
            raise UsageError("--scorer: found nothing, expected nano, a checkpoint folder or a hub id")
        if self.second is not None and not self.second.strip():
            raise UsageError("--second: found nothing, expected a checkpoint folder or a hub id")
        if self.second == self.scorer:
            raise UsageError(f"--second: found {self.second}, which is the scorer; give another model")
        if self.window is not None and self.window < 2:
            raise UsageError(f"--window: found {self.window}, expected 2 or more")
        if self.seed < 0:
            raise UsageError(f"--seed: found {self.seed}, expected 0 or more")


def detect(
    study: Study,
    settings: DetectSettings,
    load_model: Callable[[str], LanguageModel],
    *,
    on_progress: OnProgress = ignore,
    say: Say = ignore_text,
) -> Detection:
    """Score the human text of each article and those of all conditions, each text once, and measure each condition.

    White space around a text does not count. A text longer than the window is scored in windows of which each after
    the first adds half a window of new tokens. `load_model` is given names; `say` is told what is left out. Raises
    UsageError where a model does not tell what is needed, or the two do not fit.
    """
    scorer = load_model(settings.scorer)
    second = None if settings.second is None else load_model(settings.second)
    pair = None if second is None else two_models.load(scorer, second)
    window = settings.window or min([scorer.window, *([] if second is None else [second.window])])

    requests = {each: PerToken(each, window, max(1, window // 2)) for each in _texts(study)}
    if pair is not None:
        pair.check(requests.values())  # before hours of scoring by one model alone
    tokens = _tokens(requests, scorer, on_progress)
    joint = {} if pair is None else _joint(requests, pair, on_progress)
    notes = _notes(study, settings)
    for note in notes:
        say(note)
    scored = Scored(study, tokens, joint, settings.seed)
    rows: list[Told] = []
    count = len(study.articles)
    for done, condition in enumerate(study.conditions):
        on_progress(Progress("measuring scores", done * count, len(study.conditions) * count))
        rows += scored.zero_shot(condition)
        if settings.has_learned and count >= learned.LEAST_ARTICLES:
            rows += scored.learned(condition)
    on_progress(Progress("measuring scores", len(study.conditions) * count, len(study.conditions) * count))
    return Detection(
        study=study.signature,
        scorer=scorer.name,
        second=None if second is None else second.name,
        articles=tuple(article.id for article in study.articles),
        rows=tuple(rows),
        notes=notes,
        signature=_signature(requests, scorer, second, settings=settings, window=window),
    )


@dataclass(frozen=True, slots=True)
class Scored:
    """A study's texts with what models made of their tokens."""

    study: Study
    tokens: Mapping[str, TokenScores]  # by text
    joint: Mapping[str, JointScores]  # empty without a second model
    seed: int

    def zero_shot(self, condition: Condition) -> Iterator[Told]:
        """Yield what detectors that learn nothing make of a condition."""
        human, model = self.texts(condition)
        for name, detector in scores.DETECTORS.items():
            found = [detector(self.tokens[each]) for each in (*human, *model)]
            yield self._told(condition, name, "zero-shot", found)
        for name, joint_detector in two_models.JOINT_DETECTORS.items() if self.joint else ():
            found = [joint_detector(self.joint[each]) for each in (*human, *model)]
            yield self._told(condition, name, "two models", found)

    def learned(self, condition: Condition) -> Iterator[Told]:
        """Yield what classifiers make of a condition that learned from the same condition's other articles."""
        human, model = self.texts(condition)
        features = {each: learned.likelihood_features(self.tokens[each]) for each in (*human, *model)}
        both = [features[each] for each in human], [features[each] for each in model]
        for name, (of_human, of_model) in learned.probabilities(human, model, both, seed=self.seed).items():
            yield self._told(condition, name, "learned", [*of_human, *of_model])

    def texts(self, condition: Condition) -> tuple[list[str], list[str]]:
        """List the human texts and those of a condition, in the order of the articles."""
        articles = self.study.articles
        return [each.text.strip() for each in articles], [condition.written[each.id].text.strip() for each in articles]

    def _told(self, condition: Condition, detector: str, kind: Kind, found: Sequence[float | None]) -> Told:
        """Measure the scores of the human texts and, after them, of the model's."""
        human, model = found[: len(found) // 2], found[len(found) // 2 :]
        pairs = [(one, other) for one, other in zip(human, model, strict=True) if one is not None and other is not None]
        kept = [one for one, _ in pairs], [other for _, other in pairs]
        threshold = EVEN if kind == "learned" else None
        return Told(
            condition=condition.name,
            detector=detector,
            kind=kind,
            human=tuple(human),
            model=tuple(model),
            unscored=len(human) - len(pairs),
            measures=measure(*kept, seed=self.seed, threshold=threshold) if len(pairs) > 1 else None,
            calibration=calibrate(*kept, seed=self.seed) if kind == "learned" else None,
        )


def _texts(study: Study) -> Iterator[str]:
    """Yield all texts, those of people first; some may come several times."""
    yield from (article.text.strip() for article in study.articles)
    yield from (condition.written[each.id].text.strip() for condition in study.conditions for each in study.articles)


def _tokens(
    requests: Mapping[str, PerToken], scorer: LanguageModel, on_progress: OnProgress
) -> Mapping[str, TokenScores]:
    done = 0

    def answered(_place: int, _response: Response) -> None:
        nonlocal done
        done += 1
        on_progress(Progress("scoring texts", done, len(requests)))

    on_progress(Progress("scoring texts", 0, len(requests)))
    found = scorer.answer(list(requests.values()), on_response=answered)
    return {each: one for each, one in zip(requests, found, strict=True) if isinstance(one, TokenScores)}


def _joint(requests: Mapping[str, PerToken], pair: TwoModels, on_progress: OnProgress) -> Mapping[str, JointScores]:
    found: dict[str, JointScores] = {}
    for each, request in requests.items():
        on_progress(Progress("scoring texts with two models", len(found), len(requests)))
        found[each] = pair.score(request)
    on_progress(Progress("scoring texts with two models", len(found), len(requests)))
    return found


def _notes(study: Study, settings: DetectSettings) -> tuple[str, ...]:
    """Say what is left out."""
    notes: list[str] = []
    if settings.second is None:
        notes.append(f"Without a second model there is no {' and no '.join(two_models.JOINT_DETECTORS)}.")
    if settings.has_learned and len(study.articles) < learned.LEAST_ARTICLES:
        notes.append(
            f"Nothing was learned from {len(study.articles)} articles; classifiers need {learned.LEAST_ARTICLES}."
        )
    return tuple(notes)


def _signature(
    texts: Mapping[str, PerToken],
    scorer: LanguageModel,
    second: LanguageModel | None,
    *,
    settings: DetectSettings,
    window: int,
) -> str:
    """Write the line that says what the scores depend on."""
    models = [("scorer", scorer), *([] if second is None else [("second", second)])]
    parts = [
        "detectors",
        f"seed:{settings.seed}",
        f"texts:{text.digest(list(texts), length=DIGITS)}",
        f"window:{window}",
        *(f"{role}:{model.name}@{model.fingerprint[:DIGITS]}" for role, model in models),
        *([f"scikit-learn:{_scikit_learn()}"] if settings.has_learned else []),
        f"evalkit:{version()}",
    ]
    return "|".join(parts)


def _scikit_learn() -> str:
    from importlib import metadata

    return metadata.version("scikit-learn")

"""The command `study build`: articles, what models write for them, and two quizzes, in one study.json.

Each model writes several continuations an article, after other articles. They are cut at a sentence, copies are
dropped, and the one whose number of words is nearest the human article's is kept. The control writes without articles
of context, at a higher temperature (Brown 2020, section 3.9.4 and Appendix E).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from evalkit import manifest, plan, run, signature
from evalkit.articles import directory as directories
from evalkit.articles import given, provenance, quizzes, tells, write
from evalkit.articles.gather import TASK, Gathered, gather, some
from evalkit.articles.given import Texts
from evalkit.articles.records import Article, Condition, Study
from evalkit.articles.settings import CONTROL, BuildSettings
from evalkit.articles.write import Answered, Writer, Writing
from evalkit.assignment import Assignment, Say, ignore_text
from evalkit.errors import DataError, UsageError
from evalkit.interfaces import LanguageModel, OnProgress, ignore
from evalkit.records import Completion, Generate
from evalkit.report.table import count
from evalkit.settings import Settings
from evalkit.store import Store
from evalkit.text import digest

Json = dict[str, Any]  # Any: JSON nests


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a build leaves."""

    directory: Path
    study: Study
    notes: tuple[str, ...]  # what a reader of its results must know


def build(
    settings: BuildSettings,
    load_model: Callable[[str], LanguageModel],
    *,
    on_progress: OnProgress = ignore,
    say: Say = ignore_text,
) -> Outcome:
    """Build a study, from the names of articles and models to study.json; `say` is told its notes.

    What was answered before, by a build that was stopped, is not asked again. A study that has been served to
    participants stays as it is. Raises EvalkitError for what cannot be carried out.
    """
    gathered = gather(settings)
    texts = [given.read(each, gathered) for each in settings.given]
    described = provenance.describe(settings, gathered, texts)
    directory = settings.out or provenance.default_directory(settings, described)
    notes = [*gathered.notes, *(note for each in texts for note in each.notes)]
    with provenance.claim(directory, described) as store:
        if (directory / directories.ANSWERS).exists():
            note = f"{directory}: the study has been served to participants, and stays as it is."
            say(note)
            return Outcome(directory, directories.load(directory), (note,))
        for note in notes:
            say(note)
        office = Office(settings, gathered, store, directory, on_progress)
        written: list[Writing] = []
        for name, roles in _roles(settings).items():
            # Nothing refers to a model any more when the next is loaded: the memory may not hold both.
            written += office.work(load_model(name), roles, taken=_names(texts, written))
        conditions = [*(each.condition for each in written), *(each.condition for each in texts)]
        articles, left_out = _kept(gathered.articles, written)
        told = [*(note for each in written for note in each.notes), *left_out]
        told += [note for each in conditions for note in tells.notes(articles, each)]
        for note in told:
            say(note)
        study = _study(settings, gathered, articles, conditions)
        built = described | {
            "models": {each.account["model"]["name"]: each.account["model"]["fingerprint"] for each in written},
            "conditions": {each.condition.name: each.account for each in written},
            "left_out": _reasons(written),
            "notes": [*notes, *told],
            "versions": manifest.versions(),
        }
        directories.save(study, directory, built=built)
    return Outcome(directory, study, tuple(built["notes"]))


@dataclass(frozen=True, slots=True)
class Office:
    """Where models are asked and their answers are kept."""

    settings: BuildSettings
    gathered: Gathered
    store: Store
    directory: Path
    on_progress: OnProgress

    def work(self, model: LanguageModel, roles: Sequence[bool], *, taken: Sequence[str]) -> list[Writing]:
        """Have a model write for its own condition, for the control's, or for both; `taken` are conditions' names."""
        if False in roles:
            _check_name(model.name, taken=taken)
        provenance.check_model(self.directory, model.name, model.fingerprint)
        window = run.choose_window(self._asking(model), model)
        writers = [
            write.prepare(self.settings, self.gathered, model, is_control=is_control, window=window)
            for is_control in roles
        ]
        return [
            write.write(
                writer,
                self.gathered,
                ask=partial(self._ask, writer),
                standing=self._standing if self.settings.corpus else None,
                sign=partial(self._sign, writer),
            )
            for writer in writers
        ]

    def _asking(self, model: LanguageModel) -> Settings:
        """Say what a run would be asked that puts the same questions."""
        own = self.settings
        return Settings(tasks=(TASK,), model=model.name, seed=own.seed, window=own.window, dtype=own.dtype)

    def _ask(self, writer: Writer, assignment: Assignment) -> list[Answered]:
        settings = self._asking(writer.model)
        questions = run.ask(
            [assignment],
            settings=settings,
            model=writer.model,
            window=writer.window,
            on_progress=self.on_progress,
        )
        batches = plan.batches((ask for each in questions for ask in each.asks), token_budget=settings.call_tokens)
        reporter = run.Reporter(questions, self.on_progress, what=f"{writer.name}: writing")
        known = self.store.responses(writer.model.fingerprint)
        answers = run.execute(batches, writer.model, known=known, store=self.store, report=reporter)

        def pairs(question: run.Question) -> Iterator[tuple[int, Completion]]:
            for each in question.asks:
                completion = answers[each.key]
                assert isinstance(each.request, Generate)
                assert isinstance(completion, Completion)
                yield each.request.seed, completion

        return [Answered(each.example.id, each.prompt, tuple(pairs(each))) for each in questions]

    def _standing(self, texts: Sequence[str]) -> frozenset[str]:
        # numba and its kernels are not waited for where no corpus is given.
        from evalkit.articles import corpus

        return corpus.standing(
            texts,
            self.settings.corpus,
            text_field=self.settings.text_field,
            directory=self.directory,
            on_progress=self.on_progress,
        )

    def _sign(self, writer: Writer, assignment: Assignment) -> str:
        line = signature.line(
            [assignment],
            shots=assignment.shots,
            settings=self._asking(writer.model),
            model=writer.model,
            window=writer.window,
        )
        corpora = self.settings.corpus
        return f"{line}|candidates:{self.settings.candidates}" + ("|without:corpus" if corpora else "")


def _names(given: Sequence[Texts], written: Sequence[Writing]) -> list[str]:
    """List the names that conditions have so far."""
    return [*(each.condition.name for each in given), *(each.condition.name for each in written)]


def _roles(settings: BuildSettings) -> Mapping[str, Sequence[bool]]:
    """Map every model to whether it writes for the control: False, True for a model of its own, or both."""
    roles: dict[str, list[bool]] = {name: [False] for name in settings.models}
    if settings.control_model is not None:
        roles.setdefault(settings.control_model, []).append(True)
    return roles


def _check_name(name: str, *, taken: Sequence[str]) -> None:
    if name == CONTROL:
        raise UsageError(f"found a model called {CONTROL!r}, as the control's texts are; rename its folder")
    if name in taken:
        raise UsageError(f"found two writers called {name!r}, expected names that differ; rename one")


def _kept(articles: Sequence[Article], written: Sequence[Writing]) -> tuple[tuple[Article, ...], tuple[str, ...]]:
    """Keep the articles that have a text in every condition; a note names the others, where there are any."""
    left_out = _reasons(written)
    kept = tuple(each for each in articles if each.id not in left_out)
    if not left_out:
        return kept, ()
    [first, *_] = left_out
    name, reason = next(iter(left_out[first].items()))
    such = f"{first!r}, for which {name} has no text: {reason}"
    if len(kept) < 2:
        raise DataError(
            f"found texts of all models for {count(len(kept), 'article')}, expected at least 2; without one is {such}; "
            "give other models, articles or --candidates"
        )
    return kept, (f"{count(len(left_out), 'article')} left out ({some([*left_out])}), such as {such}.",)


def _reasons(written: Sequence[Writing]) -> Mapping[str, Mapping[str, str]]:
    """Map articles that are left out to conditions and why they have no text there."""
    reasons: dict[str, dict[str, str]] = {}
    for each in written:
        for article, reason in each.left_out.items():
            reasons.setdefault(article, {})[each.condition.name] = reason
    return reasons


def _study(
    settings: BuildSettings, gathered: Gathered, articles: tuple[Article, ...], conditions: Sequence[Condition]
) -> Study:
    """Put articles, texts and quizzes together; the control's condition comes last."""
    ids = [each.id for each in articles]
    ordered = sorted(conditions, key=lambda each: each.is_control)
    complete = tuple(replace(each, written={name: each.written[name] for name in ids}) for each in ordered)
    human_in_a = quizzes.assign(articles, settings.seed)
    texts = {one.name: {name: each.text for name, each in one.written.items()} for one in complete}
    shown = digest(articles, human_in_a, texts)
    parts = [
        "study",
        f"seed:{settings.seed}",
        f"n:{len(articles)}",
        f"conditions:{len(complete)}",
        f"data:{gathered.digest[: signature.DIGITS]}",
        f"shown:{shown[: signature.DIGITS]}",
        f"evalkit:{signature.version()}",
    ]
    return Study(
        title=settings.title,
        seed=settings.seed,
        articles=articles,
        human_in_a=human_in_a,
        conditions=complete,
        exclusions=settings.exclusions,
        signature="|".join(parts),
    )

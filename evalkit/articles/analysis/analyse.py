"""From a study and its participants to everything that is said of them; tables and figure are made of the result."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from evalkit import stats
from evalkit.articles.analysis import accuracy, clustered, components, power, texts
from evalkit.articles.analysis.accuracy import Tally
from evalkit.articles.analysis.against import Against, Side, against, deviation
from evalkit.articles.analysis.agreement import Agreement
from evalkit.articles.analysis.check import check
from evalkit.articles.analysis.clustered import Robust
from evalkit.articles.analysis.components import Components
from evalkit.articles.analysis.exclusions import REASONS, Reason, judge, kept
from evalkit.articles.analysis.fit import FEWEST_SIZES, PowerLaw, fit
from evalkit.articles.analysis.power import Plan, Variances
from evalkit.articles.analysis.texts import Choices, Confidence, TextScore
from evalkit.articles.length import count_words
from evalkit.articles.records import Condition, Exclusions, Participant, Study
from evalkit.records import Estimate
from evalkit.report.table import count


@dataclass(frozen=True, slots=True)
class Group:
    """One condition's participants, and what their answers come to; what cannot be computed is None."""

    name: str
    is_control: bool
    parameters: int | None
    signature: str
    recruited: int
    excluded: Mapping[Reason, int]  # by the first rule that applies
    undecided: int  # participants left whose answers are all neutral: they have no accuracy
    words_human: float  # of the study's articles, on average
    words_model: float
    accuracies: tuple[float, ...]  # of the participants left, in their order
    accuracy: Estimate | None  # the t interval
    dont_know: Estimate | None  # share of answers; participants are clusters
    seconds: Estimate | None  # of an article, the mean over participants
    robust: Robust | None
    components: Components | None
    against: Against | None  # None for the control, and without one
    choices: tuple[Choices, ...]
    confidence: Confidence
    agreement: Agreement

    @property
    def left(self) -> int:
        """Participants who are not excluded."""
        return self.recruited - sum(self.excluded.values())


@dataclass(frozen=True, slots=True)
class Analysis:
    """All that the answers of a study say."""

    title: str
    signature: str
    articles: int
    exclusions: Exclusions
    groups: tuple[Group, ...]  # in the study's order
    tallies: tuple[Tally, ...]  # of everybody, in the order given
    texts: tuple[TextScore, ...]
    law: PowerLaw | None
    plan: Plan | None
    notes: tuple[str, ...]  # what could not be computed, and why, in whole sentences

    @property
    def control(self) -> Group | None:
        """The control's group; None where the study has none."""
        return next((group for group in self.groups if group.is_control), None)


def analyse(study: Study, participants: Sequence[Participant], *, seed: int = 0) -> Analysis:
    """Analyse the answers to a study; `seed` is that of the power law's interval.

    Raises DataError where the study cannot have such answers. Whatever too few participants do not allow is None, and a
    note says so.
    """
    check(study, participants)
    judged = judge(study.exclusions, participants, articles=len(study.articles))
    left = kept(judged)
    tallies = tuple(map(accuracy.tally, judged))
    sides = {each.name: _side(study, each.name, tallies, left) for each in study.conditions}
    control = next((sides[each.name] for each in study.conditions if each.is_control), None)
    groups = tuple(
        _group(study, each, tallies, left, side=sides[each.name], control=None if each.is_control else control)
        for each in study.conditions
    )
    law = fit(
        [
            (each.parameters, each.accuracies)
            for each in groups
            if not each.is_control and each.parameters is not None and each.parameters > 0
        ],
        seed=seed,
    )
    return Analysis(
        title=study.title,
        signature=study.signature,
        articles=len(study.articles),
        exclusions=study.exclusions,
        groups=groups,
        tallies=tallies,
        texts=texts.scores(study, left),
        law=law,
        plan=_plan(groups, articles=len(study.articles)),
        notes=tuple(_notes(participants, groups, law)),
    )


def _side(study: Study, condition: str, tallies: Sequence[Tally], left: Sequence[Participant]) -> Side:
    accuracies = tuple(
        each.accuracy
        for each in tallies
        if each.condition == condition and each.reason is None and each.accuracy is not None
    )
    people = [each for each in left if each.condition == condition]
    return Side(accuracies, clustered.crossed(people, [article.id for article in study.articles]))


def _group(
    study: Study,
    condition: Condition,
    tallies: Sequence[Tally],
    left: Sequence[Participant],
    *,
    side: Side,
    control: Side | None,  # None for the control itself
) -> Group:
    name = condition.name
    own = [tally for tally in tallies if tally.condition == name]
    counted = [tally for tally in own if tally.reason is None]
    people = [participant for participant in left if participant.condition == name]
    return Group(
        name=name,
        is_control=condition.is_control,
        parameters=condition.parameters,
        signature=condition.signature,
        recruited=len(own),
        excluded={reason: sum(tally.reason == reason for tally in own) for reason in REASONS},
        undecided=sum(tally.accuracy is None for tally in counted),
        words_human=_words([article.text for article in study.articles]),
        words_model=_words([condition.written[article.id].text for article in study.articles]),
        accuracies=side.accuracies,
        accuracy=accuracy.mean(side.accuracies),
        dont_know=_dont_know(counted),
        seconds=accuracy.mean([tally.mean_seconds for tally in counted if tally.mean_seconds is not None]),
        robust=clustered.mean(side.answers),
        components=components.components(side.answers),
        against=None if control is None else against(control, side, articles=len(study.articles)),
        choices=texts.choices(name, people),
        confidence=texts.confidence(name, people),
        agreement=texts.agreement(people),
    )


def _dont_know(tallies: Sequence[Tally]) -> Estimate | None:
    """Estimate the share of neutral answers."""
    values = [float(place < each.neutral) for each in tallies for place in range(each.answered)]
    if not values:
        return None
    return stats.proportion(values, clusters=[each.participant for each in tallies for _ in range(each.answered)])


def _words(shown: Sequence[str]) -> float:
    return math.fsum(count_words(text) for text in shown) / max(1, len(shown))


def _plan(groups: Sequence[Group], *, articles: int) -> Plan | None:
    """Plan another study like this one; None where no group shows how participants differ."""
    known = [group.accuracies for group in groups if len(group.accuracies) > 1]
    spread = deviation(known) if known else 0.0
    robust = [group.robust for group in groups if group.robust]
    if spread == 0 or not robust:
        return None
    found = [group.against.variances for group in groups if group.against and group.against.variances]
    variances = None
    if found:
        variances = Variances(
            participant=fmean(each.participant for each in found),
            text=fmean(each.text for each in found),
            residual=fmean(each.residual for each in found),
        )
    decided = sum(each.answers for each in robust) / sum(each.estimate.n for each in robust)
    return power.plan(spread, variances, articles=articles, decided=decided)


def _notes(participants: Sequence[Participant], groups: Sequence[Group], law: PowerLaw | None) -> Iterator[str]:
    if not participants:
        yield "No participants: nothing can be computed."
        return
    if all(participant.has_attended is None for participant in participants):
        yield (
            "No participant came to an attention check: where a study has none, its exclusions are declared without it."
        )
    for group in groups:
        yield from _group_notes(group)
    if not any(group.is_control for group in groups):
        yield "The study has no control: accuracies are compared with nothing."
    models = [group for group in groups if not group.is_control]
    unsized = [group.name for group in models if group.parameters is None]
    if unsized:
        yield f"Parameters are not known of {', '.join(unsized)}: not part of accuracy against model size."
    sizes = {group.parameters for group in models if group.parameters is not None and group.accuracies}
    if len(sizes) < FEWEST_SIZES:
        yield f"A power law needs accuracies of {FEWEST_SIZES} model sizes; found {len(sizes)}."
    elif law is None:
        yield "No power law fits the accuracies better than all others."


def _group_notes(group: Group) -> Iterator[str]:
    if group.recruited == 0:
        yield f"{group.name}: nobody took part."
    elif group.left == 0:
        yield f"{group.name}: nobody is left of {count(group.recruited, 'participant')}."
    elif len(group.accuracies) == 0:
        yield f'{group.name}: nobody answered anything but "I don\'t know".'
    elif len(group.accuracies) == 1:
        yield f"{group.name}: one participant is left, who shows no spread: no mean with an interval."
    elif group.undecided:
        yield f'{group.name}: {count(group.undecided, "participant")} answered "I don\'t know" alone: no accuracy.'
    if len(group.accuracies) > 1 and len(set(group.accuracies)) == 1:
        yield f"{group.name}: all participants have the same accuracy, so that the interval has no width."

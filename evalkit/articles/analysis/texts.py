"""What participants answered text by text: how often each answer, how often right, which texts were hard."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from evalkit import stats
from evalkit.articles.analysis.accuracy import is_correct
from evalkit.articles.analysis.agreement import Agreement, alpha
from evalkit.articles.records import CHOICES, NEUTRAL, WRITERS, Answer, Participant, Study, Writer
from evalkit.records import Estimate

SURE = frozenset((1, len(CHOICES)))  # the answers that say "very likely"


@dataclass(frozen=True, slots=True)
class TextScore:
    """How participants did on one text."""

    article: str  # id
    title: str
    writer: Writer
    condition: str | None  # None for a human text, which the participants of all conditions saw
    accuracy: Estimate  # Wilson's interval, of the answers that name a writer
    neutral: int  # answers "I don't know" beside them


@dataclass(frozen=True, slots=True)
class Choices:
    """How often each of the five answers was given about one writer's texts in one condition."""

    condition: str
    writer: Writer
    counts: tuple[int, ...]  # in the order of CHOICES


@dataclass(frozen=True, slots=True)
class Confidence:
    """Accuracy by how sure the answer was; intervals with participants as clusters, n counts answers."""

    condition: str
    very_likely: Estimate | None  # None without such an answer
    more_likely: Estimate | None


def scores(study: Study, participants: Sequence[Participant]) -> tuple[TextScore, ...]:
    """Score every text that somebody named a writer of: human texts first, then each condition's."""
    found: dict[tuple[str | None, str], list[bool | None]] = {}
    for participant in participants:
        for answer in participant.answers:
            condition = None if answer.writer == "human" else participant.condition
            found.setdefault((condition, answer.article), []).append(is_correct(answer))
    return tuple(
        TextScore(
            article=article.id,
            title=article.title,
            writer="human" if condition is None else "model",
            condition=condition,
            accuracy=stats.wilson(sum(decided), n=len(decided)),
            neutral=len(found[condition, article.id]) - len(decided),
        )
        for condition in (None, *(each.name for each in study.conditions))
        for article in study.articles
        if (decided := [right for right in found.get((condition, article.id), ()) if right is not None])
    )


def choices(condition: str, participants: Sequence[Participant]) -> tuple[Choices, ...]:
    """Count the five answers by writer; `participants` are the condition's."""
    given = [answer for participant in participants for answer in participant.answers]

    def count(writer: Writer) -> tuple[int, ...]:
        of_writer = [answer.choice for answer in given if answer.writer == writer]
        return tuple(of_writer.count(choice) for choice in range(1, len(CHOICES) + 1))

    return tuple(Choices(condition, writer, count(writer)) for writer in WRITERS)


def confidence(condition: str, participants: Sequence[Participant]) -> Confidence:
    """Compare the answers "very likely" with "more likely"; `participants` are the condition's."""
    rows = [(participant.id, answer) for participant in participants for answer in participant.answers]

    def accuracy(kept: list[tuple[str, Answer]]) -> Estimate | None:
        if not kept:
            return None
        right = [float(is_correct(answer) is True) for _, answer in kept]
        return stats.proportion(right, clusters=[participant for participant, _ in kept])

    decided = [(who, answer) for who, answer in rows if answer.choice != NEUTRAL]
    return Confidence(
        condition,
        very_likely=accuracy([(who, answer) for who, answer in decided if answer.choice in SURE]),
        more_likely=accuracy([(who, answer) for who, answer in decided if answer.choice not in SURE]),
    )


def agreement(participants: Sequence[Participant]) -> Agreement:
    """Measure how far a condition's participants agree about the same text."""
    units: dict[tuple[str, Writer], list[int]] = {}
    for participant in participants:
        for answer in participant.answers:
            units.setdefault((answer.article, answer.writer), []).append(answer.choice)
    five = [[choice - 1 for choice in units[key]] for key in sorted(units)]
    verdict = [[int(choice > NEUTRAL) for choice in units[key] if choice != NEUTRAL] for key in sorted(units)]
    return Agreement(
        five=alpha(five, categories=len(CHOICES), scale="ordinal"),
        verdict=alpha(verdict, categories=2, scale="nominal"),
    )

"""Who is left out, by the rules that were declared before anybody was asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal, TypeAlias

from evalkit.articles.records import Exclusions, Participant

Reason: TypeAlias = Literal["not finished", "attention check", "too fast"]
REASONS: tuple[Reason, ...] = ("not finished", "attention check", "too fast")  # in the order in which they are applied


@dataclass(frozen=True, slots=True)
class Judged:
    """A participant, and why the answers do not count."""

    participant: Participant
    reason: Reason | None  # the first rule that applies; None for those who are left


def judge(exclusions: Exclusions, participants: Sequence[Participant], *, articles: int) -> tuple[Judged, ...]:
    """Apply the rules to everybody; `articles` is how many a quiz has."""
    return tuple(Judged(each, _reason(exclusions, each, articles)) for each in participants)


def kept(judged: Sequence[Judged]) -> tuple[Participant, ...]:
    """Give those who are left, in their order."""
    return tuple(each.participant for each in judged if each.reason is None)


def median_seconds(participant: Participant) -> float | None:
    """Give the median time of an article; None where none was answered."""
    return median(answer.seconds for answer in participant.answers) if participant.answers else None


def _reason(exclusions: Exclusions, participant: Participant, articles: int) -> Reason | None:
    if exclusions.must_finish and not (participant.has_finished and len(participant.answers) == articles):
        return "not finished"
    if exclusions.must_attend and not participant.has_attended:  # who never came to the check did not pass it
        return "attention check"
    seconds = median_seconds(participant)
    if exclusions.least_seconds is not None and seconds is not None and seconds < exclusions.least_seconds:
        return "too fast"
    return None

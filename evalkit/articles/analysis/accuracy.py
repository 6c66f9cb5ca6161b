"""Accuracy as the paper has it: a share for each participant, their mean, and a t-test against the control.

Brown et al. 2020, section 3.9.4 and Appendix E: the share of right answers among those that are not "I don't know", the
t interval of the mean over participants, `scipy.stats.ttest_ind` with pooled variance. Articles count as given.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from evalkit.articles.analysis.exclusions import Judged, Reason, median_seconds
from evalkit.articles.records import NEUTRAL, Answer, Participant, Quiz
from evalkit.records import Estimate

LEVEL = 0.95


@dataclass(frozen=True, slots=True)
class Tally:
    """What one participant's answers come to."""

    participant: str  # id
    condition: str
    quiz: Quiz
    answered: int  # articles
    neutral: int  # answers "I don't know"
    correct: int
    accuracy: float | None  # correct among those that are not neutral; None where all are
    mean_seconds: float | None  # of an article; None without an answer, as is the median
    median_seconds: float | None
    reason: Reason | None  # why it does not count


@dataclass(frozen=True, slots=True)
class Test:
    """A two-sample test of mean accuracies: the control's minus a model's."""

    difference: Estimate  # n counts the participants of both
    t: float
    freedom: float  # degrees of freedom
    p: float  # two-sided


def is_correct(answer: Answer) -> bool | None:
    """Whether an answer names the writer; None where it is neutral."""
    if answer.choice == NEUTRAL:
        return None
    return (answer.choice < NEUTRAL) == (answer.writer == "human")


def tally(judged: Judged) -> Tally:
    """Count a participant's answers."""
    each = judged.participant
    found = [is_correct(answer) for answer in each.answers]
    decided = [right for right in found if right is not None]
    correct = sum(decided)
    return Tally(
        participant=each.id,
        condition=each.condition,
        quiz=each.quiz,
        answered=len(found),
        neutral=len(found) - len(decided),
        correct=correct,
        accuracy=correct / len(decided) if decided else None,
        mean_seconds=_mean_seconds(each),
        median_seconds=median_seconds(each),
        reason=judged.reason,
    )


def mean(values: Sequence[float]) -> Estimate | None:
    """Estimate a mean with the t interval; None for fewer than two values, which show no spread."""
    from scipy.stats import t

    if len(values) < 2:
        return None
    n, value = len(values), math.fsum(values) / len(values)
    margin = float(t.ppf((1 + LEVEL) / 2, n - 1)) * math.sqrt(variance(values) / n)
    return Estimate(value=value, low=value - margin, high=value + margin, n=n)


def variance(values: Sequence[float]) -> float:
    """Estimate the variance of at least two values, over n - 1; exactly 0 for equal ones."""
    if min(values) == max(values):
        return 0.0
    value = math.fsum(values) / len(values)
    return math.fsum((each - value) ** 2 for each in values) / (len(values) - 1)


def compare(control: Sequence[float], model: Sequence[float], *, pooled: bool) -> Test | None:
    """Test a model's mean accuracy against the control's: Student's test with pooled variance, else Welch's.

    None where a group has fewer than two participants, or nobody differs from the others of the group.
    """
    from scipy.stats import ttest_ind

    if min(len(control), len(model)) < 2 or variance(control) == variance(model) == 0:
        return None
    found = ttest_ind(control, model, equal_var=pooled)
    low, high = found.confidence_interval(LEVEL)
    value = math.fsum(control) / len(control) - math.fsum(model) / len(model)
    difference = Estimate(value=value, low=float(low), high=float(high), n=len(control) + len(model))
    return Test(difference, t=float(found.statistic), freedom=float(found.df), p=float(found.pvalue))


def _mean_seconds(participant: Participant) -> float | None:
    times = [answer.seconds for answer in participant.answers]
    return math.fsum(times) / len(times) if times else None

"""How many participants a difference takes, and which one a study can find: by the t-test, and where articles vary."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

LEVEL = 0.05  # of the two-sided tests
POWER = 0.8
MOST = 2**20  # participants a condition that are tried
DIFFERENCES = (0.02, 0.03, 0.05, 0.08, 0.1, 0.15, 0.2)  # of mean accuracy, that plans are made for


@dataclass(frozen=True, slots=True)
class Variances:
    """What the difference of two conditions' mean accuracies varies by."""

    participant: float  # mean of both conditions, as is the residual
    text: float  # of an article's true difference between the two conditions
    residual: float  # of one answer


@dataclass(frozen=True, slots=True)
class Planned:
    """Participants a condition that find a difference with the power asked for; None where no number does."""

    difference: float
    simple: int | None  # by the t-test, for these very articles
    crossed: int | None  # for articles of this kind, with as many as the study has
    doubled: int | None  # with twice as many


@dataclass(frozen=True, slots=True)
class Plan:
    """Plans for another study of this kind, and what they rest on."""

    deviation: float  # of participants' accuracies, pooled over conditions
    variances: Variances | None  # means over the comparisons with the control; None without one
    articles: int
    decided: float  # answers a participant that name a writer
    planned: tuple[Planned, ...]


def simple_power(difference: float, *, deviation: float, participants: int) -> float:
    """Give the power of the two-sample t-test with so many participants in each condition, from the noncentral t.

    `deviation` is the standard deviation of participants' accuracies (Cohen 1988, chapter 2).
    """
    error = deviation * math.sqrt(2 / participants)
    return _power(difference, error=error, freedom=2 * (participants - 1))


def crossed_power(
    difference: float, variances: Variances, *, participants: int, articles: int, decided: float
) -> float:
    """Give the power where articles are a sample too, seen in both conditions by different participants.

    Westfall, Kenny and Judd 2014, the design with participants within conditions: the difference has the variance
    2 participant / n + text / k + 2 residual / (n m), for n participants a condition, k articles and m = `decided`
    answers a participant, and the degrees of freedom are Satterthwaite's. However many participants, text / k remains.
    """
    n, k = participants, articles
    residual = variances.residual * k / decided
    people = k * variances.participant + residual  # expected mean squares
    texts = n * variances.text / 2 + residual
    together = people + texts - residual
    if together <= 0:
        return _power(difference, error=0.0, freedom=k - 1)
    parts = people**2 / (2 * (n - 1)) + texts**2 / (k - 1) + residual**2 / (2 * (n - 1) * (k - 1))
    return _power(difference, error=math.sqrt(2 * together / (n * k)), freedom=together**2 / parts)


def limit(variances: Variances, *, articles: int) -> float | None:
    """Give the smallest difference that endless participants would find with so many articles; None beyond 1."""
    if variances.text == 0:
        return 0.0
    error = math.sqrt(variances.text / articles)
    return detectable(lambda difference: _power(difference, error=error, freedom=articles - 1))


def needed(power: Callable[[int], float]) -> int | None:
    """Find the fewest participants a condition whose power is enough; None where not even MOST are."""
    high = 2
    while power(high) < POWER:
        if high >= MOST:
            return None
        high *= 2
    low = high // 2  # too few, or one
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if power(middle) >= POWER else (middle, high)
    return high


def detectable(power: Callable[[float], float]) -> float | None:
    """Find the smallest difference, to 0.0001, whose power is enough; None where it would be above 1."""
    low, high = 0, 10_000
    if power(1.0) < POWER:
        return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if power(middle / 10_000) >= POWER else (middle, high)
    return high / 10_000


def plan(
    deviation: float,
    variances: Variances | None,
    *,
    articles: int,
    decided: float,
    differences: Sequence[float] = DIFFERENCES,
) -> Plan:
    """Plan for differences of mean accuracy, with the study's articles and with twice as many."""

    def crossed(difference: float, times: int) -> int | None:
        if variances is None:
            return None
        return needed(
            lambda n: crossed_power(
                difference, variances, participants=n, articles=times * articles, decided=times * decided
            )
        )

    def simple(difference: float) -> int | None:
        return needed(lambda n: simple_power(difference, deviation=deviation, participants=n))

    planned = tuple(Planned(each, simple(each), crossed(each, 1), crossed(each, 2)) for each in differences)
    return Plan(deviation, variances, articles, decided, planned)


def _power(difference: float, *, error: float, freedom: float) -> float:
    """Give the power of a two-sided t-test of a difference with this standard error."""
    from scipy.stats import nct, t

    if error == 0:
        return 1.0 if difference else LEVEL
    critical, shift = float(t.ppf(1 - LEVEL / 2, freedom)), abs(difference) / error
    if shift > critical + 10:  # the power is 1 to many digits, and the noncentral t is not computed well
        return 1.0
    # The wrong side has less than Phi(-shift), which is nothing from 6 on, where scipy may give no number.
    wrong_side = float(nct.cdf(-critical, freedom, shift)) if shift < 6 else 0.0
    return float(nct.sf(critical, freedom, shift)) + wrong_side

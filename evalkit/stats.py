"""Intervals: what a number that rests on n examples is worth, at 95 % confidence."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from evalkit.interfaces import ScoresTotals
from evalkit.records import Estimate
from evalkit.resample import CELLS_AT_ONCE, NORMAL, Resampled, members, resample

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from evalkit.resample import ScoreTotals

Z = 1.959963984540054  # the 97.5 % point of the standard normal distribution
Z_POWER = 0.8416212335729143  # its 80 % point
RESAMPLES = 10_000


class Aggregation(Protocol):
    """What intervals and comparisons ask of a metric."""

    @property
    def name(self) -> str:
        """What tables call it."""

    @property
    def is_proportion(self) -> bool:
        """Whether its values lie in 0..1."""

    def aggregate(self, statistics: Sequence[tuple[float, ...]], *, clusters: Sequence[str] | None = None) -> Estimate:
        """Score a set of examples from their statistics, shape (E, S), E at least 1."""


def wilson(successes: float, *, n: int) -> Estimate:
    """Estimate a proportion with the score interval (Wilson 1927), which stays inside 0..1 at both ends."""
    if not (n >= 1 and 0 <= successes <= n):
        raise ValueError(f"found {successes} successes in {n} examples, expected 0..n of at least 1")
    p = successes / n
    low, high = _wilson_bounds(p, n)
    return Estimate(value=p, low=low, high=high, n=n)


def proportion(values: Sequence[float], *, clusters: Sequence[str] | None = None, n: int | None = None) -> Estimate:
    """Estimate the share of ones among zeros and ones with Wilson's interval.

    Where `clusters` names what examples belong together, it is the interval of the effective sample size (Korn and
    Graubard 1998). `n` is the number of examples that is reported, where that is not the number of values.
    """
    size = len(values)
    if not size or not all(0 <= value <= 1 for value in values):
        raise ValueError(f"found {size} values, expected at least one, all in 0..1")
    p = math.fsum(values) / size
    low, high = _wilson_bounds(p, size if clusters is None else effective_size(values, clusters=clusters))
    return Estimate(value=p, low=low, high=high, n=size if n is None else n)


def bootstrap(
    statistics: Sequence[tuple[float, ...]] | NDArray[np.float64],
    score_totals: ScoreTotals,
    *,
    clusters: Sequence[str] | None = None,
    n: int | None = None,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Estimate:
    """Estimate a score that follows from summed statistics, shape (E, S), with the BCa bootstrap.

    Resamples examples, or whole clusters where `clusters` names the one of each example: near-duplicates rise and fall
    together, so drawing them singly would make the interval too narrow. The same values and seed give the same
    interval, in whatever order the examples come. `n` is the number of examples that is reported, where that is not E.

    A resample without a score, such as one that divides by nothing, is passed over. The interval has no width where
    nothing shows how the score varies: a single example or cluster, or equal ones alone.
    Raises ValueError where the whole has no finite score.
    """
    found = resample(statistics, score_totals, clusters=clusters, seed=seed, resamples=resamples)
    return bca(found, n=len(statistics) if n is None else n)


def bootstrap_mean(
    values: Sequence[float], *, clusters: Sequence[str] | None = None, n: int | None = None, seed: int = 0
) -> Estimate:
    """Estimate a mean with the BCa bootstrap."""
    return bootstrap([(value,) for value in values], mean_of_totals, clusters=clusters, n=n, seed=seed)


def mean_of_totals(totals: NDArray[np.float64], n: NDArray[np.float64]) -> NDArray[np.float64]:
    """Score R sets of examples by the mean of their one statistic, from its sums, shape (R, 1)."""
    return totals[:, 0] / n


def score_rule(metric: Aggregation, statistics: Sequence[tuple[float, ...]]) -> ScoreTotals:
    """Find how a metric scores summed statistics: its own rule, or the mean of one number an example where that is it.

    Raises TypeError where it is neither, so that nothing can be resampled.
    """
    if isinstance(metric, ScoresTotals):
        return metric.score_totals
    if all(len(numbers) == 1 for numbers in statistics):
        mean = math.fsum(value for (value,) in statistics) / len(statistics)
        if math.isclose(metric.aggregate(statistics).value, mean, rel_tol=1e-9, abs_tol=1e-12):
            return mean_of_totals
    raise TypeError(f"metric {metric.name!r}: its score is no mean of one number an example, so it needs score_totals")


def score(statistics: Sequence[tuple[float, ...]], rule: ScoreTotals) -> float:
    """Score examples from their statistics, shape (E, S), without an interval."""
    import numpy as np

    totals = np.asarray(statistics, dtype=float).sum(axis=0, keepdims=True)  # (1, S)
    return float(rule(totals, np.array([float(len(statistics))]))[0])


def bca(found: Resampled, *, n: int) -> Estimate:
    """Estimate with bias-corrected and accelerated percentiles (Efron and Tibshirani 1993, equations 14.9 to 14.15).

    Where no resample scores lower, or none higher, the correction for bias is not defined, and plain percentiles stand.
    """
    import numpy as np

    bias, acceleration = found.bias(), found.acceleration()
    levels = [0.025, 0.975]
    if bias is not None:
        shifts = [bias - Z, bias + Z]
        levels = [NORMAL.cdf(bias + shift / (1 - acceleration * shift)) for shift in shifts]
    bounds = np.quantile(found.scores, levels) if len(found.scores) else (found.value, found.value)
    low, high = (float(bound) for bound in bounds)
    return Estimate(value=found.value, low=min(low, found.value), high=max(high, found.value), n=n)


def mean_of_proportions(estimates: Sequence[Estimate]) -> Estimate:
    """Estimate the unweighted mean over tasks of proportions; n counts the examples of all tasks.

    The tasks are strata, sampled independently, so their variances add. Two successes and two failures are shared out
    among the tasks first (Price and Bonett 2004, equation 3): Wilson's idea for a sum of proportions. Tasks near 0 or 1
    leave the textbook interval too narrow, and adding up their own intervals leaves it off to one side.
    """
    tasks = len(estimates)
    value = math.fsum(e.value for e in estimates) / tasks
    sizes = [e.n + 4 / tasks for e in estimates]
    shrunk = [(e.value * e.n + 2 / tasks) / size for e, size in zip(estimates, sizes, strict=True)]
    centre = math.fsum(shrunk) / tasks
    variance = math.fsum(p * (1 - p) / size for p, size in zip(shrunk, sizes, strict=True)) / tasks**2
    margin = Z * math.sqrt(variance)
    # Shrinking moves the centre, so in extreme cases the bounds have to be kept in 0..1 and around the value.
    low, high = max(0.0, min(centre - margin, value)), min(1.0, max(centre + margin, value))
    return Estimate(value=value, low=low, high=high, n=sum(e.n for e in estimates))


def mean_of_estimates(estimates: Sequence[Estimate]) -> Estimate:
    """Estimate the unweighted mean over tasks from the tasks' own intervals, whatever they were made by.

    The tasks are independent, so variances add; each bound takes the variance that its side of every interval implies,
    square and add (Newcombe 1998, method 10; Zou, Huang and Zhang 2009, equation 4).
    """
    tasks = len(estimates)
    value = math.fsum(e.value for e in estimates) / tasks
    below = math.sqrt(math.fsum((e.value - e.low) ** 2 for e in estimates)) / tasks
    above = math.sqrt(math.fsum((e.high - e.value) ** 2 for e in estimates)) / tasks
    return Estimate(value=value, low=value - below, high=value + above, n=sum(e.n for e in estimates))


def part_minus_whole(
    values: Sequence[float],
    is_part: Sequence[bool],
    *,
    is_proportion: bool,
    clusters: Sequence[str] | None = None,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Estimate:
    """Estimate the mean over a part of the examples minus the mean over all of them, which the part belongs to.

    Both means come from the same resample, so what they share cancels. The Bayesian bootstrap (Rubin 1981): an example,
    or a whole cluster, counts with a random weight from the exponential distribution, so no resample loses the part.
    For proportions, half a success and half a failure join the part and half of each the rest (Jeffreys' prior), as
    five wrong answers of five do not make a score of exactly 0. The order of the examples does not matter.
    Raises ValueError where the part is empty.
    """
    import numpy as np

    numbers, part = np.asarray(values, dtype=float), np.asarray(is_part, dtype=bool)
    if not part.any():
        raise ValueError(f"found no example of {len(part)} in the part, expected at least one")
    if part.all():
        return Estimate(value=0.0, low=0.0, high=0.0, n=len(part))
    value = math.fsum(numbers[part]) / int(part.sum()) - math.fsum(numbers) / len(numbers)
    unit = members(len(part), clusters)
    columns = (part, numbers * part, ~part, numbers * ~part)  # sizes and sums of part and rest
    units = np.stack([np.bincount(unit, weights=column) for column in columns], axis=1)  # (U, 4)
    kinds, counts = np.unique(units, axis=0, return_counts=True)  # (K, 4), (K,)
    generator = np.random.default_rng(seed)
    totals = np.empty((resamples, 4))
    step = max(1, CELLS_AT_ONCE // len(kinds))
    for start in range(0, resamples, step):
        # Exponential weights of equal units add up to a gamma variable: ones and zeros make few kinds of unit.
        weights = generator.standard_gamma(counts, size=(min(step, resamples - start), len(kinds)))  # (R, K)
        totals[start : start + step] = weights @ kinds
    part_size, part_sum, rest_size, rest_sum = totals.T  # (R,) each
    prior = generator.standard_gamma(0.5 if is_proportion else 0.0, size=(4, resamples))
    part_mean = (part_sum + prior[0]) / (part_size + prior[0] + prior[1])
    rest_mean = (rest_sum + prior[2]) / (rest_size + prior[2] + prior[3])
    # whole = part and rest by their sizes, so part - whole is the rest's share of part - rest.
    differences = rest_size / (part_size + rest_size) * (part_mean - rest_mean)
    return _percentiles(value, differences, n=len(part))


def part_minus_whole_of(
    statistics: Sequence[tuple[float, ...]],
    score_totals: ScoreTotals,
    is_part: Sequence[bool],
    *,
    clusters: Sequence[str] | None = None,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Estimate:
    """Estimate the score of a part minus the score of the whole where a score is no mean, such as BLEU's.

    The score follows from summed statistics, shape (E, S). The BCa bootstrap on examples or whole clusters, part and
    whole from the same resample; one that misses the part altogether is passed over. The order of the examples does not
    matter. Raises ValueError where the part is empty.
    """
    import numpy as np

    rows, part = np.asarray(statistics, dtype=float), np.asarray(is_part, dtype=bool)[:, None]
    if not part.any():
        raise ValueError(f"found no example of {len(part)} in the part, expected at least one")
    if part.all():
        return Estimate(value=0.0, low=0.0, high=0.0, n=len(part))
    width = rows.shape[1]

    def minus(totals: NDArray[np.float64], n: NDArray[np.float64]) -> NDArray[np.float64]:
        of_whole, of_part, sizes = totals[:, :width], totals[:, width:-1], totals[:, -1]
        return np.where(sizes > 0, score_totals(of_part, sizes), np.nan) - score_totals(of_whole, n)

    return bootstrap(np.hstack([rows, rows * part, part]), minus, clusters=clusters, seed=seed, resamples=resamples)


def variance_of_mean(values: Sequence[float], *, clusters: Sequence[str] | None = None) -> float | None:
    """Estimate the variance of a mean; None for a single example or cluster, which shows no spread.

    With clusters the variance of a ratio of their sums (Cochran 1977, equation 6.10); without, s squared over n.
    """
    import numpy as np

    unit = members(len(values), clusters)
    units = len(np.unique(unit))
    if units < 2:
        return None
    numbers = np.asarray(values, dtype=float)
    deviations = np.bincount(unit, weights=numbers - math.fsum(values) / len(values))  # (U,)
    return float(units / (units - 1) * np.square(deviations).sum() / len(values) ** 2)


def effective_size(values: Sequence[float], *, clusters: Sequence[str]) -> float:
    """Tell how many independent examples clustered ones are worth to their mean, 1 to their number.

    Their number over the design effect, the variance of the mean of clusters over that of single examples (Kish 1965,
    section 8.2), times the square of Student's quantiles for the degrees of freedom of both, as few clusters tell the
    design effect only roughly (Korn and Graubard 1998). Where all values are equal the design effect is not known, and
    the number of clusters stands for the effective size.
    """
    units = len(set(clusters))
    single, clustered = variance_of_mean(values), variance_of_mean(values, clusters=clusters)
    if not single or units < 2:
        return float(units)
    if not clustered:
        return float(len(values))
    shrink = (_student(len(values) - 1) / _student(units - 1)) ** 2
    return max(1.0, min(len(values), len(values) * single / clustered * shrink))


def detectable_difference(variance: float) -> float:
    """Give the smallest true difference that a two-sided test at 5 % finds in 80 % of cases: (z.975 + z.80) * sd.

    `variance` is that of the estimated difference; for two proportions p (1 - p) (1 / n + 1 / m) with p pooled over
    both (Fleiss, Levin and Paik 2003, section 4.2, without the continuity correction).
    """
    return (Z + Z_POWER) * math.sqrt(variance)


def _wilson_bounds(p: float, n: float) -> tuple[float, float]:
    scale = 1 + Z * Z / n
    centre = (p + Z * Z / (2 * n)) / scale
    margin = Z * math.sqrt(p * (1 - p) / n + Z * Z / (4 * n * n)) / scale
    # At p = 0 and p = 1 the bound is exact, and rounding must not push it past the value.
    return max(0.0, min(centre - margin, p)), min(1.0, max(centre + margin, p))


def _student(freedom: int) -> float:
    """Give the 97.5 % point of Student's distribution (Abramowitz and Stegun 1964, equation 26.7.5)."""
    if freedom < 3:  # where the series has not converged
        return (math.inf, 12.706204736, 4.302652730)[freedom]
    terms = (
        (Z**3 + Z) / 4,
        (5 * Z**5 + 16 * Z**3 + 3 * Z) / 96,
        (3 * Z**7 + 19 * Z**5 + 17 * Z**3 - 15 * Z) / 384,
        (79 * Z**9 + 776 * Z**7 + 1482 * Z**5 - 1920 * Z**3 - 945 * Z) / 92160,
    )
    return Z + math.fsum(term / freedom**power for power, term in enumerate(terms, start=1))


def _percentiles(value: float, resampled: Sequence[float] | NDArray[np.float64], *, n: int) -> Estimate:
    import numpy as np

    low, high = (float(bound) for bound in np.quantile(resampled, (0.025, 0.975)))
    return Estimate(value=value, low=min(low, value), high=max(high, value), n=n)

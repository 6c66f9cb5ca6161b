"""Intervals: what a number that rests on n examples is worth, at 95 % confidence."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from evalkit.records import Estimate

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Z = 1.959963984540054  # the 97.5 % point of the standard normal distribution
Z_POWER = 0.8416212335729143  # its 80 % point
RESAMPLES = 10_000
RESAMPLES_OF_A_CALL = 1_000  # where each calls Python
CELLS_AT_ONCE = 4_000_000  # resampled values held in memory at a time: 32 MB


def wilson(successes: float, *, n: int) -> Estimate:
    """Estimate a proportion with the score interval (Wilson 1927), which stays inside 0..1 at both ends."""
    if not (n >= 1 and 0 <= successes <= n):
        raise ValueError(f"found {successes} successes in {n} examples, expected 0..n of at least 1")
    p = successes / n
    scale = 1 + Z * Z / n
    centre = (p + Z * Z / (2 * n)) / scale
    margin = Z * math.sqrt(p * (1 - p) / n + Z * Z / (4 * n * n)) / scale
    # At p = 0 and p = 1 the bound is exact, and rounding must not push it past the value.
    return Estimate(value=p, low=max(0.0, min(centre - margin, p)), high=min(1.0, max(centre + margin, p)), n=n)


def bootstrap_mean(values: Sequence[float], *, seed: int = 0, clusters: Sequence[str] | None = None) -> Estimate:
    """Estimate a mean with the percentile bootstrap (Efron and Tibshirani 1993, section 13.3).

    Resamples examples, or whole clusters where `clusters` names the one of each example: near-duplicates rise and fall
    together, so drawing them singly would make the interval too narrow. The same values and seed give the same
    interval.
    """
    import numpy as np

    if not values:
        raise ValueError("found no values, expected at least one")
    value = math.fsum(values) / len(values)
    if clusters is None:
        sums, sizes = np.asarray(values, dtype=float), np.ones(len(values))
    else:
        _, members = np.unique(np.asarray(clusters), return_inverse=True)
        sums, sizes = np.bincount(members, weights=values), np.bincount(members).astype(float)
    units = len(sums)
    generator = np.random.default_rng(seed)
    means = np.empty(RESAMPLES)  # (R,)
    step = max(1, CELLS_AT_ONCE // units)
    for start in range(0, RESAMPLES, step):
        drawn = generator.integers(units, size=(min(step, RESAMPLES - start), units))
        means[start : start + step] = sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1)
    low, high = np.quantile(means, (0.025, 0.975))
    # Summing in another order moves the mean of equal values by a rounding error.
    return Estimate(value=value, low=min(float(low), value), high=max(float(high), value), n=len(values))


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
    members = _members(len(part), clusters)
    columns = (part, numbers * part, ~part, numbers * ~part)  # sizes and sums of part and rest
    units = np.stack([np.bincount(members, weights=column) for column in columns], axis=1)  # (U, 4)
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
    score: Callable[[NDArray[np.int64]], float],
    is_part: Sequence[bool],
    *,
    clusters: Sequence[str] | None = None,
    seed: int = 0,
    resamples: int = RESAMPLES_OF_A_CALL,
) -> Estimate:
    """Estimate the score of a part minus the score of the whole where a score is no mean, such as BLEU's.

    `score` is given how often each example was drawn, shape (E,). The percentile bootstrap on examples or whole
    clusters, part and whole from the same resample; one that misses the part altogether is passed over.
    Raises ValueError where the part is empty.
    """
    import numpy as np

    part = np.asarray(is_part, dtype=np.int64)
    if not part.any():
        raise ValueError(f"found no example of {len(part)} in the part, expected at least one")
    if part.all():
        return Estimate(value=0.0, low=0.0, high=0.0, n=len(part))
    members = _members(len(part), clusters)
    units = int(members.max()) + 1
    generator = np.random.default_rng(seed)
    differences: list[float] = []
    for _ in range(resamples):
        drawn = np.bincount(generator.integers(units, size=units), minlength=units)[members]  # (E,)
        if (drawn * part).any():
            differences.append(score(drawn * part) - score(drawn))
    return _percentiles(score(part) - score(np.ones_like(part)), differences, n=len(part))


def variance_of_mean(values: Sequence[float], *, clusters: Sequence[str] | None = None) -> float | None:
    """Estimate the variance of a mean; None for a single example or cluster, which shows no spread.

    With clusters the variance of a ratio of their sums (Cochran 1977, equation 6.10); without, s squared over n.
    """
    import numpy as np

    members = _members(len(values), clusters)
    units = len(np.unique(members))
    if units < 2:
        return None
    numbers = np.asarray(values, dtype=float)
    deviations = np.bincount(members, weights=numbers - math.fsum(values) / len(values))  # (U,)
    return float(units / (units - 1) * np.square(deviations).sum() / len(values) ** 2)


def detectable_difference(variance: float) -> float:
    """Give the smallest true difference that a two-sided test at 5 % finds in 80 % of cases: (z.975 + z.80) * sd.

    `variance` is that of the estimated difference; for two proportions p (1 - p) (1 / n + 1 / m) with p pooled over
    both (Fleiss, Levin and Paik 2003, section 4.2, without the continuity correction).
    """
    return (Z + Z_POWER) * math.sqrt(variance)


def _members(examples: int, clusters: Sequence[str] | None) -> NDArray[np.intp]:
    """Give each example the number of the unit it is resampled with, shape (E,)."""
    import numpy as np

    return np.arange(examples) if clusters is None else np.unique(np.asarray(clusters), return_inverse=True)[1]


def _percentiles(value: float, resampled: Sequence[float] | NDArray[np.float64], *, n: int) -> Estimate:
    import numpy as np

    low, high = (float(bound) for bound in np.quantile(resampled, (0.025, 0.975)))
    return Estimate(value=value, low=min(low, value), high=max(high, value), n=n)

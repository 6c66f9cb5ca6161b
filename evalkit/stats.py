"""Intervals: what a number that rests on n examples is worth, at 95 % confidence."""

from __future__ import annotations

import math
from collections.abc import Sequence

from evalkit.records import Estimate

Z = 1.959963984540054  # the 97.5 % point of the standard normal distribution
RESAMPLES = 10_000
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

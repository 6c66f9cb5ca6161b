"""Resamples: a score of examples drawn again from themselves, many at a time, for scores of summed statistics."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    # Scores R sets of examples from summed statistics, shape (R, S), and sizes, shape (R,).
    ScoreTotals: TypeAlias = Callable[[NDArray[np.float64], NDArray[np.float64]], NDArray[np.float64]]

CELLS_AT_ONCE = 500_000  # resampled values held in memory at a time: 4 MB, which caches hold
NORMAL = NormalDist()


@dataclass(frozen=True, slots=True)
class Resampled:
    """A score, and what it is for other examples of the same kind."""

    value: float
    scores: NDArray[np.float64]  # of the resamples that have one, (R,)
    without: NDArray[np.float64]  # each example or cluster left out, where the rest has a score, (U,)

    def share_below(self, bound: float) -> float:
        """Tell the share of resamples that score below, those that score just so counted half."""
        below, equal = (self.scores < bound).sum(), (self.scores == bound).sum()
        return float(below + 0.5 * equal) / len(self.scores)

    def bias(self) -> float | None:
        """Correction for the median's bias, z0 of BCa; None where no resample scores lower, or none higher."""
        share = self.share_below(self.value) if len(self.scores) else 0.0
        return NORMAL.inv_cdf(share) if 0 < share < 1 else None

    def acceleration(self) -> float:
        """How fast the standard error changes with the score, by the jackknife: a of BCa."""
        import numpy as np

        deviations = self.without.mean() - self.without if len(self.without) else self.without
        squares = float(np.square(deviations).sum())
        return float(np.power(deviations, 3).sum()) / (6 * squares**1.5) if squares > 0 else 0.0


def resample(
    statistics: Sequence[tuple[float, ...]] | NDArray[np.float64],
    score_totals: ScoreTotals,
    *,
    clusters: Sequence[str] | None = None,
    seed: int,
    resamples: int,
) -> Resampled:
    """Score resamples of examples or clusters, all drawn alike for any score; ValueError where the whole has none."""
    import numpy as np

    units = _units(statistics, clusters)  # (U, S + 1)

    def score(totals: NDArray[np.float64]) -> NDArray[np.float64]:
        with np.errstate(all="ignore"):
            scores = np.asarray(score_totals(totals[:, :-1], totals[:, -1]), dtype=float)
        return np.where(totals[:, -1] > 0, scores, np.nan)

    whole = units.sum(axis=0)
    value = float(score(whole[None])[0])
    if not math.isfinite(value):
        raise ValueError(f"found a score of {value} for all {len(statistics)} examples, expected a finite one")
    scores, without = score(_resampled_totals(units, seed=seed, resamples=resamples)), score(whole - units)
    # Sums in another order differ by a rounding error, and ties are to be seen as ties.
    scores[np.isclose(scores, value, rtol=1e-12, atol=0)] = value
    return Resampled(value, scores[np.isfinite(scores)], without[np.isfinite(without)])


def members(examples: int, clusters: Sequence[str] | None) -> NDArray[np.intp]:
    """Give each example the number of the unit it is resampled with, shape (E,)."""
    import numpy as np

    return np.arange(examples) if clusters is None else np.unique(list(clusters), return_inverse=True)[1]


def _units(
    statistics: Sequence[tuple[float, ...]] | NDArray[np.float64], clusters: Sequence[str] | None
) -> NDArray[np.float64]:
    """Sum statistics, and sizes in the last column, by what is resampled together: shape (U, S + 1).

    Rows are in the order of their own numbers, so that of the examples has no influence, not even by rounding.
    """
    import numpy as np

    rows = np.asarray(statistics, dtype=float)
    if not len(rows):
        raise ValueError("found no examples, expected at least one")
    units = np.column_stack([rows, np.ones(len(rows))])
    if clusters is not None:
        number = members(len(rows), clusters)
        order = np.lexsort((*units.T, number))
        begins = np.flatnonzero(np.diff(number[order], prepend=-1))
        units = np.add.reduceat(units[order], begins)
    return units[np.lexsort(units.T)]


def _resampled_totals(units: NDArray[np.float64], *, seed: int, resamples: int) -> NDArray[np.float64]:
    """Draw as many units as there are, with replacement, and sum them: shape (R, S + 1)."""
    import numpy as np

    count = len(units)
    generator = np.random.default_rng(seed)
    totals = np.empty((resamples, units.shape[1]))
    step = max(1, CELLS_AT_ONCE // count)
    for start in range(0, resamples, step):
        rows = min(step, resamples - start)
        drawn = generator.integers(count, size=(rows, count)) + count * np.arange(rows)[:, None]
        times = np.bincount(drawn.ravel(), minlength=rows * count).reshape(rows, count)
        totals[start : start + rows] = times.astype(float) @ units
    return totals

"""What several metrics aggregate by: a share of right answers, a ratio of two sums."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from evalkit import stats
from evalkit.records import Estimate

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def proportion(statistics: Sequence[tuple[float, ...]], *, clusters: Sequence[str] | None) -> Estimate:
    """Estimate the share of ones among statistics of shape (E, 1)."""
    return stats.proportion([value for (value,) in statistics], clusters=clusters)


def ratio(totals: NDArray[np.float64]) -> NDArray[np.float64]:
    """Divide the first of two sums, shape (R, 2), by the second, counts that are whole numbers; 0 where that is 0."""
    import numpy as np

    return totals[:, 0] / np.maximum(totals[:, 1], 1.0)

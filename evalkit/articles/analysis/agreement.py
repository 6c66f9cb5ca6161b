"""Whether participants agree about the same text: Krippendorff's alpha, which allows for missing answers.

alpha = 1 - D_o / D_e: disagreement within texts over that of answers put together at random; 1 is full agreement, 0
that of chance (Krippendorff 2011, Computing Krippendorff's Alpha-Reliability; 2018, Content Analysis, chapter 12). Each
participant sees half of the texts, so Fleiss' kappa, which needs as many answers to each text, does not apply.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from evalkit import stats
from evalkit.records import Estimate

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Scale: TypeAlias = Literal["nominal", "ordinal"]
RESAMPLES = 2000


@dataclass(frozen=True, slots=True)
class Agreement:
    """Alpha of a condition's answers; intervals from texts resampled, n counts texts with two answers or more."""

    five: Estimate | None  # ordinal, of the five answers; None where all answers are alike
    verdict: Estimate | None  # nominal, human or machine, "I don't know" left out


def alpha(units: Sequence[Sequence[int]], *, categories: int, scale: Scale, seed: int = 0) -> Estimate | None:
    """Estimate alpha of texts, each with its answers from 0 to `categories` - 1, with the BCa bootstrap over texts.

    None where no text has two answers, or all answers are alike.
    """
    import numpy as np

    rows = [_coincidences(unit, categories) for unit in units if len(unit) > 1]
    if not rows or np.count_nonzero(np.sum(rows, axis=0).sum(axis=1)) < 2:
        return None
    flat = np.stack(rows).reshape(len(rows), -1)  # (E, C * C)

    def score(totals: NDArray[np.float64], _: NDArray[np.float64]) -> NDArray[np.float64]:
        return _alpha(totals.reshape(-1, categories, categories), scale)

    return stats.bootstrap(flat, score, seed=seed, resamples=RESAMPLES)


def _coincidences(unit: Sequence[int], categories: int) -> NDArray[np.float64]:
    """Count the ordered pairs of answers to one text, over the number of answers less one, shape (C, C)."""
    import numpy as np

    counts = np.bincount(unit, minlength=categories).astype(float)
    pairs = np.outer(counts, counts) - np.diag(counts)
    return np.asarray(pairs / (len(unit) - 1))


def _alpha(pairs: NDArray[np.float64], scale: Scale) -> NDArray[np.float64]:
    """Compute alpha of R tables of coincidences, shape (R, C, C)."""
    import numpy as np

    counts = pairs.sum(axis=2)  # (R, C)
    if scale == "nominal":
        distance = np.broadcast_to(1 - np.eye(counts.shape[1]), pairs.shape)
    else:  # squared number of answers between two, with half of those at both ends
        ranks = np.cumsum(counts, axis=1) - counts / 2
        distance = (ranks[:, :, None] - ranks[:, None, :]) ** 2
    observed = (pairs * distance).sum(axis=(1, 2))
    expected = (counts[:, :, None] * counts[:, None, :] * distance).sum(axis=(1, 2))
    return np.asarray(1 - (counts.sum(axis=1) - 1) * observed / expected)

"""Accuracy against model size: the power law a x^-b that the paper fitted (Brown et al. 2020, Figure 3.13)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from evalkit.records import Estimate

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FEWEST_SIZES = 3
RESAMPLES = 2000
STEEPEST = 6.0  # natural logarithm of how much the curve may fall or rise from the smallest size to the largest
HALVINGS = 80  # of the interval that holds the exponent, by the golden ratio
GOLDEN = (math.sqrt(5) - 1) / 2


@dataclass(frozen=True, slots=True)
class PowerLaw:
    """accuracy = factor * parameters ** -exponent, fitted to conditions' mean accuracies."""

    factor: float  # of one parameter, far outside of what was seen
    exponent: Estimate  # interval: participants resampled within conditions; n counts them
    sizes: tuple[int, ...]  # parameters of the conditions, the smallest first

    def at(self, parameters: float) -> float:
        """Give the accuracy on the curve."""
        return float(self.factor * parameters**-self.exponent.value)


def fit(groups: Sequence[tuple[int, Sequence[float]]], *, seed: int = 0, resamples: int = RESAMPLES) -> PowerLaw | None:
    """Fit by least squares of mean accuracies, each condition counting the same, as `scipy.optimize.curve_fit` does.

    `groups` holds parameters and participants' accuracies of every condition. The interval of the exponent is that of
    the percentile bootstrap. None for fewer than three sizes, and where no curve fits best.
    """
    import numpy as np

    known = sorted((size, sorted(values)) for size, values in groups if values)
    sizes = np.array([size for size, _ in known], dtype=float)
    if len(np.unique(sizes)) < FEWEST_SIZES:
        return None
    generator = np.random.default_rng(seed)
    means = np.array([[math.fsum(values) / len(values) for _, values in known]])  # (1, G)
    drawn = np.stack(
        [
            np.asarray(values)[generator.integers(len(values), size=(resamples, len(values)))].mean(axis=1)
            for _, values in known
        ],
        axis=1,
    )  # (R, G)
    factors, exponents, is_inside = least_squares(sizes, np.concatenate([means, drawn]))
    if not is_inside[0]:
        return None
    value = float(exponents[0])
    low, high = (float(bound) for bound in np.quantile(exponents[1:], (0.025, 0.975)))
    estimate = Estimate(
        value=value, low=min(low, value), high=max(high, value), n=sum(len(values) for _, values in known)
    )
    return PowerLaw(float(factors[0]), estimate, tuple(size for size, _ in known))


def least_squares(
    sizes: NDArray[np.float64], means: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
    """Fit R curves at once to means, shape (R, G): factors, exponents, and whether a best one exists, (R,) each.

    For a given exponent the factor follows, so one number is searched, by golden section.
    """
    import numpy as np

    places = np.log(sizes) - np.log(sizes).mean()  # (G,)
    edge = STEEPEST / float(np.ptp(places))

    def factor(exponents: NDArray[np.float64]) -> NDArray[np.float64]:
        shapes = np.exp(-exponents[:, None] * places)  # (R, G)
        return np.asarray((means * shapes).sum(axis=1) / (shapes**2).sum(axis=1))

    def loss(exponents: NDArray[np.float64]) -> NDArray[np.float64]:
        curve = factor(exponents)[:, None] * np.exp(-exponents[:, None] * places)
        return np.asarray(((means - curve) ** 2).sum(axis=1))

    low, high = np.full(len(means), -edge), np.full(len(means), edge)
    for _ in range(HALVINGS):
        left, right = high - GOLDEN * (high - low), low + GOLDEN * (high - low)
        is_left = loss(left) <= loss(right)
        low, high = np.where(is_left, low, left), np.where(is_left, right, high)
    exponents = (low + high) / 2
    is_inside = (np.abs(exponents) < 0.999 * edge) & (means > 0).any(axis=1)
    return factor(exponents) * np.exp(exponents * np.log(sizes).mean()), exponents, is_inside

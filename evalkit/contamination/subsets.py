"""What contamination does to scores as its share grows: Llama 2's four subsets, and ConTAM's curve of gains.

Both take, in the order of the examples, a measure's value of each example and its score.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

CLEAN, DIRTY = 0.2, 0.8  # clean below, dirty from here on (Touvron 2023, A.6)
EVIDENCE = 2.0  # |Z_n| above which a subset's mean is taken to differ


@dataclass(frozen=True, slots=True)
class Subset:
    """One of Llama 2's four subsets; None where it is empty, or all scores are equal."""

    name: str  # clean, not clean, not dirty, dirty
    n: int  # examples
    contamination: float | None  # mean value of the measure
    mean: float | None  # score of the subset
    expected: float  # mu_n, the score of all examples
    z: float | None  # Z_n as published, for a subset drawn with replacement
    z_exact: float | None  # for a subset drawn without; None also where it is all examples


@dataclass(frozen=True, slots=True)
class GainPoint:
    """One threshold of ConTAM's curve."""

    threshold: float  # contaminated from this value on
    share: float  # of the examples that are contaminated
    gain: float | None  # score of all minus score of the clean part; None where that is empty


def llama2_subsets(values: Sequence[float], scores: Sequence[float]) -> tuple[Subset, ...]:
    """Score Llama 2's four overlapping subsets against all examples (Touvron 2023, A.6).

    Z_n = (mean - mu_n) / sigma_n, where mu_n and sigma_n are mean and deviation of the score of n examples drawn from
    all N. The paper does not say how they are drawn. Its Table 51 answers: Z_n * sqrt(n) of a subset and of its
    complement cancel, as with sigma_n^2 = sigma^2 / n (drawn with replacement), which is `z`; sigma is the deviation
    over all N, divided by N. A subset is drawn without replacement, so that `z_exact` has the finite population
    correction, sigma_n^2 = sigma^2 / n * (N - n) / (N - 1); it makes Z_n of complements equal but for the sign.
    """
    value, score = _columns(values, scores)
    members = {
        "clean": value < CLEAN,
        "not clean": value >= CLEAN,
        "not dirty": value < DIRTY,
        "dirty": value >= DIRTY,
    }
    return tuple(_subset(name, value, score, inside) for name, inside in members.items())


def shows_contamination(subsets: Sequence[Subset]) -> bool:
    """Tell whether all four subsets have |Z_n| > 2, the clean two for the worse and the dirty two for the better.

    Llama 2's criterion (Touvron 2023, A.6): the paper asks for |Z_n| > 2 and states the signs as its assumption.
    """
    signs = {"clean": -1, "not clean": 1, "not dirty": -1, "dirty": 1}
    found = {each.name: each.z for each in subsets}
    return all((z := found[name]) is not None and sign * z > EVIDENCE for name, sign in signs.items())


def gain_curve(values: Sequence[float], scores: Sequence[float]) -> tuple[GainPoint, ...]:
    """Estimate the performance gain at every threshold that splits differently, thresholds rising.

    Singh 2024 (arXiv 2411.03923, ConTAM): gain is the score of all minus the score of those below the threshold, the
    estimated performance gain of Llama 3, section 5.1.4. In the units of the scores.
    """
    value, score = _columns(values, scores)
    order = np.argsort(value, kind="stable")
    thresholds, clean = np.unique(value[order], return_index=True)  # clean: examples below each threshold
    below = np.append(0.0, np.cumsum(score[order]))
    total = below[-1] / len(score)
    return tuple(
        GainPoint(float(threshold), 1 - int(n) / len(score), float(total - below[n] / n) if n else None)
        for threshold, n in zip(thresholds, clean, strict=True)
    )


def _columns(values: Sequence[float], scores: Sequence[float]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    if len(values) != len(scores) or not values:
        raise ValueError(f"found {len(values)} values and {len(scores)} scores, expected one of each for each example")
    return np.asarray(values, np.float64), np.asarray(scores, np.float64)


def _subset(name: str, value: NDArray[np.float64], score: NDArray[np.float64], inside: NDArray[np.bool_]) -> Subset:
    n, all_n = int(inside.sum()), len(score)
    expected = math.fsum(score) / all_n
    if n == 0:
        return Subset(name, 0, None, None, expected, None, None)
    mean, contamination = math.fsum(score[inside]) / n, math.fsum(value[inside]) / n
    if np.all(score == score[0]):
        return Subset(name, n, contamination, mean, expected, None, None)
    z = (mean - expected) / (float(np.std(score)) / math.sqrt(n))
    exact = z / math.sqrt((all_n - n) / (all_n - 1)) if n < all_n else None
    return Subset(name, n, contamination, mean, expected, z, exact)

"""The published study: Tables 3.11, 3.12, E.1 and E.2 of Brown et al. 2020, and how far they can be computed again.

`published.csv` holds them as printed in arXiv:2005.14165v4. Means and intervals are printed in whole percents, so a t
value follows from them within bounds alone.
"""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from evalkit.records import Estimate

TABLE = Path(__file__).with_name("published.csv")
ROUNDING = 0.005  # that a printed percent may be off by, as a share


@dataclass(frozen=True, slots=True)
class PublishedGroup:
    """One model's participants; shares, not percents."""

    words: int  # of the study's articles, about: 200 or 500
    articles: int
    model: str
    is_control: bool
    parameters: int
    recruited: int
    excluded: int
    words_human: int  # of an article, on average
    words_model: int
    accuracy: Estimate  # n: participants who were left
    t: float | None  # against the control, as printed; None for the control
    p: str | None  # as printed
    dont_know: float


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """A t value computed from two printed means, their intervals and n, and what rounding allows it to be."""

    t: float
    low: float
    high: float
    freedom: int
    p_low: float  # p-values of the printed t with these degrees of freedom, its own rounding allowed for
    p_high: float


@cache
def load() -> tuple[PublishedGroup, ...]:
    """Read all rows in the paper's order, those of 200 words first."""
    with TABLE.open(encoding="utf-8", newline="") as lines:
        return tuple(_group(row) for row in csv.DictReader(line for line in lines if not line.startswith("#")))


def control(group: PublishedGroup) -> PublishedGroup:
    """Find the control of a group's study."""
    return next(each for each in load() if each.is_control and each.words == group.words)


def rebuild(group: PublishedGroup) -> Rebuilt | None:
    """Compute a group's t against its control with pooled variance; None for the control itself.

    A printed mean lies within half a percent of the true one, as do the bounds of its interval, which lies around it
    evenly; standard deviations follow from its half width, (high - low) / 2 = t(0.975, n - 1) s / sqrt(n).
    """
    if group.t is None:
        return None
    from scipy.stats import t

    one, other = control(group).accuracy, group.accuracy
    (one_low, one_high), (other_low, other_high) = _means(one), _means(other)
    (one_least, one_most), (other_least, other_most) = _half_widths(one), _half_widths(other)
    freedom = one.n + other.n - 2
    halves = (one.high - one.low) / 2, (other.high - other.low) / 2
    return Rebuilt(
        t=(one.value - other.value) / _error(one.n, other.n, *halves),
        low=(one_low - other_high) / _error(one.n, other.n, one_most, other_most),
        high=(one_high - other_low) / _error(one.n, other.n, one_least, other_least),
        freedom=freedom,
        p_low=2 * float(t.sf(group.t + 0.05, freedom)),
        p_high=2 * float(t.sf(group.t - 0.05, freedom)),
    )


def is_p_of_t(group: PublishedGroup, rebuilt: Rebuilt) -> bool:
    """Whether the printed p, in its digits, follows from the printed t."""
    if group.p is None:
        return True
    digits = len(group.p.partition("e")[0].replace(".", "")) - 1  # after the first
    low, high = (float(f"{each:.{digits}e}") for each in (rebuilt.p_low, rebuilt.p_high))
    return low <= float(group.p) <= high


def label(group: PublishedGroup) -> str:
    """Name a group where both studies are listed."""
    return f"{group.model} ({group.words} words)"


def _error(n: int, m: int, half: float, other: float) -> float:
    """Give the standard error of the difference of two means from the half widths of their intervals."""
    from scipy.stats import t

    variances = [size * (each / float(t.ppf(0.975, size - 1))) ** 2 for size, each in ((n, half), (m, other))]
    pooled = ((n - 1) * variances[0] + (m - 1) * variances[1]) / (n + m - 2)
    return math.sqrt(pooled * (1 / n + 1 / m))


def _means(printed: Estimate) -> tuple[float, float]:
    middle = (printed.low + printed.high) / 2
    return max(printed.value, middle) - ROUNDING, min(printed.value, middle) + ROUNDING


def _half_widths(printed: Estimate) -> tuple[float, float]:
    """Give the least and the largest half width that mean and bounds allow."""
    half, below, above = (
        (printed.high - printed.low) / 2,
        printed.value - printed.low,
        printed.high - printed.value,
    )
    return (
        max(half - ROUNDING, below - 2 * ROUNDING, above - 2 * ROUNDING),
        min(half + ROUNDING, below + 2 * ROUNDING, above + 2 * ROUNDING),
    )


def _group(row: dict[str, str]) -> PublishedGroup:
    value, low, high = (int(row[name]) / 100 for name in ("accuracy", "low", "high"))
    recruited, excluded = int(row["recruited"]), int(row["excluded"])
    return PublishedGroup(
        words=int(row["words"]),
        articles=int(row["articles"]),
        model=row["model"],
        is_control=row["model"] == "Control",
        parameters=int(row["parameters"]),
        recruited=recruited,
        excluded=excluded,
        words_human=int(row["words_human"]),
        words_model=int(row["words_model"]),
        accuracy=Estimate(value=value, low=low, high=high, n=recruited - excluded),
        t=float(row["t"]) if row["t"] else None,
        p=row["p"] or None,
        dont_know=float(row["dont_know"]) / 100,
    )

"""Reliability of choices: whether a model is right as often as its likelihoods say."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from evalkit import score, stats
from evalkit.records import Estimate, LogProb, Sample, Table
from evalkit.report import table as tables
from evalkit.report.content import Figure
from evalkit.report.figures import panels, style
from evalkit.report.figures.drawing import drawing, finish

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.figure import Figure as Drawing
    from numpy.typing import NDArray

NAME = "reliability"
BINS = 10  # of equal width
RESAMPLES = 1_000


@dataclass(frozen=True, slots=True)
class Bin:
    """Samples of about the same confidence."""

    low: float  # edges, the lower one excluded but for the first bin
    high: float
    confidence: float  # mean
    accuracy: Estimate  # 0..1


@dataclass(frozen=True, slots=True)
class Calibration:
    """One task's bins that hold samples, confidence rising."""

    title: str
    shots: int
    bins: tuple[Bin, ...]
    error: Estimate  # expected calibration error, 0..1


def calibration(samples: Sequence[Sample], *, title: str) -> Calibration | None:
    """Bin the samples of one task at one number of shots by confidence; None where none has likelihoods of choices.

    Confidence is the probability of the likeliest choice, the softmax over the whole likelihoods of the choices;
    accuracy is that of this choice. The expected calibration error is the mean over samples of |accuracy - confidence|
    of their bin, ten of equal width (Naeini 2015; Guo 2017, equation 3), with the BCa bootstrap's interval.
    """
    kept: list[tuple[Sample, float, bool]] = []
    for each in samples:
        found = confidence(each)
        if found is not None:
            kept.append((each, *found))
    if not kept:
        return None
    ids = {each.example.id for each, _, _ in kept}
    clusters = score.clusters_of([each.example for each, _, _ in kept], is_repeated=len(ids) < len(kept))
    numbers = [_bin(sure) for _, sure, _ in kept]
    members: dict[int, list[int]] = {}
    for at, number in enumerate(numbers):
        members.setdefault(number, []).append(at)
    bins = []
    for number in sorted(members):
        here = members[number]
        own = None if clusters is None else [clusters[at] for at in here]
        accuracy = stats.proportion([float(kept[at][2]) for at in here], clusters=own)
        mean = math.fsum(kept[at][1] for at in here) / len(here)
        bins.append(Bin(number / BINS, (number + 1) / BINS, mean, accuracy))
    # In a column for each bin, right minus confidence: the error follows from the sums.
    statistics = [
        tuple((right - sure) if place == number else 0.0 for place in range(BINS))
        for number, (_, sure, right) in zip(numbers, kept, strict=True)
    ]
    error = stats.bootstrap(statistics, _error, clusters=clusters, resamples=RESAMPLES)
    return Calibration(title, kept[0][0].shots, tuple(bins), error)


def confidence(sample: Sample) -> tuple[float, bool] | None:
    """Give the probability of a sample's likeliest choice, and whether it is right; None where that is not known.

    The first responses are those of the choices, in their order, where a task asks for choices.
    """
    choices = sample.example.choices
    answers = [each for each in sample.responses if isinstance(each, LogProb)]
    if sample.prompt is None or len(choices) < 2 or len(answers) < len(sample.responses) or len(answers) < len(choices):
        return None
    totals = [each.total for each in answers[: len(choices)]]
    best = max(range(len(totals)), key=totals.__getitem__)
    if not math.isfinite(totals[best]):
        return None
    return 1 / math.fsum(math.exp(total - totals[best]) for total in totals), choices[best] in sample.example.targets


def reliability(calibrations: Sequence[Calibration]) -> Figure | None:
    """Draw accuracy against confidence, a panel a task, and below how many samples a bin holds; None without any."""
    if not calibrations:
        return None
    several_shots = len({each.shots for each in calibrations}) > 1
    width, height = panels.size(len(calibrations), strips=True)
    across = panels.columns(len(calibrations))
    with drawing(width, height) as drawn:
        found = panels.stacked(drawn, len(calibrations), share=len(calibrations) > 1)
        for place, ((axes, strip), each) in enumerate(zip(found, calibrations, strict=True)):
            axes.plot([0, 1], [0, 100], color=style.INK, linewidth=0.6, linestyle="--", alpha=0.6)
            accuracies = [tables.percent(one.accuracy) for one in each.bins]
            panels.points(axes, [one.confidence for one in each.bins], accuracies, line="none")
            panels.count_axis(strip, max(one.accuracy.n for one in each.bins))
            for one in each.bins:
                strip.bar(
                    one.low, one.accuracy.n, 1 / BINS, align="edge", color=style.colour(0), alpha=0.5, linewidth=0
                )
            shots = f"{tables.count(each.shots, 'shot')}, " if several_shots else ""
            error = f"ECE {each.error.value:.2f} [{each.error.low:.2f}, {each.error.high:.2f}]"
            below = f"{shots}n = {sum(one.accuracy.n for one in each.bins):,}\n{error}"
            panels.title(axes, each.title, count=len(calibrations), below=below)
            axes.set_ylim(-4, 104)
            panels.share_axis(strip, margin=0.02)
            if place % across == 0:
                axes.set_ylabel("accuracy (%)")
                strip.set_ylabel("n")
        drawn.supxlabel("confidence (probability of the likeliest choice)")
        return _finished(drawn, calibrations)


def _finished(drawn: Drawing, calibrations: Sequence[Calibration]) -> Figure:
    counts = [one.accuracy.n for each in calibrations for one in each.bins]
    title = "Reliability of choices"
    caption = (
        f"{title}: accuracy of the likeliest choice against its probability, the softmax over the whole likelihoods of "
        f"the choices, in {BINS} bins of equal width. Points stand at the mean confidence of a bin; bars are Wilson's "
        f"95 % intervals; below, the samples of each bin ({style.counts(counts)}). The dashed line is perfect "
        "calibration. ECE, the expected calibration error: the mean over samples of the absolute difference of "
        "accuracy and mean confidence in their bin (Guo et al. 2017, equation 3), with the BCa bootstrap's 95 % "
        "interval."
    )
    columns = ("task", "shots", "confidence from", "confidence to", "confidence, mean", "accuracy, %", "ECE")
    body = tuple(
        (
            tables.clean(each.title),
            each.shots,
            one.low,
            one.high,
            one.confidence,
            tables.percent(one.accuracy),
            each.error,
        )
        for each in calibrations
        for one in each.bins
    )
    return finish(drawn, name=NAME, title=title, caption=caption, data=Table(columns, body, title))


def _bin(confidence: float) -> int:
    """Tell the bin of a confidence, whose upper edge belongs to it."""
    return min(BINS - 1, max(0, math.ceil(confidence * BINS - 1e-9) - 1))


def _error(totals: NDArray[np.float64], n: NDArray[np.float64]) -> NDArray[np.float64]:
    """Score R sets of samples from sums of right minus confidence in each bin, shape (R, B)."""
    import numpy as np

    error: NDArray[np.float64] = np.abs(totals).sum(axis=1) / n
    return error

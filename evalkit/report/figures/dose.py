"""Dose and response: the score of examples by how much of them the corpus holds."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from evalkit.contamination.comparison import Aggregation, Subset
from evalkit.records import Estimate, Sample, Table
from evalkit.report import table as tables
from evalkit.report.content import Figure
from evalkit.report.figures import panels, style
from evalkit.report.figures.drawing import drawing, finish

NAME = "dose-response"
BINS = 5
FEWEST = 10  # examples that a bin should have


@dataclass(frozen=True, slots=True)
class Bin:
    """Examples of about the same overlap."""

    low: float  # least value of the measure in it
    mean: float
    high: float
    score: Estimate  # in the metric's unit


@dataclass(frozen=True, slots=True)
class Dose:
    """One task's bins, overlap rising."""

    task: str
    title: str
    shots: int
    metric: str
    is_proportion: bool
    bins: tuple[Bin, ...]


def dose(
    samples: Sequence[Sample], values: Mapping[str, float], *, title: str, metric_name: str, metric: Aggregation
) -> Dose | None:
    """Score the samples of one task at one number of shots in bins of equal counts of examples.

    `values` are the measure's, by example; samples without one, or without a prompt, are left out. Examples of one
    value stay together, so counts differ where many share one. None where all have the same value.
    """
    scored = [each for each in samples if each.prompt is not None and each.example.id in values]
    of_example = {each.example.id: values[each.example.id] for each in scored}
    names = list(of_example)
    bins: list[Bin] = []
    for members in equal_counts([of_example[name] for name in names], bins=_bins(len(names))):
        chosen = {names[at] for at in members}
        found = Subset.of([each for each in scored if each.example.id in chosen], metric_name, metric).estimate
        here = [of_example[name] for name in sorted(chosen)]
        if found is not None and panels.estimate(found, is_proportion=metric.is_proportion):
            bins.append(Bin(min(here), math.fsum(here) / len(here), max(here), found))
    if len(bins) < 2:
        return None
    return Dose(scored[0].task, title, scored[0].shots, metric.name, metric.is_proportion, tuple(bins))


def equal_counts(values: Sequence[float], *, bins: int) -> list[list[int]]:
    """Sort the places of values into at most so many bins, values rising; equal values share one.

    Each bin takes values until its count is as near as can be to an equal share of what is left.
    """
    places: dict[float, list[int]] = {}
    for place in sorted(range(len(values)), key=values.__getitem__):
        places.setdefault(values[place], []).append(place)
    found: list[list[int]] = []
    current: list[int] = []
    left = len(values)  # in the current bin and after it
    for tied in places.values():
        share = left / max(1, bins - len(found))
        if current and len(found) < bins - 1 and abs(len(current) - share) <= abs(len(current) + len(tied) - share):
            found.append(current)
            left -= len(current)
            current = []
        current = [*current, *tied]
    return [*found, current] if current else found


def dose_response(doses: Sequence[Dose], *, measure: str) -> Figure | None:
    """Draw the score of each bin at its mean overlap, and below how many examples it has; None without any task."""
    if not doses:
        return None
    doses = [replace(each, bins=tuple(_drawn(each))) for each in doses]
    units = {(each.metric, each.is_proportion) for each in doses}
    shares = len(units) == 1
    several_shots = len({each.shots for each in doses}) > 1
    width, height = panels.size(len(doses), strips=True)
    across = panels.columns(len(doses))
    with drawing(width, height) as drawn:
        found = panels.stacked(drawn, len(doses), share=shares)
        for place, ((axes, strip), each) in enumerate(zip(found, doses, strict=True)):
            own = [one.score for one in each.bins]
            for one in each.bins:
                axes.plot([one.low, one.high], [one.score.value] * 2, color=style.colour(0), linewidth=3, alpha=0.3)
                strip.vlines(one.mean, 0, one.score.n, color=style.colour(0), linewidth=3)
            panels.points(axes, [one.mean for one in each.bins], own)
            shots = f"{tables.count(each.shots, 'shot')}, " if several_shots else ""
            below = f"{shots}n = {sum(score.n for score in own):,}"
            panels.title(axes, each.title, count=len(doses), below=below)
            panels.share_axis(strip)
            panels.count_axis(strip, max(score.n for score in own))
            if not (shares and place % across):
                name = panels.axis_name(each.metric, is_proportion=each.is_proportion)
                axes.set_ylabel(style.label(name, width=15, lines=3))
                strip.set_ylabel("n")
        for (axes, _), each in zip(found, doses, strict=True):
            scores = [one.score for task in (doses if shares else [each]) for one in task.bins]
            panels.anchor(axes, scores, is_proportion=each.is_proportion)
        drawn.supxlabel(style.label(f"overlap with the corpus ({measure}, from 0 to 1)", width=60))
        counts = [one.score.n for each in doses for one in each.bins]
        title = "Score against overlap with the corpus"
        caption = (
            f"{title}: examples in bins of about equal counts by {measure}, those of one value together. "
            "Points stand at the mean overlap of a bin, pale bars reach from its least to its greatest; vertical "
            f"bars are 95 % intervals, as those of the score itself. Examples a bin: {style.counts(counts)}. Examples "
            "of different overlap may differ in difficulty too."
        )
        columns = ("task", "metric", "unit", "shots", "overlap, least", "overlap, mean", "overlap, greatest", "score")
        body = tuple(
            (
                tables.clean(each.title),
                each.metric,
                "%" if each.is_proportion else None,
                each.shots,
                one.low,
                one.mean,
                one.high,
                one.score,
            )
            for each in doses
            for one in each.bins
        )
        return finish(drawn, name=NAME, title=title, caption=caption, data=Table(columns, body, title))


def _drawn(dose: Dose) -> Iterator[Bin]:
    """Put the scores of bins in the unit of figures."""
    for each in dose.bins:
        score = panels.estimate(each.score, is_proportion=dose.is_proportion)
        if score is not None:
            yield replace(each, score=score)


def _bins(examples: int) -> int:
    """Make fewer bins of few examples, and two at least."""
    return max(2, min(BINS, examples // FEWEST))

"""ConTAM's curve: what contamination is worth at each threshold, and how many examples it then makes dirty."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from evalkit.contamination.gain import RESAMPLES, Curves, Gain
from evalkit.records import Cell, Estimate, Table
from evalkit.report import table as tables
from evalkit.report.content import Figure
from evalkit.report.figures import panels, style
from evalkit.report.figures.drawing import drawing, finish

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NAME = "gain-by-threshold"
BEYOND = 2.0  # the axis follows intervals as far as this multiple of the farthest point


def gain_curve(curves: Sequence[Curves], *, measure: str) -> Figure | None:
    """Draw the estimated performance gain by threshold, a panel a task; None where none leaves clean examples."""
    drawn_ones = [each for each in curves if _gains(each)]
    if not drawn_ones:
        return None
    units = {(each.row.metric, each.row.is_proportion) for each in drawn_ones}
    shares = len(units) == 1
    several_shots = len({each.row.shots for each in drawn_ones}) > 1
    width, height = panels.size(len(drawn_ones), strips=True)
    across = panels.columns(len(drawn_ones))
    with drawing(width, height) as drawn:
        found = panels.stacked(drawn, len(drawn_ones), share=shares)
        for place, ((axes, strip), each) in enumerate(zip(found, drawn_ones, strict=True)):
            _draw(axes, strip, each)
            shots = f"{tables.count(each.row.shots, 'shot')}, " if several_shots else ""
            below = f"{shots}n = {each.examples:,}"
            panels.title(axes, each.row.title, count=len(drawn_ones), below=below)
            if not (shares and place % across):
                unit = " (points)" if each.row.is_proportion else ""
                axes.set_ylabel(style.label(f"gain in {each.row.metric}{unit}", width=15, lines=3))
                strip.set_ylabel("dirty (%)")
        for (axes, _), each in zip(found, drawn_ones, strict=True):
            axes.set_ylim(_limits(drawn_ones if shares else [each]))
        drawn.supxlabel(style.label(f"threshold: dirty from this {measure} on", width=60))
        title = "Estimated performance gain by threshold"
        caption = (
            f"{title} of {measure} (ConTAM; Singh et al. 2024): score of all scanned examples minus that of those "
            f"below the threshold. Points with paired 95 % intervals from {RESAMPLES:,} joint resamples; the line has "
            "every threshold. Values of few clean examples may lie beyond the axis. Below, the share of the examples "
            "that is dirty. n, scanned and scored: "
            f"{style.counts([each.examples for each in drawn_ones]).removeprefix('n = ')}."
        )
        left_out = dict.fromkeys(each.row.title for each in curves if not _gains(each))
        if left_out:
            caption += f" Not drawn, as no threshold leaves clean examples: {', '.join(left_out)}."
        columns = ("task", "metric", "unit", "shots", "threshold", "dirty, %", "gain")
        body = tuple(line for each in drawn_ones for line in _lines(each))
        return finish(drawn, name=NAME, title=title, caption=caption, data=Table(columns, body, title))


def _gains(curves: Curves) -> list[tuple[Gain, Estimate]]:
    """List the thresholds with their gains as drawn."""
    pairs = ((each, panels.estimate(each.gain, is_proportion=curves.row.is_proportion)) for each in curves.gains)
    return [(each, found) for each, found in pairs if found is not None]


def _curve(curves: Curves) -> list[tuple[float, float, float]]:
    """List threshold, share and gain of every threshold, those of a gain."""
    scale = 100 if curves.row.is_proportion else 1
    return [
        (each.threshold, 100 * each.share, scale * each.gain) for each in curves.curve or () if each.gain is not None
    ]


def _limits(curves: Sequence[Curves]) -> tuple[float, float]:
    """Give the ends of the axis of gains, which does not follow the intervals of a few clean examples far."""
    found = [gain for each in curves for _, gain in _gains(each)]
    farthest = BEYOND * max(1.0, *(abs(each.value) for each in found))
    low = max(min(0.0, *(each.low for each in found)), -farthest)
    high = min(max(0.0, *(each.high for each in found)), farthest)
    room = 0.08 * max(high - low, 1.0)
    return low - room, high + room


def _draw(axes: Axes, strip: Axes, curves: Curves) -> None:
    gains, curve = _gains(curves), _curve(curves)
    axes.axhline(0, color=style.INK, linewidth=0.6)
    if curve:
        # A gain holds from the threshold before, which is not in it, up to its own.
        thresholds, _, values = zip(*curve, strict=True)
        axes.step(thresholds, values, where="pre", color=style.colour(0), linewidth=0.9)
    panels.points(axes, [each.threshold for each, _ in gains], [found for _, found in gains], line="none", marker=".")
    known = [(each.threshold, 100 * each.share) for each in curves.gains]
    thresholds, percents = zip(*known, strict=True)
    if len(known) > 1:
        strip.fill_between(thresholds, percents, step="pre", color=style.colour(1), alpha=0.35, linewidth=0)
        strip.step(thresholds, percents, where="pre", color=style.colour(1), linewidth=0.9)
    else:
        strip.vlines(thresholds, 0, percents, color=style.colour(1), linewidth=3)
    panels.share_axis(strip)
    strip.set(ylim=(0, 103), yticks=[0, 100])


def _lines(curves: Curves) -> list[tuple[Cell, ...]]:
    row = curves.row
    names = (tables.clean(row.title), row.metric, "points" if row.is_proportion else None, row.shots)
    lines: list[tuple[Cell, ...]] = [
        (*names, each.threshold, 100 * each.share, panels.estimate(each.gain, is_proportion=row.is_proportion))
        for each in curves.gains
    ]
    lines += [(*names, threshold, share, gain) for threshold, share, gain in _curve(curves)]
    return lines

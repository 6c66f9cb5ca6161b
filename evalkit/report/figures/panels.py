"""What figures share: small multiples, points with their intervals, axes of shots and of parameters."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from evalkit.records import Estimate, Result
from evalkit.report import table as tables
from evalkit.report.figures import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing

PANEL = 1.55  # inches high, with its title and ticks
STRIP = 0.5  # inches that a strip of counts under a panel adds
NEAR_TOP = 70.0  # percent
LABELS = 16  # characters of tick labels that fit an inch


def columns(count: int) -> int:
    """Tell how many panels stand beside each other."""
    return count if count <= 3 else 2 if count == 4 else 3 if count <= 9 else 4


def size(count: int, *, strips: bool = False, beside: float = 0.0) -> tuple[float, float]:
    """Give width and height in inches of so many panels; `beside` is the height of what stands above and below."""
    if count == 1:
        return style.COLUMN, 2.4 + STRIP * strips + beside
    rows = math.ceil(count / columns(count))
    return style.PAGE, rows * (max(PANEL, 4.2 / columns(count)) + STRIP * strips) + 0.35 + beside


def grid(drawn: Drawing, count: int, *, share: bool) -> list[Axes]:
    """Arrange panels in rows; with `share` all have one y axis, which the first of each row shows."""
    across = columns(count)
    down = math.ceil(count / across)
    places = drawn.add_gridspec(down, across)
    found: list[Axes] = []
    for place in range(count):
        first = found[0] if found else None
        axes = drawn.add_subplot(places[divmod(place, across)], sharex=first, sharey=first if share else None)
        if share and place % across:
            axes.tick_params(labelleft=False)
        found.append(axes)
    return found


def stacked(drawn: Drawing, count: int, *, share: bool) -> list[tuple[Axes, Axes]]:
    """Arrange panels in rows, each over a strip with the same x axis; with `share` all panels have one y axis."""
    across = columns(count)
    down = math.ceil(count / across)
    places = drawn.add_gridspec(2 * down, across, height_ratios=[3.2, 1] * down)
    found: list[tuple[Axes, Axes]] = []
    for place in range(count):
        row, column = divmod(place, across)
        first = found[0][0] if found else None
        upper = drawn.add_subplot(places[2 * row, column], sharex=first, sharey=first if share else None)
        strip = drawn.add_subplot(places[2 * row + 1, column], sharex=upper)
        upper.tick_params(labelbottom=False)
        if share and column:
            upper.tick_params(labelleft=False)
        found.append((upper, strip))
    return found


def title(axes: Axes, text: str, *, count: int, below: str = "") -> None:
    """Name a panel, as many characters wide as fit, with small text below."""
    width = {1: 46, 2: 46, 3: 30, 4: 22}[columns(count)]
    shown = style.label(text, width=width)
    axes.set_title(f"{shown}\n{below}" if below else shown, linespacing=1.25)


def share_axis(strip: Axes, *, margin: float = 0.04) -> None:
    """Let the x axis of a panel and its strip go from 0 to 1."""
    strip.set(xlim=(-margin, 1 + margin), xticks=[0, 0.5, 1], xticklabels=["0", "0.5", "1"])


def count_axis(strip: Axes, highest: int) -> None:
    """Let a strip of counts reach from 0 to its highest, which it names."""
    strip.set(ylim=(0, 1.05 * highest), yticks=[0, highest], yticklabels=["0", f"{highest:,}"])


def points(
    axes: Axes,
    places: Sequence[float],
    estimates: Sequence[Estimate],
    *,
    colour: str = style.COLOURS[0],
    marker: str = "o",
    line: str = "-",
    label: str | None = None,
) -> None:
    """Draw estimates with their intervals."""
    values = [each.value for each in estimates]
    below = [each.value - each.low for each in estimates]
    above = [each.high - each.value for each in estimates]
    axes.errorbar(
        places,
        values,
        yerr=[below, above],
        color=colour,
        marker=marker,
        linestyle=line,
        elinewidth=0.8,
        capthick=0.8,
        label=label,
    )


def estimate(found: Estimate | None, *, is_proportion: bool) -> Estimate | None:
    """Put an estimate in the unit of figures, percent for a proportion; None where it cannot be drawn."""
    if found is None or not all(map(math.isfinite, (found.value, found.low, found.high))):
        return None
    return tables.percent(found) if is_proportion else found


def axis_name(metric: str, *, is_proportion: bool) -> str:
    """Name an axis of scores with its unit."""
    return f"{metric} (%)" if is_proportion else metric


def anchor(axes: Axes, estimates: Sequence[Estimate], *, is_proportion: bool) -> None:
    """Let an axis of percents begin at 0, and end at 100 where the intervals come near it."""
    if is_proportion:
        highest = max(1.0, *(each.high for each in estimates))
        top = 104 if highest > NEAR_TOP else 1.1 * highest
        axes.set_ylim(-0.04 * top, top)


def shot_place(shots: float) -> float:
    """Place a number of shots on its axis, logarithmic in 1 + shots."""
    return math.log1p(shots)


def shot_ticks(axes: Axes, shots: Sequence[int], *, inches: float) -> None:
    """Label the numbers of shots, as many as fit the axis."""
    shown = sorted(set(shots))
    span = max(shot_place(shown[-1]) - shot_place(shown[0]), 1e-9)
    kept: list[int] = []
    for each in reversed(shown):  # the largest is always labelled
        room = span * (1 + len(str(each))) / (LABELS * inches)
        if not kept or shot_place(kept[-1]) - shot_place(each) >= room:
            kept.append(each)
    axes.set_xticks([shot_place(each) for each in kept], [f"{each:,}" for each in kept])
    axes.set_xlim(shot_place(shown[0]) - 0.08 * span, shot_place(shown[-1]) + 0.08 * span)


def intervals(results: Sequence[Result]) -> str:
    """Say in a sentence which intervals results have."""
    kinds = []
    if any(each.is_proportion and each.spec is not None for each in results):
        kinds.append("Wilson's for shares of right answers")
    if any(each.is_proportion and each.spec is None for each in results):
        kinds.append("Price and Bonett's for their means over tasks")
    if any(not each.is_proportion for each in results):
        kinds.append("the BCa bootstrap's for other scores")
    return f"Bars are 95 % intervals: {', '.join(kinds)}."

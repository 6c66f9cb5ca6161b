"""How much a score changes on clean examples alone, against the share that is clean: Figure 4.2 of Brown 2020."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from evalkit.contamination.comparison import TOO_SMALL
from evalkit.contamination.comparison_table import FORMULAS, MEANINGS, RELATIVE, Relative
from evalkit.contamination.published import PublishedRow
from evalkit.records import Cell, Comparison, Estimate, Table
from evalkit.report import table as tables
from evalkit.report.content import Figure
from evalkit.report.figures import placing, style
from evalkit.report.figures.drawing import drawing, finish, freeze

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing

COLUMNS = ("task", "metric", "shots", "clean, %", "n, clean", "n, all", "change, %", "flags")
NAME = "change-on-clean"
MOST_NAMED = 14  # points in a panel that may have their names beside them; more have numbers, and a list
LONGEST, LONGEST_LISTED = 40.0, 125.0  # points between a name, or a number, and its point
LEAST = 5.0  # percent that the axis reaches at least
BEYOND = 2.0  # the axis follows intervals as far as this multiple of the farthest point
HALVES = ("higher on clean", "higher on all")  # what the upper and the lower half mean
LEAST_SHARE = 60  # percent clean from which on the axis does not begin at 0
LISTED = 0.142  # inches that a line of the list takes


@dataclass(frozen=True, slots=True)
class Point:
    """One task, as drawn."""

    comparison: Comparison
    name: str
    share: float  # of the scored examples that is clean, percent
    change: Estimate  # percent of the score on all

    @property
    def is_small(self) -> bool:
        """Whether its clean subset says little."""
        return TOO_SMALL in self.comparison.flags


def change_on_clean(
    comparisons: Sequence[Comparison], *, relative: Relative = "plain", beside: Sequence[PublishedRow] = ()
) -> Figure | None:
    """Draw a point a task, and a panel for each number of shots; `beside` are rows of Table C.1, drawn without names.

    None where no task has a score on clean examples, or all of them are 0.
    """
    names = _names(comparisons)
    points = [found for each, name in zip(comparisons, names, strict=True) if (found := _point(each, name, relative))]
    if not points:
        return None
    by_shots: dict[int, list[Point]] = {}
    for point in points:
        by_shots.setdefault(point.comparison.shots, []).append(point)
    published = [pair for each in beside if (pair := _published(each, relative))]
    title, caption = "Change of the score on clean examples", _caption(points, comparisons, relative)
    data = Table(COLUMNS, tuple(_lines(points, published)), title)
    listed = list(dict.fromkeys(point.name for point in points))
    if max(map(len, by_shots.values())) <= MOST_NAMED:
        with drawing(style.PAGE, 0.4 + 3.0 * len(by_shots)) as drawn:
            if not _panels(drawn, by_shots, published, listed=[]):
                return finish(drawn, name=NAME, title=title, caption=caption, data=data)
    with drawing(style.PAGE, 0.4 + max(3.0 * len(by_shots), LISTED * len(listed))) as drawn:
        _panels(drawn, by_shots, published, listed=listed)
        return finish(drawn, name=NAME, title=title, caption=caption, data=data)


def _panels(
    drawn: Drawing,
    by_shots: Mapping[int, Sequence[Point]],
    published: Sequence[tuple[float, float]],
    *,
    listed: Sequence[str],
) -> list[str]:
    """Draw a panel for each number of shots; with a list, points have its numbers. Returns names without a place."""
    points = [point for here in by_shots.values() for point in here]
    reach = _reach(points, published)
    least = min([point.share for point in points] + [share for share, _ in published])
    start = 10 * int(min(least, 99) // 10) if least >= LEAST_SHARE else 0
    order = list(dict.fromkeys(point.name for point in points))  # each name has its colour and marker
    panels: list[tuple[Axes, Sequence[Point]]] = []
    for place, (shots, here) in enumerate(sorted(by_shots.items()), start=1):
        axes = drawn.add_subplot(len(by_shots), 1, place)
        _draw(axes, here, published, reach=reach, order=order)
        axes.set_xlim(start - 0.04 * (100 - start), 100 + 0.04 * (100 - start))
        if len(by_shots) > 1:
            axes.set_title(tables.count(shots, "shot"))
        panels.append((axes, here))
    axes.set_xlabel("clean examples (% of the scored)")
    _legend(drawn, points, published, listed=listed)
    freeze(drawn)
    nameless: list[str] = []
    for axes, here in panels:
        nameless += placing.place(
            axes,
            [str(order.index(each.name) + 1) if listed else style.label(each.name, width=24) for each in here],
            [(each.share, each.change.value, each.change.low, each.change.high) for each in here],
            colours=[style.colour(order.index(each.name)) for each in here],
            avoid=[*published, *((start + (100 - start) * step / 100, 0.0) for step in range(-4, 105))],
            farthest=LONGEST_LISTED if listed else LONGEST,
        )
    return nameless


def _names(comparisons: Sequence[Comparison]) -> list[str]:
    """Name tasks, with the metric where a task has several."""
    metrics: dict[str, set[str]] = {}
    for each in comparisons:
        metrics.setdefault(each.task, set()).add(each.metric)
    return [f"{each.title}, {each.metric}" if len(metrics[each.task]) > 1 else each.title for each in comparisons]


def _point(each: Comparison, name: str, relative: Relative) -> Point | None:
    if each.all is None or each.clean is None or each.difference is None or each.all.n == 0:
        return None
    whole, relate = each.all.value, RELATIVE[relative]
    changes = [
        relate(whole + found, whole) for found in (each.difference.value, each.difference.low, each.difference.high)
    ]
    known = [100 * change for change in changes if change is not None]
    if len(known) < len(changes):
        return None
    change = Estimate(known[0], min(known), max(known), n=each.difference.n)
    return Point(each, name, 100 * each.clean.n / each.all.n, change)


def _published(row: PublishedRow, relative: Relative) -> tuple[float, float] | None:
    change = RELATIVE[relative](row.clean, row.all)
    return None if change is None else (100 * row.clean_count / row.total, 100 * change)


def _reach(points: Sequence[Point], published: Sequence[tuple[float, float]]) -> float:
    """Tell how far the axis goes up and down, percent."""
    farthest = max([LEAST, *(abs(point.change.value) for point in points), *(abs(change) for _, change in published)])
    bounds = [max(abs(point.change.low), abs(point.change.high)) for point in points]
    return 1.15 * max(farthest, min(max(bounds), BEYOND * farthest))


def _draw(
    axes: Axes,
    points: Sequence[Point],
    published: Sequence[tuple[float, float]],
    *,
    reach: float,
    order: Sequence[str],
) -> None:
    axes.axhline(0, color=style.INK, linewidth=0.6)
    axes.set(ylim=(-reach, reach), ylabel="change of the score on\nclean examples (% of that on all)")
    if published:
        shares, changes = zip(*published, strict=True)
        axes.plot(shares, changes, "x", color=style.INK, alpha=0.35, markersize=3.5)
    for each in sorted(points, key=_width, reverse=True):  # a wide interval would hide a narrow one
        number = order.index(each.name)
        change, look = each.change, style.colour(number)
        low, high = max(change.low, -reach), min(change.high, reach)
        axes.plot([each.share] * 2, [low, high], color=look, linewidth=0.8)
        for bound, end, arrow in ((change.low, low, "v"), (change.high, high, "^")):
            sign = "_" if bound == end else arrow
            axes.plot([each.share], [end], sign, color=look, markersize=3.6, clip_on=False)
        fill = "none" if each.is_small else look
        axes.plot([each.share], [change.value], style.marker(number), color=look, markerfacecolor=fill)
    for text, height in zip(HALVES, (0.75, 0.25), strict=True):
        axes.text(1.012, height, text, transform=axes.transAxes, rotation=270, va="center", style="italic")


def _width(point: Point) -> float:
    return point.change.high - point.change.low


def _legend(
    drawn: Drawing, points: Sequence[Point], published: Sequence[tuple[float, float]], *, listed: Sequence[str]
) -> None:
    from matplotlib.lines import Line2D

    keys = [Line2D([], [], color=style.INK, marker="o", linewidth=0.8, label="task, 95 % interval")]
    if any(point.is_small for point in points):
        keys.append(Line2D([], [], color=style.INK, marker="o", fillstyle="none", linewidth=0.8, label=TOO_SMALL))
    if published:
        look = Line2D([], [], color=style.INK, alpha=0.35, marker="x", markersize=3.5, linestyle="none")
        look.set_label("GPT-3 175B, Table C.1")
        keys.append(look)
    if len(keys) > 1:
        drawn.legend(handles=keys, loc="outside upper left", ncols=len(keys))
    if listed:
        looks = [
            Line2D([], [], color=style.colour(place), marker=style.marker(place), linestyle="none")
            for place in range(len(listed))
        ]
        names = [f"{place}  {style.label(name, width=28, lines=1)}" for place, name in enumerate(listed, start=1)]
        drawn.legend(looks, names, loc="outside right upper", handlelength=1, handletextpad=0.4, labelspacing=0.25)


def _caption(points: Sequence[Point], comparisons: Sequence[Comparison], relative: Relative) -> str:
    clean = [point.comparison.clean.n for point in points if point.comparison.clean]
    sentences = [
        "How the score changes when clean examples alone are scored, against the share of the scored examples that is "
        "clean (Figure 4.2 of Brown et al. 2020).",
        FORMULAS[relative],
        "Bars are paired 95 % intervals of clean - all, examples resampled jointly, over the score on all; an arrow "
        "ends one that goes beyond the axis.",
        f"Examples a point: {style.counts([point.change.n for point in points])}, of which clean "
        f"{style.counts(clean).removeprefix('n = ')}.",
    ]
    if any(point.is_small for point in points):
        sentences.append(f"Hollow, {TOO_SMALL}: {MEANINGS[TOO_SMALL]}.")
    drawn = {id(point.comparison) for point in points}
    left_out = dict.fromkeys(each.title for each in comparisons if id(each) not in drawn)
    if left_out:
        sentences.append(f"Not drawn, as no clean example was scored or all scored 0: {', '.join(left_out)}.")
    return " ".join(sentences)


def _lines(points: Sequence[Point], published: Sequence[tuple[float, float]]) -> Iterator[tuple[Cell, ...]]:
    for point in points:
        each = point.comparison
        yield (
            tables.clean(each.title),
            each.metric,
            each.shots,
            point.share,
            each.clean.n if each.clean else 0,
            each.all.n if each.all else 0,
            point.change,
            "; ".join(each.flags) or None,
        )
    for share, change in published:
        yield ("GPT-3 175B, Table C.1", None, None, share, None, None, change, None)

"""Score against model size, beside GPT-3's published curve."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from evalkit.records import Cell, Estimate, Result, Table
from evalkit.report import published
from evalkit.report import table as tables
from evalkit.report.content import Figure
from evalkit.report.figures import panels, style
from evalkit.report.figures.drawing import drawing, finish
from evalkit.report.layout import ALL
from evalkit.report.published import Published

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing
    from matplotlib.lines import Line2D

NAME = "score-by-size"
GPT3 = "GPT-3 (Brown et al. 2020)"
PARAMETERS = {  # of GPT-3's models, Brown 2020, Table D.1
    "125M": 125e6,
    "350M": 356e6,
    "760M": 760e6,
    "1.3B": 1_320e6,
    "2.7B": 2_650e6,
    "6.7B": 6_660e6,
    "13B": 12_850e6,
    "175B": 174_600e6,
}
DASHES = {"zero": ":", "one": "--", "few": "-"}
DODGE = 0.03  # of the axis, between zero, one and few shots of a model
UNITS = ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k"))


@dataclass(frozen=True, slots=True)
class Point:
    """A model's score."""

    result: Result
    estimate: Estimate  # as drawn
    parameters: float


@dataclass(frozen=True, slots=True)
class Row:
    """One task under one metric."""

    points: tuple[Point, ...]
    published: Published | None


def by_size(results: Sequence[Result], *, parameters: Mapping[str, float]) -> Figure | None:
    """Draw scores on all of a task's examples; `parameters` counts those of the models, by their name in the results.

    A task has a panel where GPT-3's scores are published or two sizes were run; None where none has.
    """
    rows = _rows(results, parameters)
    if not rows:
        return None
    models = list(dict.fromkeys(point.result.model for row in rows for point in row.points))
    units = {(row.points[0].result.metric, row.points[0].result.is_proportion) for row in rows}
    shares = len(units) == 1
    sizes = [size for row in rows for size in _sizes(row)]
    width, height = panels.size(len(rows), beside=0.25 + 0.16 * math.ceil(len(models) / 2))
    width = max(width, 4.5)
    with drawing(width, height) as drawn:
        found = panels.grid(drawn, len(rows), share=shares)
        for place, (axes, row) in enumerate(zip(found, rows, strict=True)):
            _draw(axes, row, models=models, span=math.log10(max(sizes) / min(sizes)))
            result = row.points[0].result
            below = style.counts([point.estimate.n for point in row.points])
            if row.published is not None and len(rows) <= 9:
                below += f"; GPT-3: {row.published.examples:,}"
            panels.title(axes, result.title, count=len(rows), below=below)
            if not (shares and place % panels.columns(len(rows))):
                name = panels.axis_name(result.metric, is_proportion=result.is_proportion)
                axes.set_ylabel(style.label(name, width=22))
        for axes, row in zip(found, rows, strict=True):
            shown = [each for one in (rows if shares else [row]) for each in _scores(one)]
            panels.anchor(axes, shown, is_proportion=row.points[0].result.is_proportion)
        size_axis(found[0], sizes, inches=width / panels.columns(len(rows)) - 0.5)
        drawn.supxlabel("parameters (log scale)")
        drawn.legend(handles=_keys(rows, models, parameters), loc="outside upper left", ncols=2)
        return _finished(drawn, rows, results, parameters)


def _rows(results: Sequence[Result], parameters: Mapping[str, float]) -> list[Row]:
    groups: dict[tuple[str, str], list[Point]] = {}
    for each in results:
        found = panels.estimate(each.estimate, is_proportion=each.is_proportion)
        if each.subset == ALL and found is not None and parameters.get(each.model, 0) > 0:
            groups.setdefault((each.task, each.metric), []).append(Point(each, found, parameters[each.model]))
    rows: list[Row] = []
    for points in groups.values():
        first = points[0].result
        figures = None if first.spec is None else published.published(first.task, first.spec)
        if figures is not None or len({point.parameters for point in points}) > 1:
            rows.append(Row(tuple(points), figures))
    return rows


def _sizes(row: Row) -> list[float]:
    return [*(point.parameters for point in row.points), *(PARAMETERS.values() if row.published else ())]


def _scores(row: Row) -> list[Estimate]:
    """List what a panel shows; a published score is its own interval."""
    shown = [row.published.scores[name] for name in _settings(row)] if row.published else []
    return [
        *(point.estimate for point in row.points),
        *(Estimate(each, each, each, 1) for some in shown for each in some),
    ]


def _settings(row: Row) -> list[str]:
    """Name the settings of the runs: those of GPT-3's curves that are drawn."""
    used = {published.setting(point.result.shots) for point in row.points}
    return [name for name in published.SETTINGS if name in used]


def _draw(axes: Axes, row: Row, *, models: Sequence[str], span: float) -> None:
    for name in _settings(row):
        place = published.SETTINGS.index(name)
        if row.published is not None:
            axes.plot(
                list(PARAMETERS.values()),
                row.published.scores[name],
                color=style.colour(place),
                linestyle=DASHES[name],
                marker=".",
                markersize=3,
            )
        for number, model in enumerate(models):
            own = [
                point
                for point in row.points
                if point.result.model == model and published.setting(point.result.shots) == name
            ]
            shift = 10 ** ((place - 1) * DODGE * span)
            panels.points(
                axes,
                [point.parameters * shift for point in own],
                [point.estimate for point in own],
                colour=style.colour(place),
                marker=style.marker(number),
                line="none",
            )


def size_axis(axes: Axes, sizes: Sequence[float], *, inches: float) -> None:
    """Let the x axis hold these numbers of parameters on a logarithmic scale, so many inches wide."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    low, high = math.floor(math.log10(min(sizes))), math.ceil(math.log10(max(sizes)))
    step = max(1, math.ceil((high - low) / max(2.0, 2.4 * inches)))
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(FixedLocator([10.0**power for power in range(low, high + 1, step)]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: size_name(value)))
    edge = (max(sizes) / min(sizes)) ** 0.08 * 1.2
    axes.set_xlim(min(sizes) / edge, max(sizes) * edge)


def size_name(parameters: float) -> str:
    """Write a number of parameters with at most three digits, such as 350M or 1.32B."""
    for size, letter in UNITS:
        if parameters >= 0.9995 * size:
            return f"{parameters / size:.3g}{letter}"
    return f"{parameters:.0f}"


def _keys(rows: Sequence[Row], models: Sequence[str], parameters: Mapping[str, float]) -> list[Line2D]:
    from matplotlib.lines import Line2D

    used = {name for row in rows for name in _settings(row)}
    keys = [
        Line2D(
            [],
            [],
            color=style.colour(place),
            linestyle=DASHES[name],  # type: ignore[arg-type] # one of matplotlib's names
            label=f"{name}-shot",
        )
        for place, name in enumerate(published.SETTINGS)
        if name in used
    ]
    if any(row.published for row in rows):
        keys.append(Line2D([], [], color=style.INK, marker=".", markersize=3, label=GPT3))
    keys += [
        Line2D(
            [],
            [],
            color=style.INK,
            linestyle="none",
            marker=style.marker(number),
            label=f"{style.label(model, width=34, lines=1)}, {size_name(parameters[model])}",
        )
        for number, model in enumerate(models)
    ]
    return keys


def _finished(
    drawn: Drawing, rows: Sequence[Row], results: Sequence[Result], parameters: Mapping[str, float]
) -> Figure:
    shown = [point.result for row in rows for point in row.points]
    sentences = [
        "Score against the number of parameters; few-shot: two demonstrations or more. A model's zero-, one- and "
        "few-shot scores stand beside each other, from left to right. " + panels.intervals(shown)
    ]
    sentences.append(f"Examples a point: {style.counts([point.estimate.n for row in rows for point in row.points])}.")
    with_figures = [(row, row.published) for row in rows if row.published]
    if with_figures:
        sentences.append(
            "Lines: GPT-3's scores of Brown et al. 2020, Table H.1, which gives no intervals, and parameters of its "
            "Table D.1."
        )
        few = {figures.shots for _, figures in with_figures}
        examples = [figures.examples for _, figures in with_figures]
        sentences.append(
            f"GPT-3's few-shot scores had {' or '.join(map(str, sorted(few)))} demonstrations; "
            f"{style.counts(examples)}."
        )
    doubts: dict[str, list[str]] = {}
    for row, figures in with_figures:
        for name in _settings(row):
            for caution in figures.cautions.get(name, ()):
                doubts.setdefault(f"GPT-3's {name}-shot scores, {caution}", []).append(row.points[0].result.title)
    sentences += [f"{what}: {', '.join(titles)}." for what, titles in doubts.items()]
    unknown = dict.fromkeys(each.model for each in results if parameters.get(each.model, 0) <= 0)
    if unknown:
        sentences.append(f"Left out, since their parameters are not known: {', '.join(unknown)}.")
    title = "Score against model size"
    columns = ("task", "metric", "unit", "model", "parameters", "shots", "shots used", "score")
    body = tuple(line for row in rows for line in _lines(row))
    return finish(drawn, name=NAME, title=title, caption=" ".join(sentences), data=Table(columns, body, title))


def _lines(row: Row) -> list[tuple[Cell, ...]]:
    first = row.points[0].result
    names = (tables.clean(first.title), first.metric, "%" if first.is_proportion else None)
    lines: list[tuple[Cell, ...]] = []
    for point in row.points:
        each = point.result
        model = tables.clean(each.model)
        lines.append((*names, model, round(point.parameters), each.shots, each.shots_used, point.estimate))
    figures = row.published
    if figures is None:
        return lines
    for setting in _settings(row):
        shots = figures.shots if setting == "few" else published.SETTINGS.index(setting)
        for (size, count), score in zip(PARAMETERS.items(), figures.scores[setting], strict=True):
            lines.append((*names, f"GPT-3 {size}", round(count), shots, None, score))
    return lines

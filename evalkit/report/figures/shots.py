"""Score against the number of demonstrations: a line a task or a model, and a panel a task where these are many."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from evalkit.records import Estimate, Result, Table
from evalkit.report import table as tables
from evalkit.report.content import Figure
from evalkit.report.figures import panels, style
from evalkit.report.figures.drawing import drawing, finish
from evalkit.report.layout import ALL

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing

NAME = "score-by-shots"
MOST_LINES = 6  # in one panel
DODGE = 0.018  # of the axis, between intervals that would cover each other
AXIS = "demonstrations (shots, on a log scale of 1 + shots)"


@dataclass(frozen=True, slots=True)
class Line:
    """One model's scores on one task, shots rising."""

    title: str
    metric: str
    is_proportion: bool
    model: str
    results: tuple[Result, ...]
    estimates: tuple[Estimate, ...]  # as drawn


def by_shots(results: Sequence[Result]) -> Figure | None:
    """Draw the scores on all of a task's examples; None where no task was scored at two numbers of shots."""
    lines = [line for line in _lines(results) if len(line.results) > 1]
    if not lines:
        return None
    rows: dict[tuple[str, str], list[Line]] = {}
    for line in lines:
        rows.setdefault((line.results[0].task, line.metric), []).append(line)
    units = {(line.metric, line.is_proportion) for line in lines}
    is_one = len(rows) == 1 or (len(rows) == len(lines) <= MOST_LINES and len(_models(lines)) == 1)
    if is_one and len(units) == 1 and len(lines) <= MOST_LINES:
        return _one_panel(lines, names_tasks=len(rows) > 1)
    return _small_multiples(list(rows.values()), shares=len(units) == 1)


def _one_panel(lines: Sequence[Line], *, names_tasks: bool) -> Figure:
    has_legend = len(lines) > 1
    width = style.PAGE if has_legend else style.COLUMN
    with drawing(width, 2.6) as drawn:
        axes = drawn.add_subplot()
        varies = len({each.n for line in lines for each in line.estimates}) > 1
        for place, line in enumerate(lines):
            name = style.label(line.title if names_tasks else line.model)
            number = style.counts([each.n for each in line.estimates])
            _draw(axes, line, place=place, of=len(lines), label=f"{name} ({number})" if varies else name)
        _finish_axes(axes, lines, inches=width - 2.5 * has_legend)
        axes.set(xlabel=AXIS, ylabel=panels.axis_name(lines[0].metric, is_proportion=lines[0].is_proportion))
        if has_legend:
            drawn.legend(loc="outside right center")
        if not names_tasks:
            panels.title(axes, lines[0].title, count=1)
            _baseline(axes, lines)
        return _finished(drawn, lines)


def _small_multiples(rows: Sequence[Sequence[Line]], *, shares: bool) -> Figure:
    lines = [line for row in rows for line in row]
    models = _models(lines)
    has_legend = len(models) > 1
    width, height = panels.size(len(rows), beside=0.2 * (len(models) // 3 + 1) if has_legend else 0.0)
    across = panels.columns(len(rows))
    with drawing(width, height) as drawn:
        found = panels.grid(drawn, len(rows), share=shares)
        for place, (axes, row) in enumerate(zip(found, rows, strict=True)):
            for line in row:
                at = models.index(line.model)
                _draw(axes, line, place=at, of=len(models), label=style.label(line.model, width=40))
            _baseline(axes, row)
            numbers = style.counts([each.n for line in row for each in line.estimates])
            panels.title(axes, row[0].title, count=len(rows), below=numbers)
            if not (shares and place % across):
                name = panels.axis_name(row[0].metric, is_proportion=row[0].is_proportion)
                axes.set_ylabel(style.label(name, width=22))
        for axes, row in zip(found, rows, strict=True):
            _finish_axes(axes, lines if shares else row, inches=width / across - 0.5)
        drawn.supxlabel(AXIS)
        if has_legend:
            handles = _handles(found)
            drawn.legend(handles.values(), handles.keys(), loc="outside upper left", ncols=3)
        return _finished(drawn, lines)


def _handles(found: Sequence[Axes]) -> dict[str, Artist]:
    """Collect what a legend shows, by its label."""
    return {label: handle for axes in found for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)}


def _draw(axes: Axes, line: Line, *, place: int, of: int, label: str) -> None:
    span = panels.shot_place(line.results[-1].shots) - panels.shot_place(line.results[0].shots)
    shift = (place - (of - 1) / 2) * DODGE * span
    places = [panels.shot_place(each.shots) + shift for each in line.results]
    panels.points(axes, places, line.estimates, colour=style.colour(place), marker=style.marker(place), label=label)


def _baseline(axes: Axes, lines: Sequence[Line]) -> None:
    """Mark the score of always giving the commonest answer, where there is one."""
    scaled = (tables.scaled_number(each, each.baseline) for line in lines for each in line.results)
    known = [each for each in scaled if each is not None]
    if known:
        axes.axhline(known[0], color=style.INK, alpha=0.6, linewidth=0.8, linestyle=":")


def _finish_axes(axes: Axes, lines: Sequence[Line], *, inches: float) -> None:
    panels.shot_ticks(axes, [each.shots for line in lines for each in line.results], inches=inches)
    estimates = [each for line in lines for each in line.estimates]
    panels.anchor(axes, estimates, is_proportion=lines[0].is_proportion)


def _finished(drawn: Drawing, lines: Sequence[Line]) -> Figure:
    results = [each for line in lines for each in line.results]
    models = _models(lines)
    sentences = [
        f"Score against the number of demonstrations, {', '.join(models)}.",
        panels.intervals(results),
        f"Examples a point: {style.counts([each.n for line in lines for each in line.estimates])}.",
    ]
    fewer = [
        f"{each.title} at {tables.count(each.shots, 'shot')} {each.shots_used:.1f}"
        for each in results
        if each.shots_used < each.shots
    ]
    if fewer:
        sentences.append(f"Where fewer than asked for fit the window, demonstrations used: {', '.join(fewer)}.")
    if any(each.baseline is not None for each in results):
        sentences.append("Dotted: always giving the commonest answer.")
    columns = ("task", "metric", "unit", "model", "shots", "shots used", "score", "majority")
    body = tuple(
        (
            tables.clean(line.title),
            line.metric,
            "%" if line.is_proportion else None,
            tables.clean(line.model),
            each.shots,
            each.shots_used,
            estimate,
            tables.scaled_number(each, each.baseline),
        )
        for line in lines
        for each, estimate in zip(line.results, line.estimates, strict=True)
    )
    title = "Score against the number of demonstrations"
    return finish(drawn, name=NAME, title=title, caption=" ".join(sentences), data=Table(columns, body, title))


def _lines(results: Sequence[Result]) -> list[Line]:
    """Join results that differ in shots alone; a second run of a model has a line of its own."""
    groups: dict[tuple[str, str, str], list[dict[int, Result]]] = {}
    for each in results:
        if each.subset == ALL and panels.estimate(each.estimate, is_proportion=each.is_proportion):
            here = groups.setdefault((each.task, each.metric, each.model), [])
            free = next((line for line in here if each.shots not in line), None)
            if free is None:
                here.append({each.shots: each})
            else:
                free[each.shots] = each
    found: list[Line] = []
    for (_, _, model), here in groups.items():
        for number, by_shots in enumerate(here, start=1):
            ordered = tuple(by_shots[shots] for shots in sorted(by_shots))
            drawn = (panels.estimate(each.estimate, is_proportion=each.is_proportion) for each in ordered)
            found.append(
                Line(
                    title=ordered[0].title,
                    metric=ordered[0].metric,
                    is_proportion=ordered[0].is_proportion,
                    model=model if number == 1 else f"{model} (run {number})",
                    results=ordered,
                    estimates=tuple(each for each in drawn if each is not None),
                )
            )
    return found


def _models(lines: Sequence[Line]) -> list[str]:
    return list(dict.fromkeys(line.model for line in lines))

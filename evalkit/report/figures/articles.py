"""How often people tell who wrote an article, against the size of the model, beside GPT-3's published figures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from evalkit.articles.analysis import published
from evalkit.articles.analysis.analyse import Analysis
from evalkit.articles.analysis.fit import PowerLaw
from evalkit.records import Cell, Estimate, Table
from evalkit.report import table as tables
from evalkit.report.content import Figure
from evalkit.report.figures import panels, sizes, style
from evalkit.report.figures.drawing import drawing, finish

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NAME = "people-by-size"
TITLE = "People's accuracy against model size"
CHANCE = 50.0  # percent
WORDS = 200  # of the published study whose models have several sizes
ASIDE = 1.1  # times its parameters stands a published point, which ours of the same size would cover
CURVE = 100  # points of a power law
MARGIN = 6.0  # percents of the axis beyond what is drawn
COLUMNS = ("model", "parameters", "accuracy, %", "accuracy, articles vary, %")


@dataclass(frozen=True, slots=True)
class Point:
    """A condition, in percent."""

    name: str
    parameters: int
    accuracy: Estimate  # t interval over participants
    robust: Estimate | None  # participants and articles vary


def figure(analysis: Analysis) -> Figure | None:
    """Draw mean accuracies with the fitted power law, the control, chance, and GPT-3's.

    None where no model of a known size has a mean with an interval.
    """
    points = _points(analysis)
    if not points:
        return None
    theirs = _published()
    control = _control(analysis)
    with drawing(style.PAGE * 0.75, 3.4) as drawn:
        axes = drawn.add_subplot()
        _draw_lines(axes, control, analysis.law)
        _draw_points(axes, points, theirs)
        sizes.size_axis(axes, [each.parameters for each in (*points, *theirs)], inches=style.PAGE * 0.75 - 0.8)
        axes.set_xlabel("parameters (log scale)")
        axes.set_ylabel("people's accuracy (%)")
        shown = [*(each.robust or each.accuracy for each in points), *(each.accuracy for each in (*points, *theirs))]
        shown += [control] if control else []
        axes.set_ylim(
            max(-2.0, min(CHANCE, *(each.low for each in shown)) - MARGIN),
            min(102.0, max(each.high for each in shown) + MARGIN),
        )
        drawn.legend(loc="outside upper left", ncols=2)
        caption = " ".join(_sentences(analysis, points, control))
        return finish(
            drawn, name=NAME, title=TITLE, caption=caption, data=Table(COLUMNS, _lines(points, theirs, control), TITLE)
        )


def _points(analysis: Analysis) -> list[Point]:
    return [
        Point(
            name=group.name,
            parameters=group.parameters,
            accuracy=tables.percent(group.accuracy),
            robust=tables.percent(group.robust.estimate) if group.robust else None,
        )
        for group in analysis.groups
        if not group.is_control and group.parameters is not None and group.parameters > 0 and group.accuracy
    ]


def _published() -> list[Point]:
    return [
        Point(f"GPT-3 {each.model}", each.parameters, tables.percent(each.accuracy), None)
        for each in published.load()
        if each.words == WORDS and not each.is_control
    ]


def _control(analysis: Analysis) -> Estimate | None:
    group = analysis.control
    return tables.percent(group.accuracy) if group and group.accuracy else None


def _draw_lines(axes: Axes, control: Estimate | None, law: PowerLaw | None) -> None:
    import numpy as np

    axes.axhline(CHANCE, color=style.INK, linestyle=":", linewidth=0.8, label="chance")
    if control is not None:
        axes.axhspan(control.low, control.high, color=style.colour(1), alpha=0.15, linewidth=0)
        axes.axhline(control.value, color=style.colour(1), linestyle="--", label="control")
    if law is not None:
        places = np.geomspace(law.sizes[0], law.sizes[-1], CURVE)
        axes.plot(
            places,
            [100 * law.at(float(each)) for each in places],
            color=style.colour(0),
            label=f"power law a x^-b, b = {law.exponent.value:.3f}",
        )


def _draw_points(axes: Axes, points: Sequence[Point], theirs: Sequence[Point]) -> None:
    panels.points(
        axes,
        [each.parameters * ASIDE for each in theirs],
        [each.accuracy for each in theirs],
        colour=style.colour(4),
        marker="D",
        line="none",
        label=sizes.GPT3,
    )
    for each in points:
        if each.robust is not None:
            axes.vlines(each.parameters, each.robust.low, each.robust.high, color=style.colour(0), linewidth=0.7)
    panels.points(
        axes,
        [each.parameters for each in points],
        [each.accuracy for each in points],
        colour=style.colour(0),
        marker="o",
        line="none",
        label="models of this study",
    )


def _sentences(analysis: Analysis, points: Sequence[Point], control: Estimate | None) -> Iterator[str]:
    yield (
        'Share of right answers among those that are not "I don\'t know", mean over participants '
        f"({style.counts([each.accuracy.n for each in points])} a model), against the number of parameters. "
        "Bars with caps are 95 % t intervals over participants; thin lines go on where articles vary too "
        "(clustered in both ways)."
    )
    if control is not None:
        yield f"Dashed line and band: the control, n = {control.n:,}, with its t interval."
    if analysis.law is not None:
        law = analysis.law.exponent
        yield (
            f"Curve: a x^-b by least squares, b = {law.value:.3f}, 95 % interval {law.low:.3f} to {law.high:.3f} "
            "(participants resampled)."
        )
    yield (
        "Diamonds, a little to the right of their sizes: GPT-3's articles of about 200 words, other articles and other "
        "people (Brown et al. 2020, Tables 3.11 and D.1)."
    )
    drawn = {each.name for each in points}
    left_out = [group.name for group in analysis.groups if not group.is_control and group.name not in drawn]
    if left_out:
        yield f"Left out, since parameters or an interval are missing: {', '.join(left_out)}."


def _lines(points: Sequence[Point], theirs: Sequence[Point], control: Estimate | None) -> tuple[tuple[Cell, ...], ...]:
    lines: list[tuple[Cell, ...]] = [
        (tables.clean(each.name), each.parameters, each.accuracy, each.robust) for each in (*points, *theirs)
    ]
    if control is not None:
        lines.append(("control", None, control, None))
    return tuple(lines)

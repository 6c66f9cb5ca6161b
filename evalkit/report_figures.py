"""The figures of reports, from the results, samples and comparisons that their tables rest on."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from typing import TYPE_CHECKING

from evalkit import text
from evalkit.records import Comparison, Result, Sample
from evalkit.report import table
from evalkit.report.content import Figure
from evalkit.report.figures import clean_share, dose, gains, reliability, shots, sizes

if TYPE_CHECKING:
    from evalkit.contamination.compared import Row
    from evalkit.contamination.comparison_table import Relative


def of_results(results: Sequence[Result], *, parameters: Mapping[str, float] | None = None) -> tuple[Figure, ...]:
    """Draw scores against shots and, where `parameters` counts those of models by name, against their size.

    A task's first metric is drawn; others differ little or are there to be compared in tables.
    """
    first: dict[str, str] = {}
    chosen = [each for each in results if _is_first(each, first)]
    drawn = [shots.by_shots(chosen)]
    if parameters:
        drawn.append(sizes.by_size(chosen, parameters=parameters))
    return tuple(filter(None, drawn))


def of_choices(samples: Iterable[Sample], *, titles: Mapping[str, str], model: str | None = None) -> tuple[Figure, ...]:
    """Draw how reliable choices are; samples of a task and number of shots stand together, `titles` are of tasks."""
    found = []
    for (name, _), group in groupby(samples, key=lambda sample: (sample.task, sample.shots)):
        asked = [each for each in group if len(each.example.choices) > 1]
        found.append(reliability.calibration(asked, title=titles.get(name, name)))
    drawn = reliability.reliability([each for each in found if each is not None])
    return () if drawn is None else (_of(drawn, model),)


def of_comparison(rows: Sequence[Row], *, relative: Relative = "plain", model: str | None = None) -> tuple[Figure, ...]:
    """Draw what a corpus makes of scores: change on clean examples, score against overlap, gain by threshold.

    A task's first metric is drawn.
    """
    first: dict[str, str] = {}
    chosen = [row for row in rows if _is_first(row.comparison, first)]
    drawn = [clean_share.change_on_clean([row.comparison for row in chosen], relative=relative)]
    for measure in dict.fromkeys(row.measure for row in chosen):
        own = [row for row in chosen if row.measure == measure]
        drawn.append(dose.dose_response([row.dose for row in own if row.dose is not None], measure=measure))
        drawn.append(gains.gain_curve([row.curves for row in own if row.curves is not None], measure=measure))
    return tuple(_of(each, model) for each in drawn if each is not None)


def _is_first(each: Result | Comparison, first: dict[str, str]) -> bool:
    """Tell whether a metric is its task's first, which `first` is told of."""
    return first.setdefault(each.task, each.metric) == each.metric


def _of(figure: Figure, model: str | None) -> Figure:
    """Name the model that a figure is of, where there are several."""
    if model is None:
        return figure
    title = f"{figure.title}: {table.clean(model)}"
    slug = re.sub(r"[^A-Za-z0-9._-]+", "-", model).strip("-")
    # Models whose names differ in other characters alone keep files of their own.
    part = slug if slug == model else f"{slug}-{text.digest(model, length=6)}".lstrip("-")
    name = f"{figure.name}-{part}"
    return replace(figure, name=name, title=title, caption=figure.caption.replace(figure.title, title, 1))

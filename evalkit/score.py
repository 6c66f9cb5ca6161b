"""Samples into results: one for every task, metric, subset and number of shots, and the mean of each group."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import TypeAlias

from evalkit import registry, stats
from evalkit.assignment import Assignment
from evalkit.errors import TaskError
from evalkit.interfaces import Metric
from evalkit.records import Result, Sample, Task

ALL = "all"

Sign: TypeAlias = Callable[[Sequence[Assignment], Sequence[int]], str]  # tasks, numbers of shots -> signature


@dataclass(frozen=True, slots=True)
class Scoring:
    """How the samples of a run are scored."""

    model: str
    by: str | None  # field of the examples that splits every row
    sign: Sign


def results(
    assignments: Sequence[Assignment], samples: Mapping[tuple[str, int], Sequence[Sample]], *, scoring: Scoring
) -> tuple[Result, ...]:
    """Score samples, given by task name and number of shots; rows of a table are in the order of the results."""
    found: list[Result] = []
    for group, members in groupby(assignments, key=lambda assignment: assignment.task.group):
        tasks = list(members)
        own = [result for each in tasks for result in _task_results(each, samples, scoring)]
        found += own
        if group is not None and len(tasks) > 1:
            found += _means(group, tasks, own, scoring)
    return tuple(found)


def load_metric(name: str) -> Metric:
    """Make the metric that task files call `name`."""
    metric: Metric = registry.resolve(registry.METRICS, name)()
    return metric


def check_metrics(task: Task) -> None:
    """Raise TaskError where a metric cannot score what the task asks for."""
    for name in task.metrics:
        kinds = load_metric(name).kinds
        if task.kind not in kinds:
            raise TaskError(
                f"{task.name}: metric {name!r} scores requests of kind {' or '.join(sorted(kinds))}, found kind "
                f"{task.kind!r}; change one of the two"
            )


def _task_results(
    assignment: Assignment, samples: Mapping[tuple[str, int], Sequence[Sample]], scoring: Scoring
) -> Iterable[Result]:
    subsets = [ALL, *_subsets(assignment, scoring.by)]
    for name in assignment.task.metrics:
        metric = load_metric(name)
        for subset in subsets:
            for shots in assignment.shots:
                chosen = [
                    sample
                    for sample in samples[assignment.task.name, shots]
                    if subset == ALL or _label(sample.example.fields, scoring.by) == subset
                ]
                prompts = [sample.prompt for sample in chosen if sample.prompt is not None]
                statistics = [sample.statistics[name] for sample in chosen if sample.prompt is not None]
                yield Result(
                    task=assignment.task.name,
                    title=assignment.task.title,
                    shots=shots,
                    shots_used=_mean([prompt.shots_used for prompt in prompts]),
                    model=scoring.model,
                    metric=metric.name,
                    is_proportion=metric.is_proportion,
                    subset=subset,
                    estimate=metric.aggregate(statistics) if statistics else None,
                    skipped=len(chosen) - len(prompts),
                    signature=scoring.sign([assignment], [shots]),
                )


def _means(group: str, tasks: Sequence[Assignment], own: Sequence[Result], scoring: Scoring) -> Iterable[Result]:
    """Average a group: a subset or number of shots that not all of its tasks have has no mean."""
    cells: dict[tuple[str, str, int], list[Result]] = {}
    for result in own:
        cells.setdefault((result.metric, result.subset, result.shots), []).append(result)
    for (_, _, shots), results_here in cells.items():
        average = stats.mean_of_proportions if results_here[0].is_proportion else stats.mean_of_estimates
        estimates = [result.estimate for result in results_here if result.estimate is not None]
        yield replace(
            results_here[0],
            task=group,
            title=f"{group}, mean of {len(tasks)} tasks",
            shots_used=_mean([result.shots_used for result in results_here]),
            estimate=average(estimates) if len(estimates) == len(tasks) else None,
            skipped=sum(result.skipped for result in results_here),
            signature=scoring.sign(tasks, [shots]),
        )


def _subsets(assignment: Assignment, by: str | None) -> list[str]:
    if by is None:
        return []
    values = {_label(example.fields, by): example.fields[by] for example in assignment.examples}
    # Numbers in their own order, all else in that of their text.
    return sorted(values, key=lambda name: (values[name] if _is_number(values[name]) else math.inf, name))


def _label(fields: Mapping[str, object], by: str | None) -> str:
    """Name the subset an example belongs to, such as `withheld=true`."""
    value = fields[by] if by is not None else ""
    return f"{by}={str(value).lower() if isinstance(value, bool) else value}"


def _is_number(value: object) -> bool:
    return isinstance(value, int | float)


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values) if values else 0.0

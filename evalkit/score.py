"""Samples into results: one for every task, metric, subset and number of shots, and the mean of each group."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from statistics import stdev
from typing import TypeAlias

from evalkit import metric_spec, stats
from evalkit.assignment import Assignment
from evalkit.records import Estimate, Example, Result, Sample

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


def _task_results(
    assignment: Assignment, samples: Mapping[tuple[str, int], Sequence[Sample]], scoring: Scoring
) -> Iterable[Result]:
    subsets = [ALL, *_subsets(assignment, scoring.by)]
    titles = metric_spec.titles(assignment.task.metrics)
    for name in assignment.task.metrics:
        metric = metric_spec.load(name)
        for subset in subsets:
            for shots in assignment.shots:
                chosen = [
                    sample
                    for sample in samples[assignment.task.name, shots]
                    if subset == ALL or _label(sample.example.fields, scoring.by) == subset
                ]
                scored = [sample for sample in chosen if sample.prompt is not None]
                skipped = {sample.example.id for sample in chosen if sample.prompt is None}
                yield Result(
                    task=assignment.task.name,
                    title=assignment.task.title,
                    shots=shots,
                    shots_used=_mean([sample.prompt.shots_used for sample in scored if sample.prompt is not None]),
                    model=scoring.model,
                    metric=titles[name],
                    is_proportion=metric.is_proportion,
                    subset=subset,
                    estimate=estimate(scored, name) if scored else None,
                    skipped=len(skipped),
                    signature=scoring.sign([assignment], [shots]),
                    spec=name,
                    spread=_spread(scored, name),
                    baseline=_baseline(scored) if metric.is_proportion else None,
                )


def estimate(samples: Sequence[Sample], name: str) -> Estimate:
    """Score samples by the metric that task files call `name`; the samples of one example count as one.

    The interval is that of clustered examples where they have clusters, or where an example was asked several times.
    """
    metric = metric_spec.load(name)
    ids = {sample.example.id for sample in samples}
    clusters = clusters_of([sample.example for sample in samples], is_repeated=len(ids) < len(samples))
    found = metric.aggregate([sample.statistics[name] for sample in samples], clusters=clusters)
    return replace(found, n=len(ids))


def clusters_of(examples: Sequence[Example], *, is_repeated: bool = False) -> tuple[str, ...] | None:
    """Name what each example is resampled with; None where each is its own."""
    if not is_repeated and all(example.cluster is None for example in examples):
        return None
    return tuple(f"example {each.id}" if each.cluster is None else f"cluster {each.cluster}" for each in examples)


def _spread(samples: Sequence[Sample], name: str) -> float | None:
    """Give the standard deviation of the scores of several seeds; None for one."""
    by_seed: dict[int, list[tuple[float, ...]]] = {}
    for sample in samples:
        by_seed.setdefault(sample.seed, []).append(sample.statistics[name])
    if len(by_seed) < 2:
        return None
    rule = stats.score_rule(metric_spec.load(name), [sample.statistics[name] for sample in samples])
    return stdev(stats.score(each, rule) for each in by_seed.values())


def _baseline(samples: Sequence[Sample]) -> float | None:
    """Give the score of always giving the commonest answer, where all examples have the same choices."""
    examples = [sample.example for sample in samples]
    if not examples or len(examples[0].choices) < 2 or len({example.choices for example in examples}) > 1:
        return None
    right = Counter(target for example in examples for target in dict.fromkeys(example.targets))
    return max(right.values()) / len(examples)


def _means(group: str, tasks: Sequence[Assignment], own: Sequence[Result], scoring: Scoring) -> Iterable[Result]:
    """Average a group: a metric, subset or number of shots that not all of its tasks have has no mean."""
    cells: dict[tuple[str, str, int], list[Result]] = {}
    for result in own:
        cells.setdefault((result.metric, result.subset, result.shots), []).append(result)
    for (_, _, shots), results_here in cells.items():
        if len(results_here) < len(tasks):
            continue
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
            spec=None,
            spread=None,
            baseline=None,
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

"""One task's stored samples and a split into a Comparison."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from evalkit import metric_spec, score, stats
from evalkit.errors import DataError
from evalkit.records import Comparison, Estimate, Sample, Split
from evalkit.report import table as tables

Aggregation: TypeAlias = stats.Aggregation

ENOUGH_CLEAN = 200  # examples
WIDEST = 0.05  # half of the clean score's interval, for proportions
ENOUGH_TO_TEST = 10  # examples on either side, below which no difference is called significant
CONTEXT_SHARE = 0.95  # of the dirty examples

TOO_SMALL = "clean subset too small"
WORSE = "significantly worse on clean"
BETTER = "significantly better on clean"
ONLY_CONTEXTS = "only contexts match"


def compare(
    samples: Sequence[Sample],
    split: Split,
    *,
    title: str,
    n: int,
    metric_name: str,
    metric: Aggregation | None = None,
    parts: Mapping[str, Sequence[str]] | None = None,
) -> Comparison:
    """Score one task at one number of shots under one metric on all, clean, dirty and unscanned examples.

    `n` is the length of the n-grams that made examples dirty, in words; `metric` is the one called `metric_name` where
    it is not given; `parts` are the parts of each dirty example (by id) that matches touch. Samples without a prompt
    are not scored. The order of the samples has no influence on the difference and its interval.
    Raises DataError where samples and split do not belong together.
    """
    check(samples, split, metric_name=metric_name)
    aggregation: Aggregation = metric or metric_spec.load(metric_name)
    scored = [sample for sample in samples if sample.prompt is not None]

    def subset(ids: Iterable[str]) -> Subset:
        chosen = frozenset(ids)
        return Subset.of([each for each in scored if each.example.id in chosen], metric_name, aggregation)

    whole, clean, dirty = Subset.of(scored, metric_name, aggregation), subset(split.clean), subset(split.dirty)
    comparison = Comparison(
        task=split.task,
        title=title,
        shots=samples[0].shots,
        metric=metric_spec.titles([metric_name])[metric_name] if metric is None else metric.name,
        is_proportion=aggregation.is_proportion,
        n=n,
        all=whole.estimate,
        clean=clean.estimate,
        dirty=dirty.estimate,
        unscanned=subset(split.unscanned).estimate,
        difference=difference(clean, whole),
        detectable=detectable(clean, dirty),
        flags=(),
    )
    touched = () if parts is None else tuple(parts.get(name, ()) for name in dirty.ids)
    return replace(comparison, flags=tuple(flags(comparison, touched)))


def check(samples: Sequence[Sample], split: Split, *, metric_name: str) -> None:
    """Raise DataError where samples and split are not of the same task and data."""
    if not samples:
        raise DataError(f"{split.task}: found no samples, expected at least one; run the task first")
    settings = sorted({(sample.task, sample.shots) for sample in samples})
    if len(settings) > 1 or settings[0][0] != split.task:
        found = ", ".join(f"{task} at {tables.count(shots, 'shot')}" for task, shots in settings)
        raise DataError(f"found samples of {found}, expected {split.task} at one number of shots; compare them singly")
    known = {*split.clean, *split.dirty, *split.unscanned}
    seen: set[tuple[str, int]] = set()
    for sample in samples:
        name = sample.example.id
        if name not in known:
            raise DataError(
                f"{split.task}: found sample {name!r}, which the scan does not have, expected one of its "
                f"{len(known):,} examples; run and scan the same data"
            )
        if (name, sample.seed) in seen:
            raise DataError(
                f"{split.task}: found two samples of example {name!r} with seed {sample.seed}, expected one; compare "
                "one run"
            )
        seen.add((name, sample.seed))
        if sample.prompt is not None and metric_name not in sample.statistics:
            raise DataError(
                f"{split.task}: found no metric {metric_name!r} in sample {name!r}, expected one of "
                f"{', '.join(sample.statistics) or 'none'}"
            )


@dataclass(frozen=True, slots=True)
class Subset:
    """Scored samples and their score."""

    keys: tuple[tuple[str, int], ...]  # example and seed
    clusters: tuple[str, ...] | None  # what each sample is resampled with; None where each is its own
    statistics: tuple[tuple[float, ...], ...]  # what the metric aggregates, (E, S)
    metric: Aggregation
    estimate: Estimate | None  # None where there are no samples

    @classmethod
    def of(cls, samples: Sequence[Sample], metric_name: str, metric: Aggregation) -> Subset:
        """Score samples."""
        statistics = tuple(sample.statistics[metric_name] for sample in samples)
        ids = {sample.example.id for sample in samples}
        clusters = score.clusters_of([sample.example for sample in samples], is_repeated=len(ids) < len(samples))
        return cls(
            keys=tuple((sample.example.id, sample.seed) for sample in samples),
            clusters=clusters,
            statistics=statistics,
            metric=metric,
            estimate=replace(metric.aggregate(statistics, clusters=clusters), n=len(ids)) if statistics else None,
        )

    @property
    def ids(self) -> tuple[str, ...]:
        """The samples' examples."""
        return tuple(name for name, _ in self.keys)

    def values(self) -> list[float] | None:
        """List the numbers whose mean is the score; None where it is no mean of one number an example."""
        if self.estimate is None or any(len(numbers) != 1 for numbers in self.statistics):
            return None
        values = [value for (value,) in self.statistics]
        is_mean = math.isclose(self.estimate.value, math.fsum(values) / len(values), rel_tol=1e-9, abs_tol=1e-12)
        return values if is_mean else None


def difference(clean: Subset, whole: Subset, *, resamples: int = stats.RESAMPLES) -> Estimate | None:
    """Estimate clean minus all on examples resampled jointly; None where no clean example was scored."""
    if clean.estimate is None or whole.estimate is None:
        return None
    # Resampling goes through the samples in one order, so that their own has no influence.
    order = sorted(range(len(whole.keys)), key=whole.keys.__getitem__)
    clean_keys = frozenset(clean.keys)
    is_clean = [whole.keys[at] in clean_keys for at in order]
    clusters = None if whole.clusters is None else [whole.clusters[at] for at in order]
    values, metric = whole.values(), whole.metric
    if values is None or clean.values() is None:
        statistics = [whole.statistics[at] for at in order]
        rule = stats.score_rule(metric, statistics)
        found = stats.part_minus_whole_of(statistics, rule, is_clean, clusters=clusters, resamples=resamples)
    else:
        ordered, is_proportion = [values[at] for at in order], metric.is_proportion
        found = stats.part_minus_whole(
            ordered, is_clean, is_proportion=is_proportion, clusters=clusters, resamples=resamples
        )
    return replace(found, n=whole.estimate.n)


def detectable(clean: Subset, dirty: Subset) -> float | None:
    """Give the smallest difference of clean and dirty found with 80 % power; None where the examples show no spread."""
    if clean.estimate is None or dirty.estimate is None:
        return None
    one, other = clean.values(), dirty.values()
    if one is None or other is None:
        variances = [((each.high - each.low) / (2 * stats.Z)) ** 2 for each in (clean.estimate, dirty.estimate)]
    elif clean.clusters is dirty.clusters is None and {*one, *other} <= {0.0, 1.0}:
        pooled = math.fsum([*one, *other]) / (len(one) + len(other))
        variances = [pooled * (1 - pooled) / len(values) for values in (one, other)]
    else:
        pairs = ((one, clean.clusters), (other, dirty.clusters))
        found = [stats.variance_of_mean(values, clusters=clusters) for values, clusters in pairs]
        variances = [variance for variance in found if variance is not None]
    variance = math.fsum(variances)
    return stats.detectable_difference(variance) if len(variances) == 2 and variance > 0 else None


def flags(comparison: Comparison, touched: Sequence[Sequence[str]]) -> Iterator[str]:
    """Say what a reader has to know; `touched` are the parts that the matches of each dirty example touch, if known."""
    whole, clean = comparison.all, comparison.clean
    if clean is None or clean.n < ENOUGH_CLEAN or (comparison.is_proportion and clean.high - clean.low > 2 * WIDEST):
        yield TOO_SMALL
    if whole and clean and comparison.difference and min(clean.n, whole.n - clean.n) >= ENOUGH_TO_TEST:
        if comparison.difference.high < 0:
            yield WORSE
        if comparison.difference.low > 0:
            yield BETTER
    in_context = sum(set(parts) == {"context"} for parts in touched)
    if touched and in_context >= CONTEXT_SHARE * len(touched):
        yield ONLY_CONTEXTS

"""One task's stored samples and a split into a Comparison, and comparisons into a table as the paper's C.1."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias, runtime_checkable

from evalkit import score, stats
from evalkit.contamination.published import PublishedRow
from evalkit.errors import DataError
from evalkit.records import Cell, Comparison, Estimate, Example, Sample, Split, Table
from evalkit.report import table as tables

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

ENOUGH_CLEAN = 200  # examples
WIDEST = 0.05  # half of the clean score's interval, for proportions
ENOUGH_TO_TEST = 10  # examples on either side, below which no difference is called significant
CONTEXT_SHARE = 0.95  # of the dirty examples

TOO_SMALL = "clean subset too small"
WORSE = "significantly worse on clean"
BETTER = "significantly better on clean"
ONLY_CONTEXTS = "only contexts match"

Relative: TypeAlias = Literal["plain", "gpt3_table"]


class Aggregation(Protocol):
    """What a comparison asks of a metric."""

    @property
    def name(self) -> str:
        """What tables call it."""

    @property
    def is_proportion(self) -> bool:
        """Whether its values lie in 0..1."""

    def aggregate(self, statistics: Sequence[tuple[float, ...]]) -> Estimate:
        """Score a set of examples from their statistics, shape (E, S), E at least 1."""


@runtime_checkable
class ScoresTotals(Protocol):
    """A metric whose score follows from summed statistics, such as corpus BLEU: this makes resampling fast."""

    def score_totals(self, totals: tuple[float, ...], n: int) -> float:
        """Score a set of n examples from the sums of their statistics, shape (S,)."""


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
    aggregation = metric or score.load_metric(metric_name)
    scored = [sample for sample in samples if sample.prompt is not None]

    def subset(ids: Iterable[str]) -> Subset:
        chosen = frozenset(ids)
        return Subset.of([each for each in scored if each.example.id in chosen], metric_name, aggregation)

    whole, clean, dirty = Subset.of(scored, metric_name, aggregation), subset(split.clean), subset(split.dirty)
    comparison = Comparison(
        task=split.task,
        title=title,
        shots=samples[0].shots,
        metric=aggregation.name,
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
    seen: set[str] = set()
    for sample in samples:
        name = sample.example.id
        if name not in known:
            raise DataError(
                f"{split.task}: found sample {name!r}, which the scan does not have, expected one of its "
                f"{len(known):,} examples; run and scan the same data"
            )
        if name in seen:
            raise DataError(f"{split.task}: found two samples of example {name!r}, expected one; compare one run")
        seen.add(name)
        if sample.prompt is not None and metric_name not in sample.statistics:
            raise DataError(
                f"{split.task}: found no metric {metric_name!r} in sample {name!r}, expected one of "
                f"{', '.join(sample.statistics) or 'none'}"
            )


@dataclass(frozen=True, slots=True)
class Subset:
    """Scored samples and their score."""

    ids: tuple[str, ...]
    clusters: tuple[str, ...] | None  # an example without one is its own; None where none has one
    statistics: tuple[tuple[float, ...], ...]  # what the metric aggregates, (E, S)
    metric: Aggregation
    estimate: Estimate | None  # None where there are no samples

    @classmethod
    def of(cls, samples: Sequence[Sample], metric_name: str, metric: Aggregation) -> Subset:
        """Score samples."""
        statistics = tuple(sample.statistics[metric_name] for sample in samples)
        return cls(
            ids=tuple(sample.example.id for sample in samples),
            clusters=clusters_of([sample.example for sample in samples]),
            statistics=statistics,
            metric=metric,
            estimate=metric.aggregate(statistics) if statistics else None,
        )

    def values(self) -> list[float] | None:
        """List the numbers whose mean is the score; None where it is no mean of one number an example."""
        if self.estimate is None or any(len(numbers) != 1 for numbers in self.statistics):
            return None
        values = [value for (value,) in self.statistics]
        is_mean = math.isclose(self.estimate.value, math.fsum(values) / len(values), rel_tol=1e-9, abs_tol=1e-12)
        return values if is_mean else None


def clusters_of(examples: Sequence[Example]) -> tuple[str, ...] | None:
    """Name what each example is resampled with."""
    if all(example.cluster is None for example in examples):
        return None
    return tuple(f"example {each.id}" if each.cluster is None else f"cluster {each.cluster}" for each in examples)


def difference(clean: Subset, whole: Subset, *, resamples: int | None = None) -> Estimate | None:
    """Estimate clean minus all on examples resampled jointly; None where no clean example was scored.

    `resamples` None takes as many as the table's notes say.
    """
    if clean.estimate is None:
        return None
    # Resampling goes through the examples in the order of their ids, so that the samples' own has no influence.
    order = sorted(range(len(whole.ids)), key=whole.ids.__getitem__)
    clean_ids = frozenset(clean.ids)
    is_clean = [whole.ids[at] in clean_ids for at in order]
    clusters = None if whole.clusters is None else [whole.clusters[at] for at in order]
    values = whole.values()
    if values is None or clean.values() is None:
        rescore = rescorer([whole.statistics[at] for at in order], whole.metric)
        calls = resamples or stats.RESAMPLES_OF_A_CALL
        return stats.part_minus_whole_of(rescore, is_clean, clusters=clusters, resamples=calls)
    ordered, is_proportion = [values[at] for at in order], whole.metric.is_proportion
    draws = resamples or stats.RESAMPLES
    return stats.part_minus_whole(ordered, is_clean, is_proportion=is_proportion, clusters=clusters, resamples=draws)


def rescorer(statistics: Sequence[tuple[float, ...]], metric: Aggregation) -> Callable[[NDArray[np.int64]], float]:
    """Make the function that scores a resample, given how often each example was drawn."""
    import numpy as np

    if isinstance(metric, ScoresTotals):
        numbers, score_totals = np.asarray(statistics, dtype=float), metric.score_totals  # (E, S)
        return lambda drawn: score_totals(tuple((drawn @ numbers).tolist()), int(drawn.sum()))

    def rescore(drawn: NDArray[np.int64]) -> float:
        repeated = [numbers for numbers, times in zip(statistics, drawn, strict=True) for _ in range(times)]
        return metric.aggregate(repeated).value

    return rescore


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


def relative_difference(clean: float, original: float) -> float | None:
    """Divide clean minus original by the original score, the definition of the text (Brown 2020, Appendix C)."""
    return None if original == 0 else (clean - original) / original


def gpt3_table(clean: float, original: float) -> float | None:
    """Divide clean minus original by the mean of the two, the formula that reproduces Table C.1 (Brown 2020).

    It fits all 42 rows within the rounding of the printed scores; `relative_difference` gives QuAC 22 (printed: 20) and
    DROP -19 (printed: -21), which no rounding explains. The paper does not state the formula.
    """
    return None if clean + original == 0 else 2 * (clean - original) / (clean + original)


RELATIVE: Mapping[Relative, Callable[[float, float], float | None]] = {
    "plain": relative_difference,
    "gpt3_table": gpt3_table,
}
FORMULAS: Mapping[Relative, str] = {
    "plain": "Relative difference: 100 (clean - all) / all.",
    "gpt3_table": "Relative difference: 200 (clean - all) / (clean + all), as in Table C.1 of Brown et al. 2020.",
}
MEANINGS = {
    TOO_SMALL: f"fewer than {ENOUGH_CLEAN} clean examples, or a proportion's interval wider than "
    f"± {100 * WIDEST:.0f} points",
    WORSE: f"the interval of clean - all lies below 0, with at least {ENOUGH_TO_TEST} examples clean and as many not; "
    "dirty examples may have been memorised, or clean ones may be harder",
    BETTER: f"the interval of clean - all lies above 0, with at least {ENOUGH_TO_TEST} examples clean and as many not; "
    "dirty examples may be harder",
    ONLY_CONTEXTS: f"in at least {100 * CONTEXT_SHARE:.0f} % of the dirty examples, matches touch the context alone, "
    "not question or answer",
}


@dataclass(frozen=True, slots=True)
class Line:
    """What our comparisons and published rows have in common: a row in the layout of Table C.1."""

    name: str
    partition: str | None  # of the dataset: dev or test; None where it is not known
    metric: str
    n: int
    scores: tuple[Cell, Cell, Cell]  # all, dirty, clean, as they print
    counts: tuple[int, int, int]
    relative: float | None  # percent
    shots: int | None = None  # None where it is not known
    further: tuple[Cell, ...] = ()


FURTHER = ("n, unscanned", "clean - all", "detectable", "flags")


def table(
    comparisons: Sequence[Comparison],
    *,
    relative: Relative = "plain",
    partitions: Mapping[str, str] | None = None,  # task -> dev or test
    further: Sequence[str] = (),  # notes that stand before the signatures
    signatures: Sequence[str] = (),
) -> Table:
    """Arrange comparisons as Table C.1 does, the dirtiest first, with paired differences and flags beside."""
    lines = [_line(each, relative=relative, partition=(partitions or {}).get(each.task)) for each in comparisons]
    notes = (*_notes(comparisons, relative), *further, *signatures)
    return _arrange(lines, FURTHER, caption="Scores on all, dirty and clean examples, with 95 % intervals", notes=notes)


def published_table(rows: Sequence[PublishedRow], *, relative: Relative = "gpt3_table") -> Table:
    """Arrange rows of the published table the same way; relative differences are computed from the printed scores."""
    lines = [
        Line(
            name=row.name,
            partition=row.partition,
            metric=row.metric,
            n=row.n,
            scores=(row.all, row.dirty, row.clean),
            counts=(row.total, row.dirty_count, row.clean_count),
            relative=_percent(RELATIVE[relative](row.clean, row.all)),
        )
        for row in rows
    ]
    caption = "GPT-3 175B on all, dirty and clean examples (Brown et al. 2020, Table C.1)"
    return _arrange(lines, (), caption=caption, notes=(FORMULAS[relative],))


def _arrange(lines: Sequence[Line], further: tuple[str, ...], *, caption: str, notes: Sequence[str]) -> Table:
    has_partitions = any(line.partition is not None for line in lines)
    has_shots = any(line.shots is not None for line in lines)
    shown = sorted(lines, key=lambda line: line.counts[2] / max(1, line.counts[0]))
    body: list[tuple[Cell, ...]] = []
    for line in shown:
        total, _, clean = line.counts
        body.append(
            (
                tables.clean(line.name),
                *[line.partition] * has_partitions,
                line.metric,
                line.n,
                *[line.shots] * has_shots,
                *(cell for pair in zip(line.scores, line.counts, strict=True) for cell in pair),
                100 * clean / total if total else None,
                line.relative,
                *line.further,
            )
        )
    scores = ("all", "n, all", "dirty", "n, dirty", "clean", "n, clean")
    columns = (
        "task",
        *["split"] * has_partitions,
        "metric",
        "N",
        *["shots"] * has_shots,
        *scores,
        "clean, %",
        "relative difference, %",
    )
    return Table((*columns, *further), tuple(body), caption, notes=tuple(tables.clean(note) for note in notes))


def _line(comparison: Comparison, *, relative: Relative, partition: str | None) -> Line:
    scores = (comparison.all, comparison.dirty, comparison.clean)
    scale = 100 if comparison.is_proportion else 1
    relate, whole, clean = RELATIVE[relative], comparison.all, comparison.clean
    return Line(
        name=comparison.title,
        partition=partition,
        metric=f"{comparison.metric}, %" if comparison.is_proportion else comparison.metric,
        n=comparison.n,
        scores=(_shown(scores[0], scale), _shown(scores[1], scale), _shown(scores[2], scale)),
        counts=(_count(scores[0]), _count(scores[1]), _count(scores[2])),
        relative=_percent(relate(clean.value, whole.value)) if clean and whole else None,
        shots=comparison.shots,
        further=(
            _count(comparison.unscanned),
            _shown(comparison.difference, scale),
            None if comparison.detectable is None else scale * comparison.detectable,
            "; ".join(comparison.flags) or None,
        ),
    )


def _notes(comparisons: Sequence[Comparison], relative: Relative) -> Iterator[str]:
    yield FORMULAS[relative]
    yield "N: words of the n-grams. All scored examples count in all, those that could not be scanned too."
    yield (
        "clean - all: interval from examples, or whole clusters, resampled jointly: the Bayesian bootstrap (Rubin "
        f"1981), {stats.RESAMPLES:,} resamples, with Jeffreys' prior for proportions; for scores that are no means the "
        f"percentile bootstrap, {stats.RESAMPLES_OF_A_CALL:,} resamples."
    )
    yield "detectable: the smallest difference of clean and dirty that a two-sided test at 5 % finds with 80 % power."
    used = dict.fromkeys(flag for comparison in comparisons for flag in comparison.flags)
    yield from (f"{flag}: {MEANINGS[flag]}." for flag in MEANINGS if flag in used)
    if len(comparisons) > 1 and {WORSE, BETTER} & used.keys():
        yield "Each row is tested by itself: of 20 rows without any difference, one on average is called significant."


def _shown(estimate: Estimate | None, scale: int) -> Estimate | None:
    return tables.percent(estimate) if estimate is not None and scale == 100 else estimate


def _count(estimate: Estimate | None) -> int:
    return 0 if estimate is None else estimate.n


def _percent(fraction: float | None) -> float | None:
    return None if fraction is None else 100 * fraction

"""Comparisons into tables: in the layout of the GPT-3 paper's Table C.1, and how clean examples differ from all."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from evalkit import stats
from evalkit.contamination.comparison import (
    BETTER,
    CONTEXT_SHARE,
    ENOUGH_CLEAN,
    ENOUGH_TO_TEST,
    ONLY_CONTEXTS,
    TOO_SMALL,
    WIDEST,
    WORSE,
)
from evalkit.contamination.published import PublishedRow
from evalkit.records import Cell, Comparison, Estimate, Table
from evalkit.report import table as tables

Relative: TypeAlias = Literal["plain", "gpt3_table"]


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


MARKS = dict(zip(MEANINGS, "†‡*§", strict=True))


def table(
    comparisons: Sequence[Comparison],
    *,
    relative: Relative = "plain",
    partitions: Mapping[str, str] | None = None,  # task -> dev or test
    further: Sequence[str] = (),  # notes that stand before the signatures
    signatures: Sequence[str] = (),
) -> Table:
    """Arrange comparisons as Table C.1 does, the dirtiest first, with flags beside."""
    lines = [_line(each, relative=relative, partition=(partitions or {}).get(each.task)) for each in comparisons]
    used = dict.fromkeys(flag for comparison in comparisons for flag in comparison.flags)
    notes = (
        FORMULAS[relative],
        "N: words of the n-grams. All scored examples count in all, those that could not be scanned too.",
        *(f"{MARKS[flag]} {flag}: {MEANINGS[flag]}." for flag in MEANINGS if flag in used),
    )
    caption = "Scores on all, dirty and clean examples, with 95 % intervals"
    return _arrange(lines, ("flags",), caption=caption, notes=(*notes, *further, *signatures))


def difference_table(comparisons: Sequence[Comparison]) -> Table:
    """List how clean examples differ from all, in the order of `table`."""
    body: list[tuple[Cell, ...]] = []
    for each in sorted(comparisons, key=_clean_share):
        scale = 100 if each.is_proportion else 1
        body.append(
            (
                tables.clean(each.title),
                _metric(each),
                each.shots,
                _shown(each.difference, scale),
                None if each.detectable is None else scale * each.detectable,
                _count(each.unscanned),
                "; ".join(each.flags) or None,
            )
        )
    columns = ("task", "metric", "shots", "clean - all", "detectable", "n, unscanned", "flags")
    return Table(columns, tuple(body), "Differences of clean and all examples", tuple(_difference_notes(comparisons)))


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
        metric=_metric(comparison),
        n=comparison.n,
        scores=(_shown(scores[0], scale), _shown(scores[1], scale), _shown(scores[2], scale)),
        counts=(_count(scores[0]), _count(scores[1]), _count(scores[2])),
        relative=_percent(relate(clean.value, whole.value)) if clean and whole else None,
        shots=comparison.shots,
        further=("".join(MARKS[flag] for flag in comparison.flags) or None,),
    )


def _metric(comparison: Comparison) -> str:
    return f"{comparison.metric}, %" if comparison.is_proportion else comparison.metric


def _clean_share(comparison: Comparison) -> float:
    return _count(comparison.clean) / max(1, _count(comparison.all))


def _difference_notes(comparisons: Sequence[Comparison]) -> Iterator[str]:
    yield (
        "clean - all: interval from examples, or whole clusters, resampled jointly: the Bayesian bootstrap (Rubin "
        f"1981), {stats.RESAMPLES:,} resamples, with Jeffreys' prior for proportions; for scores that are no means the "
        "BCa bootstrap on as many (Efron and Tibshirani 1993, section 14.3)."
    )
    yield "detectable: the smallest difference of clean and dirty that a two-sided test at 5 % finds with 80 % power."
    flags = {flag for comparison in comparisons for flag in comparison.flags}
    if len(comparisons) > 1 and {WORSE, BETTER} & flags:
        yield "Each row is tested by itself: of 20 rows without any difference, one on average is called significant."


def _shown(estimate: Estimate | None, scale: int) -> Estimate | None:
    return tables.percent(estimate) if estimate is not None and scale == 100 else estimate


def _count(estimate: Estimate | None) -> int:
    return 0 if estimate is None else estimate.n


def _percent(fraction: float | None) -> float | None:
    return None if fraction is None else 100 * fraction

"""What scans say of the scores of runs: the signs beside scores, and the tables of `compare`, by its own code."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from evalkit.contamination import compare as comparing
from evalkit.contamination.compared import Row
from evalkit.contamination.comparison_table import MARKS, MEANINGS
from evalkit.errors import DataError, UsageError
from evalkit.records import Result, Split, Table
from evalkit.report import layout, table
from evalkit.report.runs import Run


@dataclass(frozen=True, slots=True)
class Judged:
    """What a report shows of scans."""

    signs: Mapping[Result, tuple[str, ...]]
    tables: tuple[Table, ...]
    notes: tuple[str, ...]  # that explain the signs
    sources: tuple[str, ...]  # measure, threshold, N and corpus of each scan
    splits: Mapping[str, Split]  # of each task that was scanned
    rows: tuple[tuple[Run, Sequence[Row]], ...]  # of each run and scan, what was compared


def judge(
    runs: Sequence[Run], results: Sequence[Result], scans: Sequence[Path], *, measure: str, threshold: float | None
) -> Judged:
    """Compare the scores of runs on all, clean and dirty examples of the scans that have their tasks.

    `results` are those of the runs that are shown; tables have the rows of their metrics alone.
    Raises DataError where a scan has no task of any run, UsageError where two have the same task.
    """
    metrics = {result.metric for result in results}
    signs: dict[Result, tuple[str, ...]] = {}
    shown: list[Table] = []
    sources: list[str] = []
    splits: dict[str, Split] = {}
    rows: list[tuple[Run, Sequence[Row]]] = []
    for scan in scans:
        scanned = comparing.load(scan, measure=measure, threshold=threshold)
        if both := [task for task in scanned.splits if task in splits]:
            raise UsageError(
                f"--scan: {both[0]} is in two scans, expected one for each task; report one corpus at a time"
            )
        splits |= scanned.splits
        matching = [run for run in runs if _tasks(run) & scanned.splits.keys()]
        if not matching:
            tasks = ", ".join(sorted({task for run in runs for task in _tasks(run)}))
            raise DataError(
                f"{scan}: has the tasks {', '.join(scanned.splits)}, and the runs {tasks}; run and scan the same task"
            )
        source = _source(scanned)
        sources.append(source)
        for run in matching:
            outcome = comparing.find([run.directory], scan, measure=measure, threshold=threshold)
            signs |= dict(_signs(run, results, outcome))
            rows.append((run, [row for row in outcome.rows if row.comparison.metric in metrics]))
            shown += _captioned(outcome, run, source, is_named=len(runs) > 1)
    chosen = [part for each in shown if (part := _of_metrics(each, metrics)).rows]
    notes = tuple(_notes(results, splits, signs)) if scans else ()
    return Judged(signs, tuple(chosen), notes, tuple(sources), splits, tuple(rows))


def _of_metrics(shown: Table, metrics: Collection[str]) -> Table:
    """Leave the rows of other metrics out."""
    if "metric" not in shown.columns:
        return shown
    at = shown.columns.index("metric")
    names = {table.clean(name) for name in metrics}
    return replace(shown, rows=tuple(row for row in shown.rows if str(row[at]).removesuffix(", %") in names))


def _signs(run: Run, results: Sequence[Result], outcome: comparing.Outcome) -> Iterator[tuple[Result, tuple[str, ...]]]:
    flags = {(each.task, each.shots, each.metric): each.flags for each in outcome.comparisons}
    for result in results:
        if result.model == run.name and result.spec is not None and result.subset == layout.ALL:
            found = flags.get((result.task, result.shots, result.metric), ())
            if found:
                yield result, tuple(MARKS[flag] for flag in MEANINGS if flag in found)


def _captioned(outcome: comparing.Outcome, run: Run, source: str, *, is_named: bool) -> Iterator[Table]:
    """Put what the numbers rest on into captions, and the model where there are several."""
    signatures = [table.clean(line) for line in run.described["signatures"]]
    for each in (outcome.table, *outcome.more):
        yield replace(
            each,
            caption=table.clean(f"{each.caption}: {run.name}") if is_named else each.caption,
            notes=tuple(note for note in each.notes if note not in signatures),
            sources=(source, *(line for line in signatures if line in each.notes)),
        )


def _source(scanned: comparing.Scanned) -> str:
    """Say under what examples are dirty: measure, threshold, N, corpus."""
    sizes = sorted({scanned.stored.ngram[task] for task in scanned.splits})
    n = str(sizes[0]) if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]}"
    rules = dict.fromkeys(f"{each.measure}, threshold {each.threshold:g}" for each in scanned.splits.values())
    fields = dict(part.partition(":")[::2] for part in scanned.stored.signature.split("|"))
    return table.clean(f"Contamination: {'; '.join(rules)}, N = {n}, corpus {fields.get('corpus', 'unknown')}")


def _notes(
    results: Sequence[Result], splits: Mapping[str, Split], signs: Mapping[Result, tuple[str, ...]]
) -> Iterator[str]:
    used = {sign for each in signs.values() for sign in each}
    for flag, meaning in MEANINGS.items():
        if MARKS[flag] in used:
            yield f"{MARKS[flag]} {flag}: {meaning}."
    single = [result for result in results if result.spec is not None and result.task not in splits]
    if lacking := dict.fromkeys(result.title for result in single):
        yield f"Not scanned: {', '.join(lacking)}."


def _tasks(run: Run) -> frozenset[str]:
    return frozenset(result.task for result in run.results if result.spec is not None)

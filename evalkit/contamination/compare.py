"""Main path 3: runs and a scan into a table of scores on all, clean and dirty examples; no model runs again."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from evalkit import atomic, metric_spec, report_figures, stored, task
from evalkit.contamination import comparison, comparison_table, demonstrations, gain, items, passages, split
from evalkit.contamination.compared import Row
from evalkit.contamination.comparison import Aggregation
from evalkit.contamination.lm_eval_samples import logged_mean, read_lm_eval
from evalkit.errors import DataError, TaskError, UsageError
from evalkit.records import Comparison, Sample, Split, Table
from evalkit.report import earlier
from evalkit.report import files as report
from evalkit.report.content import Page
from evalkit.report.figures import dose as doses
from evalkit.stored import Described

# Of lm_eval, as far as they are means, and of what evalkit exports in its form.
LOGGED_METRICS = ("acc", "acc_norm", "exact_match", "em", "f1", "accuracy", "partial_accuracy")
LM_EVAL = "samples_*.jsonl"  # what lm_eval's --log_samples writes
FILE = "comparison.json"
BESIDE = "compare"  # where a comparison is written without --out, in the scan's directory
COVERAGE = ("token-coverage", "llama2")  # measures that Llama 2's four subsets are told by


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a comparison finds."""

    comparisons: tuple[Comparison, ...]
    rows: tuple[Row, ...]
    table: Table
    more: tuple[Table, ...]  # that stand under it, the differences first
    signatures: tuple[str, ...]  # of runs and splits


@dataclass(frozen=True, slots=True)
class Scanned:
    """A scan, with its examples sorted under one measure."""

    stored: split.Stored
    splits: Mapping[str, Split]  # of tasks
    pools: Mapping[str, Split]  # of what tasks draw demonstrations from, by the task's name
    values: Mapping[str, Mapping[str, float]]  # of the measure, by task and example


def compare(
    runs: Sequence[Path],
    scan: Path,
    *,
    measure: str = split.DEFAULT,
    threshold: float | None = None,
    relative: comparison_table.Relative = "plain",
    out: Path | None = None,
) -> Outcome:
    """Compare as `find` does, and write tables, figures and a page to `out`, or into the scan's own directory."""
    found = find(runs, scan, measure=measure, threshold=threshold, relative=relative)
    directory = out or scan / BESIDE
    page = Page(
        title="Scores with and without contaminated examples",
        summary=(found.table,),
        contamination=found.more,
        figures=report_figures.of_comparison(found.rows, relative=relative),
        passages=passages.load(scan),
    )
    with earlier.replacing(directory) as written:
        written.extend(report.write(directory, page))
    atomic.write(directory / FILE, [json.dumps(_fields(found.rows, found.signatures), ensure_ascii=False), "\n"])
    return found


def find(
    runs: Sequence[Path],
    scan: Path,
    *,
    measure: str = split.DEFAULT,
    threshold: float | None = None,
    relative: comparison_table.Relative = "plain",
) -> Outcome:
    """Compare the scores of runs on all, clean and dirty examples of a scan.

    A run is a directory of `evalkit run`, or files that lm_eval logged of one task, which the scan then has alone.
    Raises EvalkitError where runs and scan do not belong together.
    """
    if relative not in comparison_table.RELATIVE:
        raise UsageError(f"--relative: found {relative!r}, expected {' or '.join(comparison_table.RELATIVE)}")
    scanned = load(scan, measure=measure, threshold=threshold)
    rows: list[Row] = []
    signatures: list[str] = []
    for path in runs:
        if not path.exists():
            raise DataError(f"{path}: no such file or directory; give a run's directory or logged samples")
        logged = sorted(path.glob(LM_EVAL)) if path.is_dir() else [path]
        if path.is_dir() and (path / stored.FILE).exists():
            described = stored.described(path)
            found = list(_of_run(path, described, scanned))
            signatures += described["signatures"]
        else:
            found = list(_of_logged(logged, path, scanned))
        rows += found
    signatures += dict.fromkeys(each.signature for each in (*scanned.splits.values(), *scanned.pools.values()))
    comparisons = tuple(row.comparison for row in rows)
    shown = comparison_table.table(comparisons, relative=relative, further=tuple(_notes(rows)), signatures=signatures)
    more = (comparison_table.difference_table(comparisons), *_more(rows, scanned))
    return Outcome(comparisons, tuple(rows), shown, more, tuple(signatures))


def load(scan: Path, *, measure: str, threshold: float | None) -> Scanned:
    """Read a scan and sort its examples; pools of demonstrations stand apart from the tasks that draw from them."""
    found = split.load(scan)
    splits = {each.task: each for each in split.splits(found, measure=measure, threshold=threshold)}
    tasks = {name: each for name, each in splits.items() if not items.has_pools([name])}
    pools = {name: splits[items.pool_of(name)] for name in tasks if items.pool_of(name) in splits}
    values = split.values(found, measure=measure)
    return Scanned(found, tasks, pools, values)


def _of_run(path: Path, described: Described, scanned: Scanned) -> Iterator[Row]:
    titles = {result["task"]: result["title"] for result in described["results"]}
    groups: dict[tuple[str, int], list[Sample]] = {}
    for sample in stored.samples(path):
        groups.setdefault((sample.task, sample.shots), []).append(sample)
    shared = [name for name in dict.fromkeys(name for name, _ in groups) if name in scanned.splits]
    if not shared:
        raise DataError(
            f"{path}: has the tasks {', '.join(dict.fromkeys(name for name, _ in groups))}, and the scan "
            f"{', '.join(scanned.splits)}; run and scan the same task"
        )
    own_pools = _own_pools(described)
    for (name, _), samples in groups.items():
        if name not in scanned.splits:
            continue
        pool = scanned.pools.get(name) if name in own_pools else scanned.splits[name]
        names = tuple(next((each.statistics for each in samples if each.statistics), ()))
        for metric_name, metric_title in metric_spec.titles(names).items():
            yield _row(
                samples,
                scanned,
                titles=(titles.get(name, name), metric_title),
                metric_name=metric_name,
                metric=metric_spec.load(metric_name),
                pool=pool,
            )


def _of_logged(files: Sequence[Path], path: Path, scanned: Scanned) -> Iterator[Row]:
    if not files:
        raise DataError(f"{path}: found neither run.json nor {LM_EVAL}; give a run's directory or logged samples")
    if len(scanned.splits) > 1:
        raise DataError(
            f"{path}: logged samples are of one task, and the scan has {len(scanned.splits)}; scan for one task"
        )
    [name] = scanned.splits
    problem: DataError | None = None
    compared = 0
    for metric_name in LOGGED_METRICS:
        try:
            samples = read_lm_eval(files, task=name, metric=metric_name, shots=0)
        except DataError as error:  # of several metrics a file has few
            problem = error
            continue
        compared += 1
        metric = logged_mean(samples, metric_name)
        yield _row(samples, scanned, titles=(name, metric.name), metric_name=metric_name, metric=metric, pool=None)
    if not compared and problem is not None:
        raise problem


def _row(
    samples: Sequence[Sample],
    scanned: Scanned,
    *,
    titles: tuple[str, str],  # of task and metric
    metric_name: str,
    metric: Aggregation,
    pool: Split | None,
) -> Row:
    """Compare the samples of one task at one number of shots; `pool` is what demonstrations were drawn from, sorted."""
    name = samples[0].task
    title, metric_title = titles
    touched = {each.example: each.parts for each in scanned.stored.overlaps if each.task == name}
    compared = comparison.compare(
        samples,
        scanned.splits[name],
        title=title,
        n=scanned.stored.ngram[name],
        metric_name=metric_name,
        metric=metric,
        parts=touched,
    )
    found = replace(compared, metric=metric_title)
    is_known = pool is not None and demonstrations.are_known(samples, pool)
    return Row(
        comparison=found,
        demonstrations=demonstrations.judge(samples, pool, metric_name=metric_name, metric=metric)
        if pool is not None and is_known
        else None,
        lacks_pool=not is_known and any(sample.prompt and sample.prompt.demonstrations for sample in samples),
        curves=gain.curves(found, samples, scanned.values[name], metric_name=metric_name, metric=metric),
        dose=doses.dose(samples, scanned.values[name], title=title, metric_name=metric_name, metric=metric),
        measure=scanned.splits[name].measure,
    )


def _own_pools(described: Described) -> frozenset[str]:
    """Name the tasks of a run that draw demonstrations from a pool of their own, as their files say today."""
    settings = described["settings"]
    if settings["data"] is not None:
        return frozenset()
    found: set[str] = set()
    for name in settings["tasks"]:
        with suppress(TaskError):  # the file is gone; whether demonstrations are test examples, their ids then tell
            found |= {each.name for each in task.load(name) if each.pool is not None}
    return frozenset(found)


def _more(rows: Sequence[Row], scanned: Scanned) -> Iterator[Table]:
    """Make the tables that stand under the first two."""
    shown = [(row.comparison, row.demonstrations) for row in rows if row.demonstrations is not None]
    if shown:
        yield demonstrations.table(shown)
    curves = [row.curves for row in rows if row.curves is not None]
    for measure in dict.fromkeys(scanned.splits[each.row.task].measure for each in curves):
        found = [each for each in curves if scanned.splits[each.row.task].measure == measure]
        yield gain.gain_table(found, measure=measure)
        if measure.partition("(")[0] in COVERAGE and (four := gain.subset_table(found, measure=measure)):
            yield four


def _notes(rows: Sequence[Row]) -> Iterator[str]:
    lacking = dict.fromkeys(row.comparison.title for row in rows if row.lacks_pool)
    if lacking:
        yield demonstrations.unscanned_note(tuple(lacking))


def _fields(rows: Sequence[Row], signatures: Sequence[str]) -> dict[str, Any]:  # Any: JSON
    """List what was found in full precision, with every threshold of the gain."""
    listed = []
    for row in rows:
        shown, curves = row.demonstrations, row.curves
        listed.append(
            {
                **dataclasses.asdict(row.comparison),
                "demonstrations": None if shown is None else {**dataclasses.asdict(shown), "share": shown.share},
                "gains": [dataclasses.asdict(each) for each in curves.gains] if curves else [],
                "curve": [dataclasses.asdict(each) for each in curves.curve or ()] if curves else [],
                "subsets": [dataclasses.asdict(each) for each in curves.subsets or ()] if curves else [],
            }
        )
    return {"signatures": list(signatures), "rows": listed}

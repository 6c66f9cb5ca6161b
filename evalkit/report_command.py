"""What the command `report` does: runs and scans into tables for papers and a page; no model runs again."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from evalkit import metric_spec, owner, report_figures, report_scans, stored
from evalkit.contamination import passages, scan, split
from evalkit.errors import DataError, UsageError
from evalkit.records import Result
from evalkit.registry import suggest
from evalkit.report import best, earlier, files, layout, notes, provenance, published, runs, table
from evalkit.report.content import Figure, Page, Passage
from evalkit.report.files import Form
from evalkit.report.latex_columns import Style
from evalkit.report.layout import Layout, Marks
from evalkit.report.runs import Run
from evalkit.report.shown import Samples
from evalkit.report_scans import Judged
from evalkit.settings import Settings

MOST_SIGNATURES = 3  # in a caption; more of them are notes
MODEL = re.compile(r"(.*\|model:)(.*?)(\|(?:dtype|evalkit):.*)")  # of a signature
KINDS = {"run": Settings, "scan": scan.Settings}
MAJORITY = "majority: the score of always giving the commonest answer."


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a report shows; UsageError where that cannot be laid out."""

    runs: tuple[Path, ...]
    scans: tuple[Path, ...] = ()
    is_published: bool = False  # beside GPT-3's scores, in a layout of their own
    layout: Layout = layout.PLAIN
    metrics: tuple[str, ...] = ()  # none for all
    measure: str = split.DEFAULT  # of contamination
    threshold: float | None = None  # None is the measure's own
    intervals: table.Intervals = "bracket"

    def __post_init__(self) -> None:
        """Check what can be checked without reading anything."""
        known = {"rows": layout.AXES, "columns": layout.AXES, "order": layout.ORDERS}
        for flag, names in known.items():
            value = getattr(self.layout, flag)
            if value not in names:
                raise UsageError(f"--{flag}: found {value!r}, expected {', '.join(names)}")
        if self.layout.rows == self.layout.columns:
            raise UsageError(f"--rows, --columns: both are {self.layout.rows}, expected two that differ")
        if self.intervals not in ("bracket", "plusminus"):
            raise UsageError(f"--interval: found {self.intervals!r}, expected bracket or plusminus")
        if self.is_published and self.layout != layout.PLAIN:
            raise UsageError("--published: has a layout of its own; leave out --rows, --columns and --order")


def report(
    wanted: Wanted, *, out: Path | None = None, forms: Collection[Form] = files.USUAL, style: Style = "plain"
) -> Page:
    """Make a report, and write its tables and its page where `out` is given, in place of an earlier report's.

    Raises DataError where there is no such run, or runs and scans do not belong together, StorageError where one is not
    finished, its file is damaged or `out` cannot be written, UsageError where `out` holds a run or scan.
    """
    files.check(forms, style=style)
    if out is not None and (holds := owner.of(out)):
        raise UsageError(f"--out: {out} holds {holds}, whose own tables would be lost; choose another directory")
    if out is None:
        return page(wanted)
    with earlier.replacing(out) as written:
        made = page(wanted, is_drawn=True)
        written.extend(files.write(out, made, forms=forms, style=style))
    return made


def page(wanted: Wanted, *, is_drawn: bool = False) -> Page:
    """Read runs and scans into what a report shows, figures and matches only where they are drawn.

    Samples are read as they are used. Raises DataError, StorageError and UsageError as `report` does.
    """
    found = runs.read(wanted.runs)
    results = _chosen(found, wanted)
    judged = report_scans.judge(found, results, wanted.scans, measure=wanted.measure, threshold=wanted.threshold)
    winners = best.find(found, results)
    marks = Marks(winners.best, judged.signs)
    signatures = _merged(line for run in found for line in run.described["signatures"])
    is_short = len(signatures) <= MOST_SIGNATURES
    remarks = [*_notes(found, results), *winners.notes, *judged.notes, *([] if is_short else signatures)]
    sources = [*judged.sources, *signatures] if is_short else judged.sources
    if wanted.is_published:
        shown = published.table(results, marks=marks)
        shown = replace(
            shown,
            notes=(*shown.notes, *map(table.clean, remarks)),
            sources=tuple(map(table.clean, sources)),
        )
    else:
        shown = layout.build(
            results, layout=wanted.layout, marks=marks, notes=remarks, sources=sources, shows_used=True
        )
    groups = dict.fromkeys(result.task.partition("/")[0] for result in results)
    made = Page(
        title=table.clean(f"{', '.join(groups)}: {', '.join(run.name for run in found)}"),
        summary=(shown,),
        contamination=judged.tables,
        figures=tuple(_figures(found, results, judged, is_published=wanted.is_published)) if is_drawn else (),
        samples=Samples(found, judged.splits),
        passages=tuple(_passages(found, wanted.scans)) if is_drawn else (),
        provenance=tuple(provenance.read(path, KINDS) for path in (*wanted.runs, *wanted.scans)),
    )
    if wanted.intervals == "bracket":
        return made
    return replace(
        made,
        summary=tuple(map(table.plusminus, made.summary)),
        contamination=tuple(map(table.plusminus, made.contamination)),
    )


def _figures(
    found: Sequence[Run], results: Sequence[Result], judged: Judged, *, is_published: bool
) -> Iterator[Figure]:
    """Draw what there is to draw; a figure of one model names it where there are several."""
    single = [result for result in results if result.spec is not None and result.subset == layout.ALL]
    sizes = {run.name: float(size) for run in found if (size := run.described.get("parameters"))}
    yield from report_figures.of_results(single, parameters=sizes if is_published or len({*sizes.values()}) > 1 else {})
    for run in found:
        titles = {result.task: result.title for result in run.results}
        model = run.name if len(found) > 1 else None
        yield from report_figures.of_choices(stored.samples(run.directory), titles=titles, model=model)
    for run, rows in judged.rows:
        yield from report_figures.of_comparison(rows, model=run.name if len(found) > 1 else None)


def _passages(found: Sequence[Run], scans: Sequence[Path]) -> Iterator[Passage]:
    """Read the matches of the examples that were asked."""
    if scans:
        asked = {(each.task, each.example.id) for run in found for each in stored.samples(run.directory)}
        yield from (each for scan in scans for each in passages.load(scan) if (each.task, each.example) in asked)


def _chosen(found: Sequence[Run], wanted: Wanted) -> list[Result]:
    """Take the results under the metrics that are asked for, of tasks with published scores if those are asked for."""
    results: list[Result] = []
    for run in found:
        own = [result for result in run.results if not wanted.metrics or _names(result) & {*wanted.metrics}]
        if wanted.is_published and not published.table(own).rows:
            tasks = ", ".join(dict.fromkeys(each.task for each in run.results))
            known = ", ".join(published.tasks())
            raise DataError(
                f"{run.directory}: has the tasks {tasks}; expected one that Table H.1 has scores of: {known}"
            )
        results += own
    known_metrics = {name for run in found for result in run.results for name in _names(result)}
    for name in wanted.metrics:
        if name not in known_metrics:
            raise UsageError(f"--metric: no run has {name!r}; {suggest(name, known_metrics)}")
    return results


def _names(result: Result) -> set[str]:
    """List what a result's metric may be called: as tables do, as the task file does, without settings."""
    return {result.metric} if result.spec is None else {result.metric, result.spec, metric_spec.parse(result.spec).name}


def _notes(found: Sequence[Run], results: Sequence[Result]) -> Iterator[str]:
    """Write the notes of each run, with its name where not all have them."""
    by_run: list[list[str]] = []
    for run in found:
        own = [result for result in results if result.model == run.name]
        single = [result for result in own if result.spec is not None and result.subset == layout.ALL]
        means = [result for result in own if result.spec is None]
        lines = [
            *notes.write(single, means=means, signatures=(), window=_window(own)),
            *[MAJORITY] * any(result.baseline is not None for result in own),
            *run.described.get("notes", ()),
        ]
        if data := run.described["settings"].get("data"):
            lines.append(f"run on other data than the tasks' own, {data}.")
        by_run.append(lines)
    for line in dict.fromkeys(line for lines in by_run for line in lines):
        owners = [run.name for run, lines in zip(found, by_run, strict=True) if line in lines]
        yield line if len(owners) == len(found) else f"{', '.join(owners)}: {line}"


def _merged(signatures: Iterable[str]) -> list[str]:
    """Write those that differ in the model alone as one, with all models."""
    models: dict[tuple[str, str], dict[str, None]] = {}
    for line in signatures:
        match = MODEL.fullmatch(line)
        before, model, after = match.groups() if match else (line, "", "")
        models.setdefault((before, after), {})[model] = None
    return [f"{before}{','.join(names)}{after}" for (before, after), names in models.items()]


def _window(results: Sequence[Result]) -> int | None:
    """Read the window of a run from its signatures; None where those do not tell it, or differ."""
    told = {match[1] for result in results if (match := re.search(r"\|window:(\d+)(?=\||$)", result.signature))}
    return int(told.pop()) if len(told) == 1 else None

"""Main path 2: stream a corpus past a test set, and keep every run of words that they share."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from evalkit import atomic
from evalkit.contamination import directory as directories
from evalkit.contamination import (
    edited,
    engines,
    findings,
    index,
    items,
    passages,
    scan_report,
    shard_scan,
    substrings,
)
from evalkit.contamination.corpus import shards
from evalkit.contamination.corpus.shards import Shard
from evalkit.contamination.index import Index
from evalkit.errors import StorageError, UsageError
from evalkit.interfaces import OnProgress, Progress, ignore
from evalkit.records import Overlap, Table
from evalkit.report import files as report_files
from evalkit.report.content import Page

ENGINES = ("local", "ray")


@dataclass(frozen=True, slots=True)
class Settings:
    """What one scan is asked to do."""

    tasks: tuple[str, ...]
    corpus: tuple[str, ...]  # files, folders and globs
    data: str | None = None  # other examples for the one task, or lines of id and text without a task
    demonstrations: bool = False  # whether the pools that demonstrations are drawn from are scanned for too
    ngram: int | None = None  # None chooses N for each task by the paper's rule
    kept: int = index.SHORTEST  # words of the shortest match that is kept
    normaliser: str = "gpt3"
    text_field: str | None = None
    text_lines: bool = False  # whether each line of a text file is a document, or else the file
    is_edited: bool = False  # whether edited copies are looked for, beside runs of words
    with_substrings: bool = False  # whether GPT-4's substrings of 50 characters are looked for, beside runs of words
    seed: int = 0  # of the substrings
    workers: int | None = None  # None is one a core
    engine: str = "local"  # or "ray"
    shard: tuple[int, int] | None = None  # of a job array: only shards i, i + n, ... from 0, and no report
    strict: bool = False  # stop at what cannot be read
    out: Path | None = None

    def __post_init__(self) -> None:
        """Raise UsageError for what can be seen without reading anything."""
        for flag, value in (("ngram", self.ngram), ("kept", self.kept), ("workers", self.workers)):
            if value is not None and not 1 <= value <= 1000:
                raise UsageError(f"--{flag}: found {value}, expected 1 to 1000")
        if self.engine not in ENGINES:
            raise UsageError(f"--engine: found {self.engine!r}, expected {' or '.join(ENGINES)}")
        if not self.corpus:
            raise UsageError("found no corpus; give --corpus with files, folders or globs")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a finished scan leaves."""

    directory: Path
    overlaps: tuple[Overlap, ...]
    table: Table


def scan(settings: Settings, *, on_progress: OnProgress = ignore) -> Outcome | None:
    """Scan a corpus for the examples of tasks; None where other shards of a job array are still to be done.

    A scan that was stopped goes on where it was. What it finds does not depend on the order of shards, the number of
    workers or the engine. Raises EvalkitError for what cannot be carried out; what cannot be read is counted and
    reported.
    """
    test, plan = prepare(settings)
    directory = settings.out or directories.default(test, settings)
    described = directories.describe(test, settings, plan)
    with directories.claim(directory, described, is_part=settings.shard is not None):
        files = {shard: directories.shard_file(directory, shard, seen=described["identity"]) for shard in plan}
        execute(files, test, settings=settings, directory=directory, on_progress=on_progress)
        if settings.shard is not None:
            return None
        return conclude(files, test, settings=settings, directory=directory, described=described)


def merge(directory: Path) -> Outcome:
    """Write the report of a scan whose parts were scanned as a job array, with the settings of these.

    Raises StorageError where a part is still missing.
    """
    try:
        settings = replace(Settings(**directories.stored_settings(directory)), shard=None, out=directory)
    except TypeError as error:
        raise StorageError(f"{directory}: scanned by another version of evalkit; scan again with this one") from error
    test, plan = prepare(settings)
    described = directories.describe(test, settings, plan)
    with directories.claim(directory, described, is_part=False):
        files = {shard: directories.shard_file(directory, shard, seen=described["identity"]) for shard in plan}
        missing = sum(not path.exists() for path in files.values())
        if missing:
            raise StorageError(
                f"{directory}: found the results of {len(files) - missing:,} of {len(files):,} shards; scan the parts "
                "that are missing, or run the scan command without --shard"
            )
        return conclude(files, test, settings=settings, directory=directory, described=described)


def conclude(
    files: Mapping[Shard, Path],
    test: Index,
    *,
    settings: Settings,
    directory: Path,
    described: dict[str, Any],  # Any: JSON
) -> Outcome:
    """Put the results of all shards together, judge the examples, and write the report."""
    found = findings.merge(files, test)
    found.read.left_out = shards.left_out(settings.corpus)
    if settings.strict:
        found.read.refuse_gaps()
    found.read.refuse_nothing()
    overlaps = findings.overlaps(found, test)
    groups = scan_report.near_duplicates(test)
    shown = scan_report.build(overlaps, found, test, groups=groups)
    findings.write_matches(directory, found, test)
    atomic.write(directory / "overlap.jsonl", scan_report.overlap_lines(overlaps, test))
    atomic.write(directory / "near-duplicates.jsonl", scan_report.group_lines(groups))
    passages.write(directory, found, test)
    page = Page(
        title="Contamination scan",
        summary=(shown,),
        contamination=(scan_report.evidence(found, test),),
        passages=passages.read(directory),
    )
    report_files.write(directory, page)
    directories.finish(
        directory, described, signature=scan_report.signature(found, test), totals=findings.totals(found)
    )
    directories.remove_stale(directory, list(files.values()))
    return Outcome(directory, overlaps, shown)


def prepare(settings: Settings) -> tuple[Index, tuple[Shard, ...]]:
    """Index the test set, and list the shards of the corpus."""
    test = index.build(
        items.gather(settings.tasks, data=settings.data, demonstrations=settings.demonstrations),
        normaliser=settings.normaliser,
        ngram=settings.ngram,
        kept=settings.kept,
    )
    if not settings.with_substrings:
        test.refuse_nothing()
    kernel = test.looked.kernel
    looked = replace(
        test.looked,
        sketches=edited.build(kernel.values, kernel.first) if settings.is_edited else None,
        substrings=substrings.build(test.items, seed=settings.seed) if settings.with_substrings else None,
    )
    test = replace(test, looked=looked)
    return test, shards.plan(settings.corpus, text_lines=settings.text_lines)


def execute(
    files: Mapping[Shard, Path], test: Index, *, settings: Settings, directory: Path, on_progress: OnProgress
) -> None:
    """Scan the shards whose results are not there yet, each kept as soon as it is done."""
    mine = list(files.items())
    if settings.shard is not None:
        number, of = settings.shard
        mine = mine[number::of]
    report = Reporter(sum(shard.bytes for shard, _ in mine), on_progress)
    left: list[engines.Job] = []
    for shard, path in mine:
        result = shard_scan.load(path)
        if result is None or result.reading.failure:  # whose cause may have passed
            left.append(engines.Job(len(left), shard, path.absolute()))
        else:
            report.add(shard.bytes, result.reading.documents, len(result.hits.found))
    report.look(np.zeros((0, engines.BOARD_COLUMNS), np.int64))
    folder = directory.absolute() / directories.own_index()
    bench = engines.Bench(folder, test.looked, settings.text_field, report.look)
    workers = min(settings.workers or os.cpu_count() or 1, len(left))
    try:
        if settings.engine == "ray":
            working = engines.cluster(left, bench, workers=settings.workers)
        elif workers > 1:
            working = engines.apart(left, bench, workers=workers)
        else:
            working = engines.here(left, bench)
        for _ in working:
            pass
    except OSError as error:
        raise StorageError(atomic.explain(directory, error)) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class Reporter:
    """Adds up what the shards have brought, and reports it."""

    def __init__(self, total: int, on_progress: OnProgress) -> None:
        self._total = max(1, total >> 20)
        self._before = np.zeros(engines.BOARD_COLUMNS, np.int64)
        self._on_progress = on_progress

    def add(self, size: int, documents: int, matches: int) -> None:
        """Count a shard that an earlier start has scanned."""
        self._before += size, documents, matches

    def look(self, board: engines.Board) -> None:
        """Report how far all shards are."""
        size, documents, matches = (self._before + board.sum(axis=0)).tolist()
        detail = f"{documents:,} documents, {matches:,} matches" if documents else "starting, compiling at first"
        self._on_progress(Progress("scanning", min(size >> 20, self._total), self._total, detail))

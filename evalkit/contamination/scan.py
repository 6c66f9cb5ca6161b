"""Main path 2: stream a corpus past a test set, and keep every run of words that they share."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from evalkit import atomic
from evalkit.contamination import directory as directories
from evalkit.contamination import findings, index, items, scan_report, shard_scan, shards
from evalkit.contamination.findings import Findings
from evalkit.contamination.index import Index
from evalkit.contamination.shards import Shard
from evalkit.errors import DataError, StorageError, UsageError
from evalkit.interfaces import OnProgress, Progress
from evalkit.records import Overlap, Table
from evalkit.report import files as report_files


@dataclass(frozen=True, slots=True)
class Settings:
    """What one scan is asked to do."""

    tasks: tuple[str, ...]
    corpus: tuple[str, ...]  # files, folders and globs
    data: str | None = None  # other examples for the one task, or lines of id and text without a task
    ngram: int | None = None  # None chooses N for each task by the paper's rule
    kept: int = index.SHORTEST  # words of the shortest match that is kept
    normaliser: str = "gpt3"
    text_field: str | None = None
    workers: int | None = None  # None is one a core
    shard: tuple[int, int] | None = None  # of a job array: only shards i, i + n, ... from 0, and no report
    strict: bool = False  # stop at what cannot be read
    out: Path | None = None

    def __post_init__(self) -> None:
        """Raise UsageError for what can be seen without reading anything."""
        for flag, value in (("ngram", self.ngram), ("kept", self.kept), ("workers", self.workers)):
            if value is not None and not 1 <= value <= 1000:
                raise UsageError(f"--{flag}: found {value}, expected 1 to 1000")
        if self.shard is not None and not 0 <= self.shard[0] < self.shard[1]:
            raise UsageError(f"--shard: found {self.shard[0]}/{self.shard[1]}, expected i/n with i from 0 to n - 1")
        if not self.corpus:
            raise UsageError("found no corpus; give --corpus with files, folders or globs")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a finished scan leaves."""

    directory: Path
    overlaps: tuple[Overlap, ...]
    table: Table


def ignore(_: Progress) -> None:
    """Report progress to nobody."""


def scan(settings: Settings, *, on_progress: OnProgress = ignore) -> Outcome | None:
    """Scan a corpus for the examples of tasks; None where other shards of a job array are still to be done.

    A scan that was stopped goes on where it was. What it finds does not depend on the order of shards or the number of
    workers. Raises EvalkitError for what cannot be carried out; what cannot be read is counted and reported.
    """
    test = index.build(
        items.gather(settings.tasks, data=settings.data),
        normaliser=settings.normaliser,
        ngram=settings.ngram,
        kept=settings.kept,
    )
    plan = shards.plan(settings.corpus)
    directory = settings.out or directories.default(test, settings.corpus, text_field=settings.text_field)
    described = directories.describe(test, settings, plan, text_field=settings.text_field)
    with directories.claim(directory, described):
        files = {shard: directories.shard_file(directory, shard, seen=described["identity"]) for shard in plan}
        execute(files, test, settings=settings, directory=directory, on_progress=on_progress)
        if settings.shard is not None:
            return None
        found = findings.merge(files, test)
        if settings.strict:
            refuse_gaps(found)
        refuse_nothing(found)
        overlaps = findings.overlaps(found, test)
        shown = scan_report.build(overlaps, found, test)
        findings.write_matches(directory / "matches.parquet", found, test)
        atomic.write(directory / "overlap.jsonl", scan_report.overlap_lines(overlaps, test))
        longest = scan_report.evidence(found, test)
        report_files.write(directory, shown, title="Contamination scan", more=(longest,))
        directories.finish(
            directory, described, signature=scan_report.signature(found, test), totals=findings.totals(found)
        )
        directories.remove_stale(directory, list(files.values()))
    return Outcome(directory, overlaps, shown)


def refuse_nothing(found: Findings) -> None:
    """Raise DataError where no document was read: a test set is not clean because nobody looked."""
    if found.documents:
        return
    reasons = [f"{places[0]}: {what}" for what, places in found.places.items()]
    reasons += [f"{file}: {reason}" for file, reason in found.failures]
    because = f" ({reasons[0]})" if reasons else ""
    raise DataError(
        f"found no documents in the corpus{because}, expected at least one; check --corpus and --text-field"
    )


def refuse_gaps(found: Findings) -> None:
    """Raise DataError where anything of the corpus was not read."""
    for what, places in found.places.items():
        raise DataError(
            f"{places[0]}: {what}, found {found.trouble[what]:,} times; mend the file or leave out --strict"
        )
    for file, reason in found.failures:
        raise DataError(f"{file}: {reason}; mend the file or leave out --strict")


def execute(
    files: Mapping[Shard, Path], test: Index, *, settings: Settings, directory: Path, on_progress: OnProgress
) -> None:
    """Scan the shards whose results are not there yet, each kept as soon as it is done."""
    mine = list(files.items())
    if settings.shard is not None:
        number, of = settings.shard
        mine = mine[number::of]
    report = Reporter([shard for shard, _ in mine], on_progress)
    left: list[tuple[Shard, Path]] = []
    for shard, path in mine:
        result = shard_scan.load(path)
        if result is None:
            left.append((shard, path))
        else:
            report(shard, result)
    workers = min(settings.workers or os.cpu_count() or 1, len(left))
    try:
        for shard, path in run(left, test, settings=settings, directory=directory, workers=workers):
            report(shard, shard_scan.load(path))
    except OSError as error:
        raise StorageError(atomic.explain(directory, error)) from error


def run(
    left: Sequence[tuple[Shard, Path]], test: Index, *, settings: Settings, directory: Path, workers: int
) -> Iterator[tuple[Shard, Path]]:
    """Scan shards here or in worker processes, and yield each when its result is on the disk."""
    if workers <= 1:
        for shard, path in left:
            shard_scan.save(path, shard_scan.scan(shard, test.looked, text_field=settings.text_field))
            yield shard, path
        return
    shared = directory / directories.INDEX
    test.looked.save(shared)
    # The largest first, so that no worker is left with a large one at the end.
    order = sorted(left, key=lambda each: -work(each[0]))
    # Not forked: a copy of a process that runs threads, as Arrow does, may hang.
    context = multiprocessing.get_context("spawn")
    try:
        with ProcessPoolExecutor(workers, mp_context=context, initializer=be_quiet) as pool:
            jobs = {pool.submit(scan_one, shared, *each, settings.text_field): each for each in order}
            try:
                for job in as_completed(jobs):
                    job.result()
                    yield jobs[job]
            except BaseException:
                for process in multiprocessing.active_children():
                    process.terminate()
                raise
    except BrokenProcessPool as error:
        raise StorageError(
            "a worker process was killed, for want of memory it may be; give fewer --workers (finished shards are kept)"
        ) from error
    finally:
        shutil.rmtree(shared, ignore_errors=True)


def be_quiet() -> None:
    """Leave Ctrl-C to the process that started this one."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def scan_one(shared: Path, shard: Shard, path: Path, text_field: str | None) -> None:
    """Scan one shard in a worker process."""
    shard_scan.save(path, shard_scan.scan(shard, look_for(shared), text_field=text_field))


@cache
def look_for(shared: Path) -> shard_scan.Looked:
    """Map the index, once a process."""
    return shard_scan.look_for(shared)


def work(shard: Shard) -> int:
    """Tell how much there is to read, in bytes of the file."""
    return shard.size if shard.form == "parquet" or shard.compression else shard.end - shard.begin


class Reporter:
    """Adds up what the shards have brought, and reports it."""

    def __init__(self, mine: Sequence[Shard], on_progress: OnProgress) -> None:
        self._total = max(1, sum(map(work, mine)) >> 20)
        self._bytes = self._documents = self._matches = 0
        self._on_progress = on_progress

    def __call__(self, shard: Shard, result: shard_scan.ShardResult | None) -> None:
        """Report one shard as scanned."""
        self._bytes += work(shard)
        if result is not None:
            self._documents += result.reading.documents
            self._matches += len(result.found)
        detail = f"{self._documents:,} documents, {self._matches:,} matches"
        self._on_progress(Progress("scanning", min(self._bytes >> 20, self._total), self._total, detail))

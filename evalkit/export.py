"""What the command `export` does: finished runs as files that other programs read, without asking a model again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from evalkit import atomic, export_lm_eval, export_parquet, owner, stored
from evalkit.contamination import directory as directories
from evalkit.contamination import split
from evalkit.errors import DataError, StorageError, UsageError
from evalkit.export_parquet import Verdicts
from evalkit.interfaces import OnProgress, ignore
from evalkit.registry import suggest
from evalkit.stored import Described

PARQUET, LM_EVAL = "parquet", "lm_eval"
FORMATS = (PARQUET, LM_EVAL)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an export leaves."""

    files: tuple[Path, ...]  # the table of samples first
    samples: int  # in the table; 0 where none was asked for


def export(
    runs: Sequence[Path],
    *,
    out: Path,
    formats: Sequence[str] = (PARQUET,),
    scans: Sequence[Path] = (),
    trusted: bool = False,
    say: Callable[[str], None] = lambda _: None,
    on_progress: OnProgress = ignore,
) -> Outcome:
    """Write the samples of finished runs to `out`: `parquet` as one table, `lm_eval` as that harness logs them.

    `scans` add to the table what they found of each example. For `lm_eval` the tasks' files are read again; `trusted`
    lets the Python functions run that those of lm_eval name, and `say` is told which. Files that are there are replaced
    whole. Raises UsageError for what cannot be asked, DataError or StorageError where a run is not finished, runs and
    scans do not belong together, or `out` cannot be written.
    """
    _check(runs, out=out, formats=formats, scans=scans)
    found = [(path, _described(path)) for path in runs]
    verdicts = _verdicts(scans, found)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(atomic.explain(out, error)) from error
    files: list[Path] = []
    samples = 0
    if PARQUET in formats:
        files.append(out / export_parquet.FILE)
        samples = export_parquet.write(files[0], found, verdicts=verdicts, on_progress=on_progress)
    if LM_EVAL in formats:
        for (path, described), name in zip(found, export_lm_eval.names([path.resolve() for path in runs]), strict=True):
            folder = out / LM_EVAL / name
            files += export_lm_eval.write(folder, path, described, trusted=trusted, say=say, on_progress=on_progress)
    return Outcome(tuple(files), samples)


def _check(runs: Sequence[Path], *, out: Path, formats: Sequence[str], scans: Sequence[Path]) -> None:
    """Raise UsageError for what can be seen without reading anything."""
    if not runs:
        raise UsageError("export: found no run; give the directories of finished runs")
    if not formats:
        raise UsageError(f"--format: found none, expected {' or '.join(FORMATS)}")
    for name in formats:
        if name not in FORMATS:
            raise UsageError(f"--format: unknown format {name!r}; {suggest(name, FORMATS)}")
    if scans and PARQUET not in formats:
        raise UsageError("--scan: adds columns to the table of samples; add parquet to --format, or leave it out")
    for flag, paths in (("RUN", runs), ("--scan", scans)):
        places = [path.resolve() for path in paths]
        for path, place in zip(paths, places, strict=True):
            if places.count(place) > 1:
                raise UsageError(f"{flag}: found {path} twice; give it once")
    if holds := owner.of(out):
        raise UsageError(f"--out: {out} holds {holds}, whose own files stand there; choose another directory")


def _described(path: Path) -> Described:
    if not (path / stored.FILE).is_file():
        raise DataError(f"{path}: found no {stored.FILE}; give a directory that evalkit run has written")
    if directories.holds_scan(path):
        raise DataError(f"{path}: holds a scan, not a run; give it with --scan")
    return stored.described(path)


def _verdicts(scans: Sequence[Path], runs: Sequence[tuple[Path, Described]]) -> Verdicts | None:
    """Read what scans say of each example, by task and id; None without a scan."""
    if not scans:
        return None
    tasks = {name for _, described in runs for name in described["hashes"]["tasks"]}
    verdicts: Verdicts = {}
    owner: dict[str, Path] = {}
    for path in scans:
        found = split.load(path)
        shared = [name for name in found.ngram if name in tasks]
        if not shared:
            raise DataError(
                f"{path}: has the tasks {', '.join(found.ngram)}, and the runs {', '.join(sorted(tasks))}; run and "
                "scan the same task"
            )
        for name in shared:
            if name in owner:
                raise UsageError(f"--scan: found {name} in {owner[name]} and {path}; give one scan a task")
            owner[name] = path
        verdicts |= {
            (each.task, each.example): (each.is_dirty, each.value) for each in found.overlaps if each.task in shared
        }
    return verdicts

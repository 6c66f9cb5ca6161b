"""Clean and dirty examples of a finished scan: as records, and as data files that `run --data` and others load."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from evalkit import atomic
from evalkit.contamination import directory as directories
from evalkit.contamination import items, measures, scan_report
from evalkit.contamination.edited import EditedCopy
from evalkit.contamination.findings import REACH
from evalkit.contamination.measures import Measure, Runs
from evalkit.contamination.substrings import Gpt4
from evalkit.errors import DataError, StorageError, UsageError
from evalkit.records import Overlap, Split

DEFAULT = "gpt3"
MANIFEST = "manifest.json"
FLAGS = {EditedCopy.name: "edited", Gpt4.name: "substrings"}  # of a scan, for measures that need one


@dataclass(frozen=True, slots=True)
class Stored:
    """A finished scan, read back from its directory."""

    directory: Path
    overlaps: tuple[Overlap, ...]
    ngram: Mapping[str, int]  # N of each task
    kept: int  # words of the shortest matches
    tasks: tuple[str, ...]  # as the scan was given them
    data: str | None
    signature: str


def load(directory: Path) -> Stored:
    """Read a scan's directory; StorageError where there is no finished scan."""
    if directories.holds_run(directory):
        raise StorageError(f"{directory}: holds a run, not a scan; give the directory of a scan")
    try:
        described = json.loads((directory / directories.FILE).read_text(encoding="utf-8"))
        if described["kind"] != directories.KIND or "signature" not in described:
            raise StorageError(f"{directory}: found no finished scan; run its scan command again, to the end")
        settings = described["settings"]
        return Stored(
            directory=directory,
            overlaps=scan_report.read_overlaps(directory / "overlap.jsonl"),
            ngram=described["n"],
            kept=settings["kept"],
            tasks=tuple(settings["tasks"]),
            data=settings["data"],
            signature=described["signature"],
        )
    except OSError as error:
        raise StorageError(f"{directory}: found no scan ({error.strerror}); give the directory of a scan") from error
    except (ValueError, KeyError, TypeError) as error:
        raise StorageError(f"{directory}: not a scan, or damaged; give the directory of a scan") from error


def splits(stored: Stored, *, measure: str = DEFAULT, threshold: float | None = None) -> tuple[Split, ...]:
    """Sort the examples of each task into clean, dirty and unscanned under one measure.

    An example is dirty from the threshold on; None takes the measure's own. Raises UsageError for a measure that is
    unknown, needs shorter matches than the scan kept, or has no threshold of its own where none is given.
    """
    runs = stored_runs(stored)
    return tuple(_split(stored, task, runs, measure=measure, threshold=threshold) for task in stored.ngram)


def values(stored: Stored, *, measure: str) -> dict[str, dict[str, float]]:
    """Measure every scannable example: of each task, the examples' ids and values, 0..1."""
    runs = stored_runs(stored)
    return {task: _values(stored, task, runs, _measure(stored, task, measure)) for task in stored.ngram}


def _split(
    stored: Stored, task: str, runs: Mapping[tuple[str, str], Runs], *, measure: str, threshold: float | None
) -> Split:
    found = _measure(stored, task, measure)
    limit = found.threshold if threshold is None else threshold
    if limit is None:
        raise UsageError(f"--threshold: {found.name} has none of its own; give one above 0, up to 1")
    if not 0 < limit <= 1:
        raise UsageError(f"--threshold: found {limit}, expected above 0 and up to 1")
    value = _values(stored, task, runs, found)
    here = [overlap.example for overlap in stored.overlaps if overlap.task == task]
    tag = measures.tag(found)
    return Split(
        task=task,
        measure=tag,
        threshold=limit,
        clean=tuple(name for name in here if name in value and value[name] < limit),
        dirty=tuple(name for name in here if name in value and value[name] >= limit),
        unscanned=tuple(name for name in here if name not in value),
        signature=f"{stored.signature}|measure:{tag}|threshold:{limit:g}",
    )


def _measure(stored: Stored, task: str, measure: str) -> Measure:
    n = stored.ngram[task]
    return measures.find(measure, ngram=n, stored=min(stored.kept, n))


def _values(stored: Stored, task: str, runs: Mapping[tuple[str, str], Runs], measure: Measure) -> dict[str, float]:
    here = [overlap for overlap in stored.overlaps if overlap.task == task]
    if measure.n is None:  # no measure of words: the scan itself says what it looked for
        if all(_looked_for(overlap, measure) is None for overlap in stored.overlaps):
            flag = FLAGS[measure.name]
            raise UsageError(f"--measure {measure.name}: the scan did not look for {flag}; scan with --{flag}")
        known = [overlap for overlap in here if _looked_for(overlap, measure) is not None]
    else:
        known = [overlap for overlap in here if overlap.is_dirty is not None]
    return {overlap.example: measure.value(runs[task, overlap.example]) for overlap in known}


def _looked_for(overlap: Overlap, measure: Measure) -> float | None:
    return overlap.edited if measure.name == EditedCopy.name else overlap.substrings


def stored_runs(stored: Stored) -> dict[tuple[str, str], Runs]:
    """Read the matches of a scan, by task and example; an example without words is left out."""
    import pyarrow
    import pyarrow.parquet

    path = stored.directory / "matches.parquet"
    try:
        table = pyarrow.parquet.read_table(path)
    except (OSError, pyarrow.ArrowException) as error:
        raise StorageError(f"{path}: cannot be read; run the scan command again") from error
    names = list(zip(table["task"].to_pylist(), table["example"].to_pylist(), strict=True))
    edges = [0, *(i for i in range(1, len(names)) if names[i] != names[i - 1]), len(names)] if names else []
    spans = {names[begin]: slice(begin, end) for begin, end in pairwise(edges)}
    start, length = (table[name].to_numpy().astype(np.int64) for name in ("word", "words"))
    reach = np.stack([table[name].to_numpy().astype(np.int64) for name in REACH], axis=1)
    document = np.unique(table["document"].to_numpy(), return_inverse=True)[1] if names else np.zeros(0, np.int64)
    runs = {}
    for overlap in stored.overlaps:
        rows = spans.get((overlap.task, overlap.example), slice(0, 0))
        if overlap.words:
            runs[overlap.task, overlap.example] = Runs(
                words=overlap.words,
                part_words=(("all", overlap.words),),
                start=start[rows],
                length=length[rows],
                document=document[rows],
                reach=reach[rows],
                edited=overlap.edited,
                substrings=overlap.substrings,
            )
    return runs


def write(stored: Stored, splits: Sequence[Split], out: Path) -> None:
    """Write each task's examples to TASK/clean.jsonl, dirty.jsonl and unscanned.jsonl under `out`, with one manifest.

    The rows are those of the task's own data, with an `id`. Raises DataError where the data is no longer what was
    scanned, StorageError where the disk refuses.
    """
    rows = _rows(stored)
    manifest: list[dict[str, Any]] = []  # Any: JSON
    try:
        for split in splits:
            folder = out / re.sub(r"[^\w.+-]+", "-", split.task)
            folder.mkdir(parents=True, exist_ok=True)
            kinds = {"clean": split.clean, "dirty": split.dirty, "unscanned": split.unscanned}
            for kind, ids in kinds.items():
                absent = [name for name in ids if (split.task, name) not in rows]
                if absent:
                    raise DataError(
                        f"{split.task}: example {absent[0]!r} of the scan is not in the data any more; scan again"
                    )
                lines = (json.dumps(rows[split.task, name], ensure_ascii=False) + "\n" for name in ids)
                atomic.write(folder / f"{kind}.jsonl", lines)
            manifest.append(
                {
                    "task": split.task,
                    "folder": folder.name,
                    "measure": split.measure,
                    "threshold": split.threshold,
                    "n": stored.ngram[split.task],
                    "counts": {kind: len(ids) for kind, ids in kinds.items()},
                    "ids": kinds,
                    "signature": split.signature,
                }
            )
        atomic.write(out / MANIFEST, [json.dumps(manifest, indent=2, ensure_ascii=False), "\n"])
    except OSError as error:
        raise StorageError(atomic.explain(out, error)) from error


def _rows(stored: Stored) -> dict[tuple[str, str], dict[str, object]]:
    """Read the rows of the examples that were scanned, by task and id."""
    if not stored.tasks:
        return {
            (item.task, item.id): {"id": item.id, "text": item.parts[0].text}
            for item in items.gather((), data=stored.data)
        }
    return {
        (each.name, example.id): {"id": example.id, **example.fields}
        for each, examples in items.load(stored.tasks, data=stored.data, demonstrations=items.has_pools(stored.ngram))
        for example in examples
    }

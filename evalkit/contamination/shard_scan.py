"""Scan one shard, and keep what was found in one file that is written whole or not at all."""

from __future__ import annotations

import json
import os
import zipfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evalkit.contamination.documents import Reading, blocks
from evalkit.contamination.kernels import matches
from evalkit.contamination.kernels.words import Fold, room
from evalkit.contamination.shards import Shard

ROOM = 1 << 16  # words held at first
FOUND = 1 << 12  # matches there is room for at first


@dataclass(frozen=True, slots=True)
class ShardResult:
    """What one shard holds of a test set."""

    found: NDArray[np.int64]  # (M, FIELDS) as the kernel gives them, with the line of the shard as the document
    times: NDArray[np.int64]  # (E,) matches of each example, those beyond matches.MOST too, which are not kept
    reading: Reading


@dataclass(frozen=True, slots=True)
class Looked:
    """What is looked for: the part of an index that a scan needs, which processes share as files."""

    fold: Fold
    kernel: matches.Index

    def save(self, folder: Path) -> None:
        """Write all arrays; OSError where the disk refuses."""
        folder.mkdir(exist_ok=True)
        for group in (self.fold, self.kernel):
            for name, value in group._asdict().items():
                np.save(folder / f"{name}.npy", value)


def look_for(folder: Path) -> Looked:
    """Map the arrays that `save` wrote; their pages are shared by all processes."""

    def read(name: str) -> Any:  # Any: an array, or the number that it holds
        # Mode c: arrays that cannot be written to are another kind for numba.
        array = np.asarray(np.load(folder / f"{name}.npy", mmap_mode="c"))
        if array.ndim:
            return array
        return array[()] if array.dtype == np.uint64 else array.item()

    fold = Fold(*map(read, Fold._fields))
    return Looked(fold, matches.Index(*map(read, matches.Index._fields)))


def scan(shard: Shard, looked: Looked, *, text_field: str | None) -> ShardResult:
    """Find all matches in a shard, ordered by document and place."""
    examples = len(looked.kernel.least)
    words, rows, count = room(ROOM, 3 * ROOM), np.zeros((FOUND, matches.FIELDS), np.int64), 0
    times, longest = np.zeros(examples, np.int64), np.zeros(examples, np.int64)
    reading = Reading()
    for block in blocks(shard, reading, text_field=text_field):
        before = count
        found = matches.Found(rows, times, longest)
        words, rows, count = matches.scan(block.texts, looked.fold, looked.kernel, words, found, count)
        rows[before:count, 3] = block.numbers[rows[before:count, 3]]
    if has_changed(shard):
        reading.failure = reading.failure or "the file changed during the scan; scan again"
    kept = rows[:count]
    # Unclear lines are scanned after their block, and several examples match at one place: a fixed order of rows.
    order = np.lexsort((kept[:, 1], kept[:, 0], kept[:, 4], kept[:, 3]))
    return ShardResult(kept[order], times, reading)


def has_changed(shard: Shard) -> bool:
    """Whether the file is another one than when the plan was made."""
    try:
        status = shard.path.stat()
    except OSError:
        return True
    return (status.st_size, status.st_mtime_ns) != (shard.size, shard.modified)


def save(path: Path, result: ShardResult) -> None:
    """Write a result; OSError where the disk refuses."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("wb") as file:
            np.savez(file, found=result.found, times=result.times, reading=np.array(json.dumps(asdict(result.reading))))
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def load(path: Path) -> ShardResult | None:
    """Read a result back; None where there is none that is whole."""
    try:
        with np.load(path, allow_pickle=False) as file:
            return ShardResult(file["found"], file["times"], Reading(**json.loads(str(file["reading"]))))
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile):
        return None

"""Scan one shard, and keep what was found in one file that is written whole or not at all."""

from __future__ import annotations

import json
import os
import zipfile
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from evalkit.contamination.documents import Reading, blocks
from evalkit.contamination.index import Index
from evalkit.contamination.kernels import matches
from evalkit.contamination.kernels.octets import PADDING
from evalkit.contamination.kernels.words import Words, room
from evalkit.contamination.shards import Shard

ROOM = 1 << 16  # words held at first
FOUND = 1 << 12  # matches there is room for at first


@dataclass(frozen=True, slots=True)
class ShardResult:
    """What one shard holds of a test set."""

    found: NDArray[np.int64]  # (M, 6) example, word in it, words, line of the shard, begin and end in its text
    reading: Reading


def scan(shard: Shard, index: Index, *, text_field: str | None) -> ShardResult:
    """Find all matches in a shard, ordered by document and place."""
    words = room(ROOM, form=3 * ROOM)
    found = np.zeros((FOUND, 6), np.int64)
    count = 0
    reading = Reading()
    for block in blocks(shard, reading, text_field=text_field):
        done, before = 0, count
        while done < len(block.numbers):
            done, count, missing = matches.scan(block.texts, done, index.fold, index.kernel, words, found, count)
            if missing:
                words = _larger(words, missing)
            elif done < len(block.numbers):
                found = np.concatenate([found, np.zeros_like(found)])
        found[before:count, 3] = block.numbers[found[before:count, 3]]
    found = found[:count]
    # Unclear lines are scanned after their block, and several examples match at one place: a fixed order of rows.
    order = np.lexsort((found[:, 1], found[:, 0], found[:, 4], found[:, 3]))
    return ShardResult(found[order], reading)


def _larger(words: Words, missing: int) -> Words:
    """Make room for a text that needs this much."""
    return room(max(2 * missing, 2 * len(words.begin)), form=max(2 * missing, len(words.form)) + PADDING)


def save(path: Path, result: ShardResult) -> None:
    """Write a result; OSError where the disk refuses."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("wb") as file:
            np.savez(file, found=result.found, reading=np.array(json.dumps(asdict(result.reading))))
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def load(path: Path) -> ShardResult | None:
    """Read a result back; None where there is none that is whole."""
    try:
        with np.load(path, allow_pickle=False) as file:
            return ShardResult(file["found"], Reading(**json.loads(str(file["reading"]))))
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile):
        return None

"""Scan one shard, and keep what was found in one file that is written whole or not at all."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, fields
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from evalkit import atomic
from evalkit.contamination import edited, substrings
from evalkit.contamination.corpus import shards
from evalkit.contamination.corpus.documents import Block, Reading, blocks
from evalkit.contamination.corpus.shards import Shard
from evalkit.contamination.kept import Kept
from evalkit.contamination.kernels import matches, sketches
from evalkit.contamination.kernels.substrings import FIELDS as SUBSTRING_FIELDS
from evalkit.contamination.kernels.words import room
from evalkit.contamination.looked import Looked
from evalkit.contamination.surroundings import NOTHING, LongestOfBlocks, Taken

ROOM = 1 << 16  # words held at first
FOUND = 1 << 12  # matches there is room for at first
HELD = 1 << 18  # edited copies, and substrings, of which all are kept; beyond them, of each piece or substring COPIES
COPIES = 64


@dataclass(frozen=True, slots=True)
class Hits:
    """What some documents hold of a test set; documents as their blocks number them."""

    found: NDArray[np.int64]  # (M, matches.FIELDS), ordered by document and place
    times: NDArray[np.int64]  # (E, 2) as matches.Found, those beyond matches.MOST too, which are not kept
    edited: NDArray[np.int64] | None  # (M, sketches.FIELDS); None where edited copies were not looked for
    substrings: NDArray[np.int64] | None  # (M, substrings.FIELDS); None where they were not looked for
    is_cut: bool  # whether there were more of the last two than are kept
    around: Taken  # the longest match of each dirty example, with the text around it


@dataclass(frozen=True, slots=True)
class ShardResult:
    """What one shard holds of a test set, and what was read of it."""

    hits: Hits  # with the line of the shard as the document
    reading: Reading


def scan(
    shard: Shard, looked: Looked, *, text_field: str | None, on_block: Callable[[Reading, int], None] | None = None
) -> ShardResult:
    """Find all matches in a shard; `on_block` is told what was read and the number of matches so far."""
    reading = Reading()
    drawn = blocks(shard, reading, text_field=text_field)
    hits = search(drawn, looked, on_block=None if on_block is None else partial(on_block, reading))
    if shards.has_changed(shard):
        reading.failure = reading.failure or "the file changed during the scan; scan again"
    return ShardResult(hits, reading)


def search(blocks: Iterable[Block], looked: Looked, *, on_block: Callable[[int], None] | None = None) -> Hits:
    """Find all matches in some documents; `on_block` is told their number after each block."""
    examples = len(looked.kernel.least)
    words, rows, count = room(ROOM, 3 * ROOM), np.zeros((FOUND, matches.FIELDS), np.int64), 0
    times, longest = np.zeros((examples, 2), np.int64), np.zeros(examples, np.int64)
    shown = LongestOfBlocks(looked.kernel.needed)
    copies = None if looked.sketches is None else edited.Finder(looked.fold, looked.sketches)
    aligned = Kept(sketches.FIELDS, by=(0, 1), length=7, limit=HELD, most=COPIES)
    pieces = None if looked.substrings is None else substrings.Finder(looked.substrings)
    contained = Kept(SUBSTRING_FIELDS, by=(0, 1), length=None, limit=HELD, most=COPIES)
    for block in blocks:
        before = count
        found = matches.Found(rows, times, longest)
        words, rows, count = matches.scan(block.texts, looked.fold, looked.kernel, words, found, count)
        shown.add(rows[before:count], block.texts, block.numbers)
        rows[before:count, 3] = block.numbers[rows[before:count, 3]]
        if copies is not None:
            aligned.add(_numbered(copies.scan(block.texts), block, column=3))
        if pieces is not None:
            contained.add(_numbered(pieces.scan(block.texts), block, column=2))
        if on_block is not None:
            on_block(count)
    kept = rows[:count]
    # Unclear lines are scanned after their block, and several examples match at one place: a fixed order of rows.
    order = np.lexsort((kept[:, 1], kept[:, 0], kept[:, 4], kept[:, 3]))
    edits, parts = aligned.rows(), contained.rows()
    return Hits(
        found=kept[order],
        times=times,
        edited=None if copies is None else edits,
        substrings=None if pieces is None else parts,
        is_cut=aligned.is_cut or contained.is_cut,
        around=shown.taken(),
    )


def _numbered(rows: NDArray[np.int64], block: Block, *, column: int) -> NDArray[np.int64]:
    """Name documents by their line of the shard instead of their place in the block."""
    rows[:, column] = block.numbers[rows[:, column]]
    return rows


def save(path: Path, result: ShardResult) -> None:
    """Write a result; OSError where the disk refuses."""
    arrays = {each.name: getattr(result.hits, each.name) for each in fields(Hits) if each.name != "around"}
    arrays |= {f"around_{name}": array for name, array in result.hits.around._asdict().items()}
    arrays["reading"] = np.array(json.dumps(asdict(result.reading)))
    with atomic.replacing(path) as beside, beside.open("wb") as file:
        np.savez(file, **{name: array for name, array in arrays.items() if array is not None})


def load(path: Path) -> ShardResult | None:
    """Read a result back; None where there is none that is whole."""
    try:
        with np.load(path, allow_pickle=False) as file:
            edits, parts = (file[name] if name in file.files else None for name in ("edited", "substrings"))
            # Scans of earlier versions, which are still read, kept no text.
            names = [f"around_{name}" for name in Taken._fields]
            around = Taken(*(file[name] for name in names)) if names[0] in file.files else NOTHING
            hits = Hits(file["found"], file["times"], edits, parts, bool(file["is_cut"]), around)
            return ShardResult(hits, Reading(**json.loads(str(file["reading"]))))
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile):
        return None

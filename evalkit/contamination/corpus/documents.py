"""The documents of a shard, as blocks of UTF-8 texts that the kernels take; only one block is in memory at a time.

Nothing is left out in silence: what cannot be read is counted, and the first places of each kind are named.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import IO

import numpy as np
import pyarrow

from evalkit.contamination.corpus import column_blocks, line_blocks
from evalkit.contamination.corpus.block import ZEROS, Block, Limits, Reading, has_zeros, of_bytes, of_strings, valid
from evalkit.contamination.corpus.fields import USUAL_FIELDS, choose_field, text_of_row
from evalkit.contamination.corpus.shards import Shard

__all__ = ["Block", "Reading", "blocks"]

BLOCK_BYTES = 4 << 20
LONGEST_DOCUMENT = 1 << 29  # bytes; one that is longer ends its shard, as a decompression bomb would


def blocks(shard: Shard, reading: Reading, *, text_field: str | None) -> Iterator[Block]:
    """Yield the documents of a shard, and count in `reading` what was read.

    `text_field` None takes a usual name or the only text that the first rows have. What breaks off in the middle ends
    the blocks and stands in `reading.failure`. Raises DataError where the field of the text cannot be told, or the hub
    cannot be reached.
    """
    try:
        for block in _read(shard, reading, text_field, Limits(BLOCK_BYTES, LONGEST_DOCUMENT)):
            reading.documents += len(block.numbers)
            reading.text_bytes += int(block.texts.offsets[-1] - block.texts.offsets[0])
            yield block
    except (OSError, pyarrow.ArrowException, EOFError) as error:
        reading.failure = " ".join(str(error).split()) or type(error).__name__
    reading.position = shard.bytes


def _read(shard: Shard, reading: Reading, text_field: str | None, limits: Limits) -> Iterator[Block]:
    if shard.form == "text":
        return _text(shard, reading, limits)
    if shard.form == "text-lines":
        return line_blocks.of_text(shard, reading, limits=limits)
    readers = {
        "lines": line_blocks.of_json,
        "array": _array,
        "parquet": column_blocks.of_parquet,
        "arrow": column_blocks.of_arrow,
        "hub": column_blocks.of_hub,
    }
    return readers[shard.form](shard, reading, text_field=text_field, limits=limits)


def _array(shard: Shard, reading: Reading, *, text_field: str | None, limits: Limits) -> Iterator[Block]:
    """Take the rows of a JSON array, which has to fit the memory."""
    if shard.size > limits.longest:
        raise OSError(f"a JSON array of {shard.size:,} bytes cannot be streamed; write one object a line")
    try:
        rows = json.loads(shard.path.read_bytes().decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise OSError(f"broken JSON: {error}") from error
    found: list[tuple[int, str]] = []
    name = text_field
    for number, row in enumerate(rows):
        if name is None and isinstance(row, dict):
            name = choose_field({key for key, value in row.items() if isinstance(value, str)}, tuple(row), shard)
        text = text_of_row(row, name or USUAL_FIELDS[0], reading, number)
        if text is not None:
            found.append((number, text))
    reading.lines += len(rows)
    if found:
        yield of_strings([text for _, text in found], [number for number, _ in found])


def _text(shard: Shard, reading: Reading, limits: Limits) -> Iterator[Block]:
    """Take a whole file as one document."""
    with _open(shard) as file:
        raw = file.read(limits.longest + 1)
    if len(raw) > limits.longest:
        raise OSError(f"a text of more than {limits.longest:,} bytes; write it as JSON lines")
    reading.lines += 1
    if has_zeros(np.frombuffer(raw, np.uint8)):
        reading.count(ZEROS, 0)
        return
    yield from valid(of_bytes([raw.removeprefix(line_blocks.BOM)], [0]), reading)


def _open(shard: Shard) -> IO[bytes]:
    if shard.compression is None:
        return shard.path.open("rb")
    # Arrow's stream goes on over the members or frames of a file, and fails where the last one is cut off.
    opened: IO[bytes] = pyarrow.input_stream(str(shard.path), compression=shard.compression, buffer_size=1 << 20)
    return opened

"""Blocks of documents of files that have one a line: JSON objects with a field of text, or plain text."""

from __future__ import annotations

import json
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from evalkit.contamination.corpus.block import ZEROS, Block, Limits, Reading, has_zeros, of_strings, valid
from evalkit.contamination.corpus.byte_lines import Room, whole_lines
from evalkit.contamination.corpus.fields import USUAL_FIELDS, choose_field, text_of_row
from evalkit.contamination.corpus.shards import Shard
from evalkit.contamination.kernels import json_lines, text_lines
from evalkit.contamination.kernels.matches import Texts

BOM = b"\xef\xbb\xbf"


def of_json(shard: Shard, reading: Reading, *, text_field: str | None, limits: Limits) -> Iterator[Block]:
    """Yield the texts of a shard of JSON lines."""
    name = text_field.encode() if text_field is not None else None
    for room, end, position in whole_lines(shard, limits):
        reading.position = position
        name = name or _find_field(room.raw[:end], shard)
        yield from _block_of_json(room, end, name, reading)


def of_text(shard: Shard, reading: Reading, *, limits: Limits) -> Iterator[Block]:
    """Yield the lines of a shard of text, without their ends; those without more than blanks are counted alone.

    Where the first block has the zero bytes of UTF-16, no line of the shard is a document.
    """
    is_utf16: bool | None = None
    for room, end, position in whole_lines(shard, limits):
        reading.position = position
        is_first = is_utf16 is None
        if is_utf16 is None:
            is_utf16 = has_zeros(room.raw[:end])
        lines = json_lines.count_lines(room.raw, 0, end)
        if is_utf16:
            for line in range(reading.lines, reading.lines + lines):
                reading.count(ZEROS, line)
            reading.lines += lines
            continue
        has_mark = is_first and shard.begin == 0 and bytes(room.raw[: min(end, len(BOM))]) == BOM
        begin = len(BOM) if has_mark else 0
        taken = _room_for(room, lines)
        texts, lines = text_lines.read(room.raw, begin, end, taken)
        first = reading.lines
        reading.lines += lines
        if texts:
            block = Block(Texts(taken.out, taken.offsets[: texts + 1]), first + taken.lines[:texts])
            yield from valid(block, reading)


def _room_for(room: Room, lines: int) -> json_lines.Taken:
    return json_lines.Taken(
        room.out, np.zeros(lines + 1, np.int64), np.zeros(lines, np.int64), np.zeros((lines, 3), np.int64)
    )


def _block_of_json(room: Room, end: int, name: bytes, reading: Reading) -> Iterator[Block]:
    """Take the texts of the lines in the first `end` bytes; what is unclear is asked of Python's json."""
    lines = json_lines.count_lines(room.raw, 0, end)
    taken = _room_for(room, lines)
    texts, unclear, _ = json_lines.read(room.raw, 0, end, np.frombuffer(name, np.uint8), taken)
    first = reading.lines
    reading.lines += lines
    if texts:
        block = Block(Texts(taken.out, taken.offsets[: texts + 1]), first + taken.lines[:texts])
        yield from valid(block, reading)
    odd: list[tuple[int, str]] = []
    for line, begin, past in taken.unclear[:unclear].tolist():
        text = _text_of_line(bytes(room.raw[begin:past]), name.decode(), reading, first + line)
        if text is not None:
            odd.append((first + line, text))
    if odd:
        yield of_strings([text for _, text in odd], [number for number, _ in odd])


def _text_of_line(raw: bytes, name: str, reading: Reading, line: int) -> str | None:
    """Give the text of a line that the kernel did not understand; None where it has none, which is counted."""
    try:
        row = json.loads(raw.decode("utf-8-sig"))  # files that were joined have it in the middle
    except UnicodeDecodeError:
        reading.count("bytes that are not UTF-8", line)
    except (ValueError, RecursionError):
        reading.count("broken JSON", line)
    else:
        return text_of_row(row, name, reading, line)
    return None


def _find_field(raw: NDArray[np.uint8], shard: Shard) -> bytes:
    """Find the field that holds the text, from the first lines that are objects."""
    for line in bytes(raw[: 1 << 20]).split(b"\n")[:100]:
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(row, dict):
            texts = {name for name, value in row.items() if isinstance(value, str)}
            return choose_field(texts, tuple(row), shard).encode()
    return USUAL_FIELDS[0].encode()

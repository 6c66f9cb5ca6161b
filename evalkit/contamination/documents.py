"""The documents of a shard, as blocks of UTF-8 texts that the kernels take; only one block is in memory at a time.

Nothing is left out in silence: what cannot be read is counted, and the first places of each kind are named.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import IO, Any

import numpy as np
import pyarrow
from numpy.typing import NDArray

from evalkit.contamination.kernels import json_lines
from evalkit.contamination.kernels.matches import Texts
from evalkit.contamination.kernels.octets import PADDING, is_utf8
from evalkit.contamination.shards import Shard
from evalkit.errors import DataError

BLOCK_BYTES = 4 << 20
STEP_BYTES = 1 << 16
LONGEST_DOCUMENT = 1 << 29  # bytes; one that is longer ends its shard, as a decompression bomb would
PLACES = 20  # named of each kind of trouble
USUAL_FIELDS = ("text", "content", "document", "raw_content", "body", "article")


@dataclass(frozen=True, slots=True)
class Block:
    """Some documents that follow each other."""

    texts: Texts
    numbers: NDArray[np.int64]  # (D,) the line or row of the shard that each stands in, from 0


@dataclass(slots=True)
class Reading:
    """What was read of a shard, and what was not; filled while the blocks are drawn."""

    lines: int = 0  # or rows, or files; among them those that hold no document
    documents: int = 0
    text_bytes: int = 0
    trouble: dict[str, int] = field(default_factory=dict)  # what was wrong -> how often
    places: dict[str, list[int]] = field(default_factory=dict)  # the first lines of the shard where it was so
    failure: str | None = None  # why the rest of the shard could not be read

    def count(self, what: str, line: int) -> None:
        """Count a line that holds no document."""
        self.trouble[what] = self.trouble.get(what, 0) + 1
        if len(named := self.places.setdefault(what, [])) < PLACES:
            named.append(line)


def blocks(shard: Shard, reading: Reading, *, text_field: str | None) -> Iterator[Block]:
    """Yield the documents of a shard, and count in `reading` what was read.

    `text_field` None takes a usual name or the only text that the first rows have. What breaks off in the middle ends
    the blocks and stands in `reading.failure`.
    """
    readers = {"lines": _lines, "array": _array, "text": _text, "parquet": _parquet, "arrow": _arrow}
    try:
        for block in readers[shard.form](shard, reading, text_field):
            reading.documents += len(block.numbers)
            reading.text_bytes += int(block.texts.offsets[-1] - block.texts.offsets[0])
            yield block
    except (OSError, pyarrow.ArrowException, EOFError) as error:
        reading.failure = " ".join(str(error).split()) or type(error).__name__


def _open(shard: Shard) -> IO[bytes]:
    if shard.compression is None:
        return shard.path.open("rb")
    # Arrow's stream goes on over the members or frames of a file, and fails where the last one is cut off.
    opened: IO[bytes] = pyarrow.input_stream(str(shard.path), compression=shard.compression, buffer_size=1 << 20)
    return opened


class _Room:
    """Buffers for the texts of a block of lines, which grow with the longest line."""

    def __init__(self) -> None:
        self.resize(BLOCK_BYTES)

    def resize(self, size: int) -> None:
        """Hold `size` bytes of lines."""
        self.raw = np.zeros(size + PADDING, np.uint8)
        self.out = np.zeros(size + 2 * PADDING, np.uint8)

    @property
    def size(self) -> int:
        """Bytes of lines there is room for."""
        return len(self.raw) - PADDING


def _lines(shard: Shard, reading: Reading, text_field: str | None) -> Iterator[Block]:
    """Take the lines that begin in the shard's range."""
    room = _Room()
    name = text_field.encode() if text_field is not None else None
    with _open(shard) as file:
        left: int | None = None  # bytes still to be read, where that is known
        if shard.compression is None:
            begin, end = _whole_lines(file, shard)
            file.seek(begin)
            left = end - begin
        held = 0  # bytes of an unfinished line, at the front of the buffer
        while True:
            if held == room.size:
                if held >= LONGEST_DOCUMENT:
                    raise OSError(f"a line is longer than {LONGEST_DOCUMENT:,} bytes")
                raw = room.raw[:held].copy()
                room.resize(2 * room.size)
                room.raw[:held] = raw
            wanted = room.size - held if left is None else min(room.size - held, left)
            got, failure = _fill(file, room.raw[held : held + wanted])
            left = None if left is None else left - got
            filled = held + got
            is_last = got == 0 and failure is None
            end = filled if is_last else _after_newline(room.raw[:filled])
            if end:
                name = name or _find_field(room.raw[:end], shard)
                yield from _block_of_lines(room, end, name, reading)
            held = filled - end
            room.raw[:held] = room.raw[end:filled].copy()
            if failure is not None:
                raise failure
            if is_last:
                break
        if left:
            raise EOFError(f"the file ends {left:,} bytes early; it changed during the scan")


def _fill(file: IO[bytes], room: NDArray[np.uint8]) -> tuple[int, Exception | None]:
    """Read into room until it is full or the file ends: bytes read, and what broke them off.

    It reads in small steps, since a decompressor that fails gives nothing of the step it fails in.
    """
    filled = 0
    try:
        while filled < len(room):
            got = file.readinto(room[filled : filled + STEP_BYTES].data)  # type: ignore[attr-defined]
            if not got:
                break
            filled += got
    except (OSError, EOFError, pyarrow.ArrowException) as error:
        return filled, error
    return filled, None


def _whole_lines(file: IO[bytes], shard: Shard) -> tuple[int, int]:
    """Give the bytes of the lines that begin in the shard's range."""
    edges = []
    for edge in (shard.begin, shard.end):
        if edge:
            file.seek(edge - 1)
            file.readline()
        edges.append(file.tell() if edge else 0)
    return edges[0], edges[1]


def _after_newline(raw: NDArray[np.uint8]) -> int:
    """Give the byte after the last newline, 0 where there is none."""
    step = 1 << 12
    for end in range(len(raw), 0, -step):
        found = np.flatnonzero(raw[max(0, end - step) : end] == 10)
        if len(found):
            return max(0, end - step) + int(found[-1]) + 1
    return 0


def _block_of_lines(room: _Room, end: int, name: bytes, reading: Reading) -> Iterator[Block]:
    """Take the texts of the lines in the first `end` bytes; what is unclear is asked of Python's json."""
    lines = json_lines.count_lines(room.raw, 0, end)
    taken = json_lines.Taken(
        room.out, np.zeros(lines + 1, np.int64), np.zeros(lines, np.int64), np.zeros((lines, 3), np.int64)
    )
    texts, unclear, _ = json_lines.read(room.raw, 0, end, np.frombuffer(name, np.uint8), taken)
    first = reading.lines
    reading.lines += lines
    if texts:
        block = Block(Texts(taken.out, taken.offsets[: texts + 1]), first + taken.lines[:texts])
        yield from _valid(block, reading)
    odd: list[tuple[int, str]] = []
    for line, begin, past in taken.unclear[:unclear].tolist():
        text = _text_of_line(bytes(room.raw[begin:past]), name.decode(), reading, first + line)
        if text is not None:
            odd.append((first + line, text))
    if odd:
        yield _block([text for _, text in odd], [number for number, _ in odd])


def _text_of_line(raw: bytes, name: str, reading: Reading, line: int) -> str | None:
    """Give the text of a line that the kernel did not understand; None where it has none, which is counted."""
    try:
        row = json.loads(raw.decode("utf-8-sig" if line == 0 else "utf-8"))
    except UnicodeDecodeError:
        reading.count("not UTF-8", line)
    except (ValueError, RecursionError):
        reading.count("broken JSON", line)
    else:
        return _text_of_row(row, name, reading, line)
    return None


def _text_of_row(row: object, name: str, reading: Reading, line: int) -> str | None:
    """Give the field of a row where it is a text; None, counted, where it is not."""
    text = row.get(name) if isinstance(row, dict) else None
    if isinstance(text, str):
        return text
    reading.count(f"no text in field {name!r}", line)
    return None


def _valid(block: Block, reading: Reading) -> Iterator[Block]:
    """Yield the documents that are UTF-8; count the others."""
    texts, numbers = block.texts, block.numbers
    begin, end = int(texts.offsets[0]), int(texts.offsets[-1])
    if is_utf8(texts.data, begin, end):
        yield block
        return
    good = []
    for i, number in enumerate(numbers.tolist()):
        if is_utf8(texts.data, int(texts.offsets[i]), int(texts.offsets[i + 1])):
            good.append(i)
        else:
            reading.count("not UTF-8", number)
    if good:
        pieces = [texts.data[texts.offsets[i] : texts.offsets[i + 1]].tobytes() for i in good]
        yield _block_of_bytes(pieces, [int(numbers[i]) for i in good])


def _block(texts: list[str], numbers: list[int]) -> Block:
    return _block_of_bytes([text.encode("utf-8", "replace") for text in texts], numbers)


def _block_of_bytes(texts: list[bytes], numbers: list[int]) -> Block:
    offsets = np.cumsum([0, *map(len, texts)], dtype=np.int64)
    data = np.frombuffer(b"".join([*texts, bytes(PADDING)]), np.uint8).copy()
    return Block(Texts(data, offsets), np.array(numbers, np.int64))


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


def choose_field(texts: set[str], names: tuple[str, ...], shard: Shard) -> str:
    """Choose a usual name, or the only field with text. Raises DataError where that leaves it open."""
    for name in USUAL_FIELDS:
        if name in texts:
            return name
    if len(texts) == 1:
        return next(iter(texts))
    raise DataError(
        f"{shard.path}: found fields {', '.join(map(repr, names)) or 'of no name'}, expected one of "
        f"{', '.join(USUAL_FIELDS)}; name the field with --text-field"
    )


def _array(shard: Shard, reading: Reading, text_field: str | None) -> Iterator[Block]:
    """Take the rows of a JSON array, which has to fit the memory."""
    if shard.size > LONGEST_DOCUMENT:
        raise OSError(f"a JSON array of {shard.size:,} bytes cannot be streamed; write one object a line")
    with _open(shard) as file:
        raw = file.read()
    try:
        rows = json.loads(raw.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise OSError(f"broken JSON: {error}") from error
    found: list[tuple[int, str]] = []
    name = text_field
    for number, row in enumerate(rows):
        if name is None and isinstance(row, dict):
            name = choose_field({key for key, value in row.items() if isinstance(value, str)}, tuple(row), shard)
        text = _text_of_row(row, name or USUAL_FIELDS[0], reading, number)
        if text is not None:
            found.append((number, text))
    reading.lines += len(rows)
    if found:
        yield _block([text for _, text in found], [number for number, _ in found])


def _text(shard: Shard, reading: Reading, text_field: str | None) -> Iterator[Block]:
    """Take a whole file as one document."""
    del text_field
    with _open(shard) as file:
        raw = file.read(LONGEST_DOCUMENT + 1)
    if len(raw) > LONGEST_DOCUMENT:
        raise OSError(f"a text of more than {LONGEST_DOCUMENT:,} bytes; write it as JSON lines")
    reading.lines += 1
    yield from _valid(_block_of_bytes([raw.removeprefix(b"\xef\xbb\xbf")], [0]), reading)


def _parquet(shard: Shard, reading: Reading, text_field: str | None) -> Iterator[Block]:
    """Take the rows of one row group."""
    import pyarrow.parquet

    with pyarrow.parquet.ParquetFile(shard.path) as file:
        name = _column(file.schema_arrow, text_field, shard)
        for batch in file.iter_batches(batch_size=4096, row_groups=[shard.begin], columns=[name]):
            yield from _batch(batch.column(0), reading)


def _arrow(shard: Shard, reading: Reading, text_field: str | None) -> Iterator[Block]:
    """Take the rows of an Arrow file or stream."""
    with pyarrow.memory_map(str(shard.path)) if shard.compression is None else _open(shard) as file:
        try:
            opened = pyarrow.ipc.open_stream(file)
            batches = iter(opened)
        except pyarrow.ArrowInvalid:
            file.seek(0)
            opened = pyarrow.ipc.open_file(file)
            batches = (opened.get_batch(i) for i in range(opened.num_record_batches))
        name = _column(opened.schema, text_field, shard)
        for batch in batches:
            yield from _batch(batch.column(name), reading)


def _column(schema: Any, text_field: str | None, shard: Shard) -> str:  # Any: pyarrow is untyped
    """Choose the column of text."""
    texts = {each.name for each in schema if pyarrow.types.is_string(each.type) or _is_large(each.type)}
    if text_field is None:
        return choose_field(texts, tuple(schema.names), shard)
    if text_field not in texts:
        raise DataError(
            f"{shard.path}: found columns {', '.join(map(repr, schema.names))}, expected text in {text_field!r}"
        )
    return text_field


def _is_large(kind: Any) -> bool:  # Any: pyarrow is untyped
    return bool(pyarrow.types.is_large_string(kind))


def _batch(column: Any, reading: Reading) -> Iterator[Block]:  # Any: pyarrow is untyped
    """Take an array of strings as it lies in memory, in blocks of a size that can be held."""
    step = max(1, len(column) * BLOCK_BYTES // max(1, column.nbytes))
    for begin in range(0, len(column), step):
        part = column.slice(begin, step)
        first = reading.lines
        reading.lines += len(part)
        numbers = np.arange(first, first + len(part), dtype=np.int64)
        if part.null_count:
            absent = part.is_null().to_numpy(zero_copy_only=False)
            for number in numbers[absent].tolist():
                reading.count("no text", number)
            part, numbers = part.drop_null(), numbers[~absent]
        if len(part) == 0:
            continue
        part = part.cast(pyarrow.large_string())
        _, offsets, data = part.buffers()
        places = np.frombuffer(offsets, np.int64)[part.offset : part.offset + len(part) + 1]
        size = int(places[-1] - places[0])
        held = np.zeros(size + PADDING, np.uint8)
        if size:
            held[:size] = np.frombuffer(data, np.uint8)[places[0] : places[-1]]
        yield from _valid(Block(Texts(held, places - places[0]), numbers), reading)

"""Write a corpus file again without what was cut from its documents, in its own format and compression.

What was not cut stays as it is: lines byte for byte, and of a document that was cut all other fields. Each of its
pieces is a row, whose `id` gets `#1`, `#2` and so on where it is a text; a number keeps its type and is repeated. A
text file is one document, so its pieces are files of their own: book#1.txt, book#2.txt.
"""

from __future__ import annotations

import bz2
import contextlib
import gzip
import io
import json
import re
import shutil
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise
from pathlib import Path
from typing import IO, Any, TypeAlias

import numpy as np
import pyarrow
from numpy.typing import NDArray

from evalkit import atomic
from evalkit.contamination.corpus.documents import Reading, blocks
from evalkit.contamination.corpus.fields import choose_column, is_text
from evalkit.contamination.corpus.shards import Compression, Shard
from evalkit.errors import DataError

ID = "id"
BUFFER = 1 << 20  # bytes
GZIP_LEVEL = 6  # what the program gzip takes; 9 takes twice the time for 1% less
BOM = b"\xef\xbb\xbf"
COLON, COMMA, QUOTE = b':,"'
BRACKETS, OPENING, CLOSING = b"[]{}", b"[{", b"]}"
TOKEN = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[\[\]{},:]', re.DOTALL)  # of JSON, as far as its structure goes
SURROGATE = re.compile("[\ud800-\udfff]")  # half of a pair, which UTF-8 cannot hold


@dataclass(frozen=True, slots=True)
class Cut:
    """What is left of one document."""

    row: int  # line or row of the file, from 0
    text: str  # before
    kept: tuple[str, ...]  # pieces in their order; none where nothing is left


Split: TypeAlias = Callable[[bytes, Cut, Shard], list[bytes]]  # what becomes of one line


def rewrite(source: Shard, target: Path, cuts: Iterator[Cut], *, text_field: str | None) -> tuple[Path, ...]:
    """Write all rows of a file with its cuts, which come in the order of rows, and list the files written.

    `source` is any shard of the file. Each file is written whole or not at all; OSError where the disk refuses,
    DataError where a text is not in its row.
    """
    if source.form == "text":
        return _text(source, target, next(cuts))
    with atomic.replacing(target) as partial:
        if source.form == "lines":
            _lines(source, partial, cuts, _split_row)
        elif source.form == "text-lines":
            _lines(source, partial, cuts, _split_text)
        elif source.form == "array":
            _array(source, partial, cuts)
        elif source.form == "parquet":
            _parquet(source, partial, cuts, text_field)
        else:
            _arrow(source, partial, cuts, text_field)
    return (target,)


def read_texts(
    shards: Sequence[Shard], lines: Sequence[int], rows: NDArray[np.int64], *, text_field: str | None
) -> Iterator[tuple[int, bytes]]:
    """Yield the texts that stand in some rows of a file, byte for byte as the scan read them, in the order of rows.

    `lines` are those of each shard; `rows` ascend. Raises DataError where a row has no text any more.
    """
    first = 0
    for shard, count in zip(shards, lines, strict=True):
        wanted = rows[np.searchsorted(rows, first) : np.searchsorted(rows, first + count)] - first
        left = deque(wanted.tolist())
        held: dict[int, bytes] = {}  # what a block gives ahead of its turn
        for block in blocks(shard, Reading(), text_field=text_field) if left else ():
            offsets = block.texts.offsets
            for i in np.flatnonzero(np.isin(block.numbers, wanted)).tolist():
                held[int(block.numbers[i])] = block.texts.data[offsets[i] : offsets[i + 1]].tobytes()
            while left and left[0] in held:
                row = left.popleft()
                yield first + row, held.pop(row)
        if left:
            raise DataError(f"{shard.path}:{first + left[0] + 1}: found no text, unlike the scan; scan again")
        first += count


@contextlib.contextmanager
def _open(shard: Shard) -> Iterator[IO[bytes]]:
    """Open a file for reading, decompressed; its lines end at newlines alone."""
    if shard.compression is None:
        with shard.path.open("rb", buffering=BUFFER) as file:
            yield file
    else:
        # As the scan reads it: all members or frames, one after the other.
        with pyarrow.input_stream(str(shard.path), compression=shard.compression) as stream:
            yield io.BufferedReader(stream, BUFFER)


@contextlib.contextmanager
def _create(path: Path, compression: Compression | None) -> Iterator[IO[bytes]]:
    """Open a file for writing; equal content gives equal bytes."""
    if compression == "zstd":
        with pyarrow.output_stream(str(path), compression=compression, buffer_size=BUFFER) as stream:
            yield stream
        return
    with path.open("wb", buffering=BUFFER) as file:
        if compression == "gzip":
            with gzip.GzipFile("", "wb", GZIP_LEVEL, file, mtime=0) as zipped:
                yield zipped  # type: ignore[misc]  # a binary file to all who write
        elif compression == "bz2":
            with bz2.BZ2File(file, "wb") as zipped:
                yield zipped
        else:
            yield file


def _lines(source: Shard, partial: Path, cuts: Iterator[Cut], split: Split) -> None:
    with _open(source) as lines, _create(partial, source.compression) as out:
        done = 0
        for cut in cuts:
            for line in islice(lines, cut.row - done):
                out.write(line)
            out.write(_split_line(next(lines, b""), cut, source, split))
            done = cut.row + 1
        shutil.copyfileobj(lines, out, BUFFER)


def _split_line(line: bytes, cut: Cut, source: Shard, split: Split) -> bytes:
    body = line.removesuffix(b"\n").removesuffix(b"\r")
    ending = line[len(body) :]  # without a newline at the end of some files
    rows = split(body, cut, source)
    return (ending if ending.endswith(b"\n") else b"\n").join(rows) + ending if rows else b""


def _split_text(line: bytes, cut: Cut, source: Shard) -> list[bytes]:
    """Give each piece of a line of text as a line."""
    if cut.row == 0:  # further down, a mark of byte order is text to the scan
        line = line.removeprefix(BOM)
    if line != cut.text.encode():
        raise DataError(f"{source.path}:{cut.row + 1}: found another text than the scan; scan again")
    return [piece.encode() for piece in cut.kept]


def _array(source: Shard, partial: Path, cuts: Iterator[Cut]) -> None:
    """Rewrite a JSON array, which the memory holds as a whole."""
    raw = source.path.read_bytes()
    edges = [token.start() for token in _top_level(raw) if raw[token.start()] != QUOTE]  # brackets and commas
    cut = next(cuts, None)
    rows: list[bytes] = []
    for number, (comma, end) in enumerate(pairwise(edges)):
        row = raw[comma + 1 : end]
        if cut is not None and cut.row == number:
            rows += _split_row(row, cut, source)
            cut = next(cuts, None)
        else:
            rows.append(row)
    partial.write_bytes(raw[: edges[0] + 1] + b",".join(rows) + raw[edges[-1] :])


def _top_level(raw: bytes) -> Iterator[re.Match[bytes]]:
    """Yield the tokens that stand directly in the outermost object or array, and its brackets."""
    depth = 0
    for token in TOKEN.finditer(raw):
        kind = raw[token.start()]
        depth -= kind in CLOSING
        if depth == (kind not in BRACKETS):
            yield token
        depth += kind in OPENING


def _split_row(row: bytes, cut: Cut, source: Shard) -> list[bytes]:
    """Give the object once for each piece, all else in it byte for byte.

    Every field that holds the same text is cut alike: a copy beside it would keep what is to go.
    """
    row = row.removeprefix(BOM)
    fields = list(_strings(row))
    texts = [(begin, end) for _, begin, end in fields if _is_same(_value(row[begin:end]), cut.text)]
    if not texts:
        raise DataError(f"{source.path}:{cut.row + 1}: found another text than the scan; scan again")
    ids = [(begin, end) for name, begin, end in fields if name == ID and (begin, end) not in texts]
    as_ascii = row.isascii()
    rows = []
    for number, piece in enumerate(cut.kept, 1):
        written = json.dumps(piece, ensure_ascii=as_ascii).encode()
        edits = [(begin, end, written) for begin, end in texts]
        edits += [(end - 1, end - 1, f"#{number}".encode()) for _, end in ids]
        made = row
        for begin, end, new in sorted(edits, reverse=True):
            made = made[:begin] + new + made[end:]
        rows.append(made)
    return rows


def _strings(row: bytes) -> Iterator[tuple[str | None, int, int]]:
    """Yield name, begin and end of the fields of an object that hold a string, its quotes included."""
    name: str | None = None
    is_value = False
    for token in _top_level(row):
        kind = row[token.start()]
        if kind == QUOTE and is_value:
            yield name, *token.span()
        elif kind == QUOTE:
            name = _value(token[0])
        else:
            is_value = kind == COLON


def _value(string: bytes) -> str | None:
    """Read a JSON string; None where it is broken, which the scan does not ask of other fields than the text."""
    try:
        value = json.loads(string.decode())
    except ValueError:
        return None
    assert isinstance(value, str)
    return value


def _is_same(value: str | None, text: str) -> bool:
    """Whether a value is the text that the scan saw, where half of a surrogate pair is a replacement character."""
    return value is not None and text in (value, SURROGATE.sub("\ufffd", value), SURROGATE.sub("?", value))


def _text(source: Shard, target: Path, cut: Cut) -> tuple[Path, ...]:
    """Write each piece of a text file as a file of its own."""
    inner = Path(target.stem if source.compression else target.name).stem
    names = [f"{inner}#{number}{target.name[len(inner) :]}" for number in range(1, len(cut.kept) + 1)]
    for name in names:
        if source.path.with_name(name).exists():
            raise DataError(f"{source.path.with_name(name)}: found the name that a piece of {target.name} gets; rename")
    paths = tuple(target.with_name(name) for name in names)
    for path, piece in zip(paths, cut.kept, strict=True):
        with atomic.replacing(path) as partial, _create(partial, source.compression) as out:
            out.write(piece.encode())
    return paths


def _parquet(source: Shard, partial: Path, cuts: Iterator[Cut], text_field: str | None) -> None:
    """Rewrite row group by row group; one is in memory at a time."""
    import pyarrow.parquet

    with pyarrow.parquet.ParquetFile(source.path) as file:
        schema, groups = file.schema_arrow, range(file.num_row_groups)
        first = file.metadata.row_group(0)
        columns = [first.column(i) for i in range(first.num_columns)]
        codecs = {
            each.path_in_schema: "NONE" if each.compression == "UNCOMPRESSED" else each.compression for each in columns
        }
        name = _column(schema, text_field, source)
        with pyarrow.parquet.ParquetWriter(partial, schema, compression=codecs) as out:
            for table in _split_tables((file.read_row_group(group) for group in groups), cuts, name):
                if table.num_rows:
                    out.write_table(_forget(table, name, {}), row_group_size=table.num_rows)


def _arrow(source: Shard, partial: Path, cuts: Iterator[Cut], text_field: str | None) -> None:
    """Rewrite an Arrow file or stream batch by batch."""
    with contextlib.ExitStack() as stack:
        if source.compression is None:
            file = stack.enter_context(pyarrow.memory_map(str(source.path)))
        else:
            file = stack.enter_context(pyarrow.input_stream(str(source.path), compression=source.compression))
        try:
            opened, new = pyarrow.ipc.open_stream(file), pyarrow.ipc.new_stream
            batches = iter(opened)
        except pyarrow.ArrowInvalid:
            file.seek(0)
            opened, new = pyarrow.ipc.open_file(file), pyarrow.ipc.new_file
            batches = (opened.get_batch(i) for i in range(opened.num_record_batches))
        tables = (pyarrow.Table.from_batches([batch]) for batch in batches)
        name = _column(opened.schema, text_field, source)
        out = stack.enter_context(_create(partial, source.compression))
        # Of a dictionary, a file may hold additions and a stream may hold another one.
        options = pyarrow.ipc.IpcWriteOptions(emit_dictionary_deltas=True)
        known: dict[str, Any] = {}  # Any: pyarrow is untyped
        with new(out, opened.schema, options=options) as writer:
            for table in _split_tables(tables, cuts, name):
                for batch in _forget(table.combine_chunks(), name, known).to_batches():
                    writer.write_batch(batch)


def _column(schema: Any, text_field: str | None, source: Shard) -> str:  # Any: pyarrow is untyped
    """Give the column that the scan read."""
    name = choose_column(schema, text_field, source)
    if name is None:
        raise DataError(f"{source.path}: found no text in column {text_field!r}, unlike the scan; scan again")
    return name


def _forget(table: Any, name: str, known: dict[str, Any]) -> Any:  # Any: pyarrow is untyped
    """Make the texts and ids anew: dictionaries and the buffers of views still hold what was cut from the rows.

    `known` are the values of each dictionary so far, which those of the table are added to.
    """
    import pyarrow.compute

    for column in dict.fromkeys([name, ID]):
        place = table.schema.get_field_index(column)
        if place < 0:
            continue
        field = table.schema.field(place)
        if pyarrow.types.is_string_view(field.type):
            whole = table.column(place).cast(pyarrow.large_string())
            table = table.set_column(place, field, whole.cast(field.type))
        if not pyarrow.types.is_dictionary(field.type):
            continue
        values = table.column(place).cast(field.type.value_type).combine_chunks()
        old = known.get(column, values[:0])
        seen = values.drop_null().unique()
        added = seen.filter(pyarrow.compute.invert(pyarrow.compute.is_in(seen, value_set=old)))
        known[column] = pyarrow.concat_arrays([old, added])
        codes = pyarrow.compute.index_in(values, value_set=known[column]).cast(field.type.index_type)
        made = pyarrow.DictionaryArray.from_arrays(codes, known[column], ordered=field.type.ordered)
        table = table.set_column(place, field, made)
    return table


def _split_tables(tables: Iterable[Any], cuts: Iterator[Cut], name: str) -> Iterator[Any]:  # Any: pyarrow is untyped
    """Yield each table with the rows that were cut once for each piece, or not at all."""
    first = 0
    cut = next(cuts, None)
    for table in tables:
        parts, done = [], 0
        while cut is not None and cut.row < first + table.num_rows:
            row = cut.row - first
            parts.append(table.slice(done, row - done))
            if cut.kept:
                parts.append(_split_table(table.slice(row, 1), cut, name))
            done = row + 1
            cut = next(cuts, None)
        yield pyarrow.concat_tables([*parts, table.slice(done)])
        first += table.num_rows


def _split_table(row: Any, cut: Cut, name: str) -> Any:  # Any: pyarrow is untyped
    """Give a row once for each piece."""
    rows = pyarrow.concat_tables([row] * len(cut.kept))
    values: dict[str, list[str | None]] = {name: list(cut.kept)}
    if ID in row.schema.names and name != ID and is_text(row.schema.field(ID).type):
        value = row.column(ID)[0].as_py()
        values[ID] = [None if value is None else f"{value}#{number}" for number in range(1, len(cut.kept) + 1)]
    for column, content in values.items():
        place = row.schema.get_field_index(column)
        field = row.schema.field(place)
        rows = rows.set_column(place, field, pyarrow.array(content, field.type))
    return rows

"""Blocks of documents of what Arrow reads as columns: parquet, Arrow files and streams, datasets of the hub."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow
from numpy.typing import NDArray

from evalkit.contamination.corpus import hub
from evalkit.contamination.corpus.block import Block, Limits, Reading, valid
from evalkit.contamination.corpus.fields import choose_column, no_text
from evalkit.contamination.corpus.shards import Shard
from evalkit.contamination.kernels.matches import Texts
from evalkit.contamination.kernels.octets import PADDING


def of_parquet(shard: Shard, reading: Reading, *, text_field: str | None, limits: Limits) -> Iterator[Block]:
    """Yield the rows of one row group."""
    import pyarrow.parquet

    with pyarrow.parquet.ParquetFile(shard.path) as file:
        name = choose_column(file.schema_arrow, text_field, shard)
        rows = file.metadata.row_group(shard.begin).num_rows
        if name is None:
            _count_rows(rows, reading, text_field)
            return
        for batch in file.iter_batches(batch_size=4096, row_groups=[shard.begin], columns=[name]):
            for block in _of_column(batch.column(0), reading, limits):
                reading.position = shard.bytes * reading.lines // rows
                yield block


def of_arrow(shard: Shard, reading: Reading, *, text_field: str | None, limits: Limits) -> Iterator[Block]:
    """Yield the rows of an Arrow file or stream."""
    with (
        pyarrow.OSFile(str(shard.path)) as raw,
        pyarrow.memory_map(str(shard.path))
        if shard.compression is None
        else pyarrow.CompressedInputStream(raw, shard.compression) as file,
    ):
        try:
            opened = pyarrow.ipc.open_stream(file)
            compressed = raw if shard.compression else file
            batches = ((batch, compressed.tell()) for batch in opened)
        except pyarrow.ArrowInvalid:
            file.seek(0)
            opened = pyarrow.ipc.open_file(file)
            count = opened.num_record_batches
            batches = ((opened.get_batch(i), shard.bytes * (i + 1) // count) for i in range(count))
        name = choose_column(opened.schema, text_field, shard)
        for batch, position in batches:
            reading.position = position
            if name is None:
                _count_rows(batch.num_rows, reading, text_field)
            else:
                yield from _of_column(batch.column(name), reading, limits)


def of_hub(shard: Shard, reading: Reading, *, text_field: str | None, limits: Limits) -> Iterator[Block]:
    """Yield the rows of one shard of a dataset."""
    for table in hub.tables(str(shard.path), shard.begin, dataset=(shard.size, shard.modified, shard.of)):
        name = choose_column(table.schema, text_field, shard)
        reading.position = min(shard.bytes, reading.position + table.nbytes)
        if name is None:
            _count_rows(table.num_rows, reading, text_field)
            continue
        for chunk in table.column(name).chunks:
            yield from _of_column(chunk, reading, limits)


def _count_rows(rows: int, reading: Reading, text_field: str | None) -> None:
    """Count rows that have no text."""
    for line in range(reading.lines, reading.lines + rows):
        reading.count(no_text(text_field or ""), line)
    reading.lines += rows


def _of_column(column: Any, reading: Reading, limits: Limits) -> Iterator[Block]:  # Any: pyarrow is untyped
    """Take an array of strings as it lies in memory, in blocks of a size that can be held."""
    step = max(1, len(column) * limits.block // max(1, column.nbytes))
    for begin in range(0, len(column), step):
        # Before nulls are looked for, which categories may have among their values, and views cannot drop.
        part = column.slice(begin, step).cast(pyarrow.large_string())
        first = reading.lines
        reading.lines += len(part)
        numbers = np.arange(first, first + len(part), dtype=np.int64)
        if part.null_count:
            absent: NDArray[np.bool_] = part.is_null().to_numpy(zero_copy_only=False)
            for number in numbers[absent].tolist():
                reading.count("no value", number)
            part, numbers = part.drop_null(), numbers[~absent]
        if len(part) == 0:
            continue
        _, offsets, data = part.buffers()
        places = np.frombuffer(offsets, np.int64)[part.offset : part.offset + len(part) + 1]
        size = int(places[-1] - places[0])
        held = np.zeros(size + PADDING, np.uint8)
        if size:
            held[:size] = np.frombuffer(data, np.uint8)[places[0] : places[-1]]
        yield from valid(Block(Texts(held, places - places[0]), numbers), reading)

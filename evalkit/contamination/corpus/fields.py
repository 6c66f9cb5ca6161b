"""Which field or column of a corpus holds the text of its documents."""

from __future__ import annotations

from typing import Any

import pyarrow

from evalkit.contamination.corpus.block import Reading
from evalkit.contamination.corpus.shards import Shard
from evalkit.errors import DataError

USUAL_FIELDS = ("text", "content", "document", "raw_content", "body", "article")


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


def choose_column(schema: Any, text_field: str | None, shard: Shard) -> str:  # Any: pyarrow is untyped
    """Choose the column of text. Raises DataError where there is none, or not this."""
    texts = {
        each.name for each in schema if pyarrow.types.is_string(each.type) or pyarrow.types.is_large_string(each.type)
    }
    if text_field is None:
        return choose_field(texts, tuple(schema.names), shard)
    if text_field not in texts:
        raise DataError(
            f"{shard.path}: found columns {', '.join(map(repr, schema.names))}, expected text in {text_field!r}"
        )
    return text_field


def text_of_row(row: object, name: str, reading: Reading, line: int) -> str | None:
    """Give the field of a row where it is a text; None, counted, where it is not."""
    text = row.get(name) if isinstance(row, dict) else None
    if isinstance(text, str):
        return text
    reading.count(f"no text in field {name!r}", line)
    return None

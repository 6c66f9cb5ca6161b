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
        f"{shard.path}: found fields {', '.join(map(repr, names)) or 'of no name'}, expected text in one of "
        f"{', '.join(USUAL_FIELDS)}; name the field with --text-field"
    )


def choose_column(schema: Any, text_field: str | None, shard: Shard) -> str | None:  # Any: pyarrow is untyped
    """Choose the column of text; None where `text_field` is none. Raises DataError where it is left open."""
    texts = {each.name for each in schema if is_text(each.type)}
    if text_field is not None:
        return text_field if text_field in texts else None
    return choose_field(texts, tuple(f"{each.name} ({each.type})" for each in schema), shard)


def is_text(kind: Any) -> bool:  # Any: pyarrow is untyped
    """Whether a column of this Arrow type holds texts."""
    types = pyarrow.types
    if types.is_dictionary(kind):  # as pandas writes categories
        kind = kind.value_type
    return bool(types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind))


def text_of_row(row: object, name: str, reading: Reading, line: int) -> str | None:
    """Give the field of a row where it is a text; None, counted, where it is not."""
    text = row.get(name) if isinstance(row, dict) else None
    if isinstance(text, str):
        return text
    reading.count(no_text(name), line)
    return None


def no_text(name: str) -> str:
    """Say of a row that its field holds no text."""
    return f"no text in field {name!r}"

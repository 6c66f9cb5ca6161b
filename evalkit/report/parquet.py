"""A table as parquet, for programs: typed columns, with caption and notes in the file's metadata."""

from __future__ import annotations

import io
import json

from evalkit.records import Table
from evalkit.report import columns as typed


def render(table: Table) -> bytes:
    """Write the columns of `columns` as one parquet file; an absent cell is null."""
    import pyarrow
    import pyarrow.parquet

    types = {
        "text": pyarrow.string(),
        "integer": pyarrow.int64(),
        "number": pyarrow.float64(),
        "truth": pyarrow.bool_(),
    }
    found = typed.columns(table)
    described = {
        "caption": table.caption,
        "notes": json.dumps(table.notes, ensure_ascii=False),
        "sources": json.dumps(table.sources, ensure_ascii=False),
    }
    built = pyarrow.table(
        [pyarrow.array(column.values, type=types[column.kind]) for column in found],
        schema=pyarrow.schema(
            [(column.name, types[column.kind]) for column in found],
            metadata={key: value.encode("utf-8", "backslashreplace") for key, value in described.items()},
        ),
    )
    out = io.BytesIO()
    pyarrow.parquet.write_table(built, out)
    return out.getvalue()

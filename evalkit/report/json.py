"""A table as JSON in the Table Schema of Frictionless Data, which pandas reads with its types."""

from __future__ import annotations

import json
import math

from evalkit.records import Table
from evalkit.report import columns as typed

TYPES: dict[typed.Kind, dict[str, str]] = {
    "text": {"type": "string"},
    "integer": {"type": "integer", "extDtype": "Int64"},  # pandas' int64 has no place for an absent value
    "number": {"type": "number"},
    "truth": {"type": "boolean"},
}
SCHEMA_VERSION = "1.4.0"  # that pandas asks for


def render(table: Table) -> str:
    """Write caption, notes, schema and rows; read it with `pandas.read_json(FILE, orient="table", precise_float=True)`.

    An absent cell is null, and so is a number that is not finite, which JSON has no form for.
    """
    found = typed.columns(table)
    rows = [{column.name: _finite(column.values[at]) for column in found} for at in range(len(table.rows))]
    fields = [{"name": column.name, **TYPES[column.kind]} for column in found]
    content = {
        "caption": table.caption,
        "notes": list(table.notes),
        "sources": list(table.sources),
        "schema": {"fields": fields, "pandas_version": SCHEMA_VERSION},
        "data": rows,
    }
    return json.dumps(content, ensure_ascii=False, indent=1) + "\n"


def _finite(value: typed.Value) -> typed.Value:
    return None if isinstance(value, float) and not math.isfinite(value) else value

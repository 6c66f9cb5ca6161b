"""A table as CSV, for pandas and spreadsheets: full precision, an estimate in four columns."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from evalkit.records import Table
from evalkit.report import columns as typed

FORMULA = ("=", "+", "-", "@", "\t", "\r")  # what a cell begins with that a spreadsheet computes


def render(table: Table) -> str:
    """Write one line a row, in the columns of `columns`; an absent cell is empty.

    Text that a spreadsheet would take for a formula has an apostrophe before it. Notes and sources are left out, since
    readers of CSV would take them for rows; all other forms have them.
    """
    found = typed.columns(table)
    lines = [line([_plain(column.name) for column in found])]
    lines += [line([_plain(column.values[at]) for column in found]) for at in range(len(table.rows))]
    return "".join(lines)


def line(cells: Sequence[object]) -> str:
    """Write one line, its end with it; cells stay as they are."""
    out = io.StringIO(newline="")
    # Only what the end of a line has is quoted, and readers take a lone carriage return for one.
    csv.writer(out, lineterminator="\r\n").writerow(cells)
    return out.getvalue().removesuffix("\r\n") + "\n"


def _plain(value: typed.Value) -> typed.Value:
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value

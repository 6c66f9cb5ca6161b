"""A table as CSV, for pandas and spreadsheets: full precision, an estimate in four columns."""

from __future__ import annotations

import csv
import io

from evalkit.records import Cell, Estimate, Table


def render(table: Table) -> str:
    """Write one line a row; an estimate column is followed by its low, high and n, and an absent cell is empty.

    Notes are left out, since readers of CSV would take them for rows; run.json beside the file has the signatures.
    """
    expanded = [any(isinstance(row[at], Estimate) for row in table.rows) for at in range(len(table.columns))]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    header: list[str] = []
    for column, is_estimate in zip(table.columns, expanded, strict=True):
        header += [column, f"{column} low", f"{column} high", f"{column} n"] if is_estimate else [column]
    writer.writerow(header)
    for row in table.rows:
        line: list[Cell] = []
        for cell, is_estimate in zip(row, expanded, strict=True):
            if isinstance(cell, Estimate):
                line += [cell.value, cell.low, cell.high, cell.n]
            else:
                line += [cell, None, None, None] if is_estimate else [cell]
        writer.writerow(line)
    return out.getvalue()

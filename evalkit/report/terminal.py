"""A table as text for a terminal."""

from __future__ import annotations

import io
import textwrap

from evalkit.records import Cell, Estimate, Table
from evalkit.report import table as tables


def render(table: Table, *, encoding: str = "utf-8", is_coloured: bool = False, columns: int = 120) -> str:
    """Draw the table in its natural width, as cutting a number off is worse than a long line, and notes in `columns`.

    Lines are drawn in ASCII where the encoding has no others.
    """
    from rich import box
    from rich.console import Console
    from rich.table import Table as RichTable
    from rich.text import Text

    is_unicode = encoding.lower().replace("-", "").startswith("utf")
    drawn = RichTable(
        title=Text(table.caption),
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD if is_unicode else box.ASCII,
    )
    for at, column in enumerate(table.columns):
        drawn.add_column(Text(column), justify="right" if tables.is_numeric(table, at) else "left", no_wrap=True)
    for row in table.rows:
        drawn.add_row(*(Text.assemble(*_parts(cell)) for cell in row))
    out = io.StringIO()
    console = Console(file=out, width=1000, force_terminal=is_coloured, legacy_windows=False)
    console.print(drawn)
    drawn_text = out.getvalue()
    if not is_unicode:
        drawn_text = drawn_text.replace(tables.NOTHING, "-")
    lines = [line.rstrip() for line in drawn_text.splitlines()]
    notes = [textwrap.fill(note, columns, break_long_words=False, break_on_hyphens=False) for note in table.notes]
    return "\n".join([*lines, *notes]).strip("\n") + "\n"


def _parts(cell: Cell) -> list[tuple[str, str]]:
    if isinstance(cell, Estimate):
        return [(tables.number(cell.value), ""), (f" {tables.interval(cell)}", "dim")]
    return [(tables.text(cell), "")]

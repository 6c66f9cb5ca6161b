"""A table as text for a terminal."""

from __future__ import annotations

import io
import textwrap

from evalkit.records import Cell, Estimate, Table
from evalkit.report import table as tables

PLAIN = str.maketrans({tables.NOTHING: "-", "±": "+-", "†": "(1)", "‡": "(2)", "§": "(3)"})  # in ASCII


def render(table: Table, *, encoding: str = "utf-8", is_coloured: bool = False, columns: int = 120) -> str:
    """Draw the table in its natural width, as cutting a number off is worse than a long line, and notes in `columns`.

    Lines are drawn in ASCII where the encoding has no others.
    """
    from rich import box
    from rich.console import Console
    from rich.table import Table as RichTable
    from rich.text import Text

    is_unicode = encoding.lower().replace("-", "").startswith("utf")

    def spell(text: str) -> str:
        return text if is_unicode else text.translate(PLAIN)

    drawn = RichTable(
        title=Text(spell(table.caption)),
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD if is_unicode else box.ASCII,
    )
    for at, column in enumerate(table.columns):
        drawn.add_column(Text(spell(column)), justify="right" if tables.is_numeric(table, at) else "left", no_wrap=True)
    for row in table.rows:
        parts = (_parts(cell, table.intervals, is_coloured=is_coloured) for cell in row)
        drawn.add_row(*(Text.assemble(*((spell(part), style) for part, style in each)) for each in parts))
    out = io.StringIO()
    console = Console(file=out, width=1000, force_terminal=is_coloured, legacy_windows=False)
    console.print(drawn)
    lines = [line.rstrip() for line in out.getvalue().splitlines()]
    notes = [
        textwrap.fill(spell(note), columns, break_long_words=False, break_on_hyphens=False)
        for note in tables.remarks(table)
    ]
    return "\n".join([*lines, *notes]).strip("\n") + "\n"


def _parts(cell: Cell, intervals: tables.Intervals, *, is_coloured: bool) -> list[tuple[str, str]]:
    content = tables.content(cell)
    shown = tables.score(content)
    if tables.is_best(cell):
        # Without escape codes nothing is bold, so the stars of Markdown stand for it.
        shown = shown if is_coloured else f"**{shown}**"
    parts = [(shown, "bold" if tables.is_best(cell) else ""), (tables.signs(cell), "")]
    if isinstance(content, Estimate):
        parts.append((f" {tables.interval(content, intervals)}", "dim"))
    return parts

"""A table as GitHub-flavoured Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterable

from evalkit.records import Cell, Estimate, Table
from evalkit.report import table as tables


def render(table: Table) -> str:
    """Write caption, table and notes; whatever text they hold prints as itself, what is best in bold."""
    numeric = [tables.is_numeric(table, column) for column in range(len(table.columns))]
    lines = [
        f"**{escape(table.caption)}**",
        "",
        _line(escape(column) for column in table.columns),
        _line("---:" if right else "---" for right in numeric),
        *(_line(_cell(cell, table.intervals) for cell in row) for row in table.rows),
    ]
    if remarks := tables.remarks(table):
        lines += ["", *(f"- {_note(note)}" for note in remarks)]
    return "\n".join(lines) + "\n"


def escape(text: str) -> str:
    """Escape what Markdown, or the HTML in it, would take for markup; a line break becomes a space."""
    # Underscores mark up at the edges of words alone, all that stand there together.
    marks = re.compile(r"[\\`*~<>|&$\[\]]|\b_+|_+\b")
    escaped = marks.sub(lambda found: "".join(f"\\{each}" for each in found[0]), " ".join(text.split()))
    escaped = re.sub(r"^([#+]+(?=\s|$)|-(?=[\s-]|$))", r"\\\1", escaped)
    return re.sub(r"^(\d+)(?=[.)](?:\s|$))", r"\1\\", escaped)  # of `1.` only the point can be escaped


def _cell(cell: Cell, intervals: tables.Intervals) -> str:
    content = tables.content(cell)
    shown = escape(content) if isinstance(content, str) else tables.score(content)
    if tables.is_best(cell):
        shown = f"**{shown}**"
    if signs := tables.signs(cell):
        shown += f"<sup>{escape(signs)}</sup>"
    return f"{shown} {tables.interval(content, intervals)}" if isinstance(content, Estimate) else shown


def _note(note: str) -> str:
    # Outside a table a bar is a bar, and a signature is there to be copied.
    return escape(note).replace(r"\|", "|")


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"

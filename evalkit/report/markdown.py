"""A table as GitHub-flavoured Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterable

from evalkit.records import Cell, Table
from evalkit.report import table as tables


def render(table: Table) -> str:
    """Write caption, table and notes; whatever text they hold prints as itself."""
    numeric = [tables.is_numeric(table, column) for column in range(len(table.columns))]
    lines = [
        f"**{escape(table.caption)}**",
        "",
        _line(escape(column) for column in table.columns),
        _line("---:" if right else "---" for right in numeric),
        *(_line(_cell(cell) for cell in row) for row in table.rows),
    ]
    if table.notes:
        lines += ["", *(f"- {_note(note)}" for note in table.notes)]
    return "\n".join(lines) + "\n"


def escape(text: str) -> str:
    """Escape what Markdown, or the HTML in it, would take for markup; a line break becomes a space."""
    escaped = re.sub(r"([\\`*~<>|&$\[\]]|\b_|_\b)", r"\\\1", " ".join(text.split()))
    return re.sub(r"^([#+-]|\d+[.)])(?=\s)", r"\\\1", escaped)


def _cell(cell: Cell) -> str:
    return escape(cell) if isinstance(cell, str) else tables.text(cell)


def _note(note: str) -> str:
    # Outside a table a bar is a bar, and a signature is there to be copied.
    return escape(note).replace(r"\|", "|")


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"

"""A table as LaTeX, to be put into a paper that loads booktabs and graphicx."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

from evalkit.records import Cell, Estimate, Table
from evalkit.report import table as tables

SPECIAL = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "–": "--",
    **{character: f"\\{character}" for character in "&%$#_{}"},
    # A line of a tabular that begins with [ would be read as the length of the line break before it, and one with *
    # as the starred form of that line break.
    "[": "{[}",
    "]": "{]}",
    "*": "{*}",
}


def render(table: Table) -> str:
    """Write a table environment with caption, booktabs rules and notes."""
    columns = range(len(table.columns))
    layout = "".join("r" if tables.is_numeric(table, column) else "l" for column in columns)
    lines = [
        "% Needs \\usepackage{booktabs}, \\usepackage{graphicx} and \\usepackage[T1]{fontenc}.",
        r"\begin{table}",
        r"  \centering",
        rf"  \caption{{{escape(table.caption)}}}",
        # A table that is wider than the text is made as wide as it; others keep their size.
        r"  \resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
        rf"  \begin{{tabular}}{{{layout}}}",
        r"    \toprule",
        _line(escape(column) for column in table.columns),
        r"    \midrule",
        *(_line(_cell(cell) for cell in row) for row in table.rows),
        r"    \bottomrule",
        r"  \end{tabular}}",
        *(rf"  \par\footnotesize {_breakable(escape(note))}" for note in table.notes),
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def escape(text: str) -> str:
    """Escape every character that TeX would act on; control characters and line breaks become spaces."""
    visible = "".join(" " if unicodedata.category(character) in {"Cc", "Cf", "Cs"} else character for character in text)
    return "".join(SPECIAL.get(character, character) for character in " ".join(visible.split()))


def _cell(cell: Cell) -> str:
    if isinstance(cell, Estimate):
        return rf"${tables.number(cell.value)}$ {{\scriptsize${tables.interval(cell)}$}}"
    if isinstance(cell, (int, float)):
        return f"${tables.text(cell).replace(',', '{,}')}$"
    return escape(tables.text(cell))


def _line(cells: Iterable[str]) -> str:
    return f"    {' & '.join(cells)} \\\\"


def _breakable(note: str) -> str:
    # A signature is one long word to TeX.
    return note.replace(r"\textbar{}", r"\textbar\allowbreak{}")

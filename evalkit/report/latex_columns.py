"""The columns of a table in LaTeX: numbers aligned at their points, intervals and signs beside them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from evalkit.records import Cell, Estimate, Table
from evalkit.report import latex_text
from evalkit.report import table as tables

Style: TypeAlias = Literal["plain", "siunitx"]

WIDEST_TEXT = 32  # characters of a line of text in a cell
NARROWEST = 8  # of a heading's lines
WIDEST_WORD = 16  # that a heading is not broken within
GAP = 2.0  # between columns, in characters
SMALL = 0.85  # width of the size that intervals are set in
SIGNS = {
    "†": r"\textdagger{}",
    "‡": r"\textdaggerdbl{}",
    "§": r"\textsection{}",
    "*": r"\textasteriskcentered{}",
}
POWER = re.compile(r"e\+(\d+)")  # of ten, in a printed number
DIGITS = re.compile(r"-?[\d,]+(\.\d+)?")  # a printed number that siunitx can align


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table, which takes several of LaTeX."""

    heading: tuple[str, ...]  # lines
    layout: str  # such as `r@{}l@{ }l`
    span: int  # columns of LaTeX
    cells: tuple[str, ...]  # of each row, with an & between the columns of LaTeX
    width: float  # in characters
    heights: tuple[int, ...]  # lines of each cell
    is_label: bool  # says what a row is, and so stands in every part of a table


def columns(table: Table, style: Style) -> list[Column]:
    """Set every column of a table."""
    labels = _labels(table)
    return [
        _texts(table, at, is_label=at < labels)
        if not tables.is_numeric(table, at)
        else _numbers(table, at, style, is_label=at < labels)
        for at in range(len(table.columns))
    ]


def heading(column: Column) -> str:
    """Set what stands above a column, over all its columns of LaTeX."""
    side = "l" if column.layout == "l" else "c" if column.span > 1 else "r"
    inner = column.heading[0] if len(column.heading) == 1 else _stack(column.heading, side, "b")
    if column.span > 1:
        return rf"\multicolumn{{{column.span}}}{{{side}}}{{{inner}}}"
    return f"{{{inner}}}" if column.layout.startswith("S") else inner


def _labels(table: Table) -> int:
    """Count the columns that say what a row is: text and whole numbers before the first score."""
    for at in range(len(table.columns)):
        contents = [tables.content(row[at]) for row in table.rows]
        if any(isinstance(each, float | Estimate) for each in contents) or all(each is None for each in contents):
            return at
    return 1


def _texts(table: Table, at: int, *, is_label: bool) -> Column:
    filled = [latex_text.lines(_text(row[at], table.intervals), WIDEST_TEXT) for row in table.rows]
    width = max((len(line) for lines in filled for line in lines), default=0)
    heading = _heading(table.columns[at], width)
    escaped = [[latex_text.escape(line) for line in lines] for lines in filled]
    cells = [
        _marks(row[at], each[0] if len(each) == 1 else _stack(each, "l", "t"))
        for row, each in zip(table.rows, escaped, strict=True)
    ]
    return Column(
        heading=tuple(map(latex_text.escape, heading)),
        layout="l",
        span=1,
        cells=tuple(cells),
        width=GAP + max(width, *map(len, heading)),
        heights=tuple(map(len, filled)),
        is_label=is_label,
    )


def _heading(name: str, width: float) -> list[str]:
    """Break a column's name to about the width of its cells, if possible between words."""
    longest = max((len(word) for word in name.split()), default=0)
    return latex_text.lines(name, max(round(width), NARROWEST, min(longest, WIDEST_WORD)))


def _text(cell: Cell, intervals: tables.Intervals) -> str:
    """Show the content of a column that holds text beside numbers."""
    return tables.text(tables.content(cell), intervals)


def _marks(cell: Cell, shown: str) -> str:
    if tables.is_best(cell):
        shown = rf"\textbf{{{shown}}}"
    return shown + _signs(cell)


def _numbers(table: Table, at: int, style: Style, *, is_label: bool) -> Column:
    cells = [row[at] for row in table.rows]
    contents = [tables.content(cell) for cell in cells]
    has_signs = any(tables.signs(cell) for cell in cells)
    has_intervals = any(isinstance(each, Estimate) for each in contents)
    values = [_value(cell, style) for cell in cells]
    parts = [values]
    layout = _aligned(cells) if style == "siunitx" else "r"
    width = float(max((len(tables.score(each)) for each in contents), default=0))
    if has_signs:
        layout += "@{}l"
        parts.append([_signs(cell) for cell in cells])
        width += SMALL * max(len(tables.signs(cell)) for cell in cells)
    if has_intervals:
        layout += r"@{\ }l"
        parts.append([_interval(each, table.intervals) for each in contents])
        shown = [tables.interval(each, table.intervals) for each in contents if isinstance(each, Estimate)]
        width += 0.5 + SMALL * max(map(len, shown))
    heading = _heading(table.columns[at], width)
    return Column(
        heading=tuple(map(latex_text.escape, heading)),
        layout=layout,
        span=len(parts),
        cells=tuple(" & ".join(each) for each in zip(*parts, strict=True)),
        width=GAP + max(width, *map(len, heading)),
        heights=(1,) * len(cells),
        is_label=is_label,
    )


def _value(cell: Cell, style: Style) -> str:
    """Set the number of a cell without its interval; what siunitx cannot align stands in braces."""
    content = tables.content(cell)
    if content is None:
        return "{--}" if style == "siunitx" else "--"
    shown, is_best = tables.score(content), tables.is_best(cell)
    if style == "siunitx" and DIGITS.fullmatch(shown):
        digits = shown.replace(",", "")
        return rf"\bfseries {digits}" if is_best else digits
    if not isinstance(content, bool):
        shown = _math(shown.replace(",", "{,}"))
        shown = rf"$\mathbf{{{shown}}}$" if is_best else f"${shown}$"
    return f"{{{shown}}}" if style == "siunitx" else shown


def _math(shown: str) -> str:
    """Write printed numbers, or an interval of them, as mathematics."""
    product = POWER.sub(lambda found: rf"\times 10^{{{int(found[1])}}}", shown)
    return product.replace("± ", r"\pm ").replace("inf", r"\infty")


def _aligned(cells: Sequence[Cell]) -> str:
    """Describe the numbers of a column to siunitx: their sign and digits before and after the point."""
    shown = [tables.score(cell) for cell in cells if tables.content(cell) is not None]
    plain = [each.replace(",", "") for each in shown if DIGITS.fullmatch(each)]
    whole = max((len(each.lstrip("-").partition(".")[0]) for each in plain), default=1)
    places = max((len(each.partition(".")[2]) for each in plain), default=0)
    sign = "-" if any(each.startswith("-") for each in plain) else ""
    return f"S[table-format={sign}{whole}.{places}]"


def _signs(cell: Cell) -> str:
    signs = "".join(SIGNS.get(each, latex_text.escape(each)) for each in tables.signs(cell))
    return rf"\textsuperscript{{{signs}}}" if signs else ""


def _interval(content: object, intervals: tables.Intervals) -> str:
    if not isinstance(content, Estimate):
        return ""
    return rf"{{\scriptsize${_math(tables.interval(content, intervals))}$}}"


def _stack(lines: Sequence[str], side: str, place: str) -> str:
    """Set lines below each other within a cell."""
    inner = r" \\ ".join(lines)
    return rf"\begin{{tabular}}[{place}]{{@{{}}{side}@{{}}}}{inner}\end{{tabular}}"

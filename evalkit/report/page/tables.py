"""A table as HTML: numbers aligned at the decimal point, and their values beside them for sorting."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from evalkit.records import Cell, Content, Estimate, Marked, Table
from evalkit.report import table as tables
from evalkit.report.page.markup import plain, text

WIDTHS = {".": 1.0, ",": 1.0, "[": 1.5, "]": 1.5, "-": 1.5, " ": 1.0}  # in halves of a digit, which all others count as
MOST_COLUMNS = 8  # that fit on paper with their intervals beside their values
LONG = 40  # characters of a text, beyond which its column breaks lines
WIDEST = 48  # halves of a digit, from which a slot grows with what stands in it


@dataclass(frozen=True, slots=True)
class _Column:
    is_number: bool
    is_long: bool  # text that takes several lines
    intervals: tables.Intervals
    signs: int  # room after the value, in halves of a digit
    low: int  # room of the lower bound
    high: int

    @classmethod
    def of(cls, table: Table, place: int) -> _Column:
        """Measure what stands in a column."""
        cells = [row[place] for row in table.rows]
        found = [each for cell in cells if isinstance(each := tables.content(cell), Estimate)]
        bounds = [_bounds(each, table.intervals) for each in found]
        return cls(
            is_number=tables.is_numeric(table, place),
            is_long=any(len(tables.score(cell)) > LONG for cell in cells),
            intervals=table.intervals,
            signs=max((_width(tables.signs(cell)) for cell in cells), default=0),
            low=max((_width(low) for low, _ in bounds), default=0),
            high=max((_width(high) for _, high in bounds), default=0),
        )


def render(table: Table, *, name: str) -> Iterator[str]:
    """Write caption, table and notes; `name` is the caption's id, unique in the page."""
    columns = [_Column.of(table, place) for place in range(len(table.columns))]
    yield f'<figure class="table"><figcaption id="{name}">{text(table.caption)}</figcaption>\n'
    yield f'<div class="scroll" tabindex="0" role="region" aria-labelledby="{name}">'
    kind = ' class="wide"' if len(columns) > MOST_COLUMNS else ""
    yield f'<table aria-labelledby="{name}"{kind}>\n<thead><tr>'
    for header, column in zip(table.columns, columns, strict=True):
        yield f'<th scope="col"{_class(column)}>{text(header)}</th>'
    yield "</tr></thead>\n<tbody>\n"
    for row in table.rows:
        yield f"<tr>{''.join(_cells(row, columns))}</tr>\n"
    yield "</tbody></table></div>\n"
    yield from notes(tables.remarks(table))
    yield "</figure>\n"


def notes(lines: Sequence[str]) -> Iterator[str]:
    """Write notes as a list, nothing where there are none."""
    if lines:
        yield f'<ul class="notes">{"".join(f"<li>{text(line)}</li>" for line in lines)}</ul>\n'


def widths() -> str:
    """Write the style of the slots that numbers stand in."""
    return "".join(f".w{halves}{{min-width:{halves / 2:g}ch}}" for halves in range(1, WIDEST + 1))


def _cells(row: Sequence[Cell], columns: Sequence[_Column]) -> Iterator[str]:
    for place, (cell, column) in enumerate(zip(row, columns, strict=True)):
        tag = "td" if place or column.is_number else 'th scope="row"'
        yield f"<{tag}{_class(column)}{_value(tables.content(cell))}>{_shown(cell, column)}</{tag[:2]}>"


def _class(column: _Column) -> str:
    return ' class="number"' if column.is_number else ' class="long"' if column.is_long else ""


def _value(content: Content) -> str:
    """Put a number beside what is shown of it; scripts sort by it, and set what has none last."""
    number = content.value if isinstance(content, Estimate) else content
    if number is None:
        return " data-missing"
    return "" if isinstance(number, str | bool) or not math.isfinite(number) else f' data-value="{number!r}"'


def _shown(cell: Cell, column: _Column) -> str:
    content = tables.content(cell)
    shown = text(tables.score(cell))
    if isinstance(cell, Marked) and cell.is_best:
        shown = f"<b>{shown}</b>"
    if column.signs and column.is_number:
        shown += f'<sup class="{_slot(column.signs)}">{text(tables.signs(cell))}</sup>'
    elif column.signs:
        shown += f"<sup>{text(tables.signs(cell))}</sup>"
    if not column.high:
        return shown
    # A number without an interval keeps the room of one, so that it stands under the others.
    low, high = _bounds(content, column.intervals) if isinstance(content, Estimate) else ("", "")
    title = f' title="n = {content.n:,}"' if isinstance(content, Estimate) else ""
    slots = "".join(
        f'<span class="{_slot(room)}">{bound}</span> ' for bound, room in ((low, column.low), (high, column.high))
    )
    return f'<span{title}>{shown}</span> <span class="interval">{slots.rstrip()}</span>'


def _slot(halves: int) -> str:
    return f"slot w{min(halves, WIDEST)}"


def _bounds(estimate: Estimate, intervals: tables.Intervals) -> tuple[str, str]:
    """Print an interval in two parts, which are aligned each for itself."""
    half = tables.half_width(estimate) if intervals == "plusminus" else None
    return (
        (f"[{tables.number(estimate.low)},", f"{tables.number(estimate.high)}]") if half is None else ("", f"± {half}")
    )


def _width(shown: Iterable[str]) -> int:
    return math.ceil(sum(WIDTHS.get(character, 2.0) for character in shown))


def label(value: str) -> str:
    """Write a text as an attribute's value, on one line."""
    return plain(tables.clean(value))

"""What a cell of a table says: its content and marks, and how numbers and labels print, alike in every renderer."""

from __future__ import annotations

import unicodedata
from dataclasses import replace
from typing import Literal, TypeAlias

from evalkit.records import Cell, Content, Estimate, Marked, Result, Table

Intervals: TypeAlias = Literal["bracket", "plusminus"]

LARGE = 1e7  # from which a number is shown by its power of ten
NOTHING = "–"  # what an absent number prints as
DIRECTIONS = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}  # of Unicode: turn other text round
SYMMETRIC = "± stands where the 95 % interval reaches as far below the number as above it, to the digits shown."


def clean(label: str) -> str:
    r"""Write whitespace as single spaces, and what would act on a terminal or a page as its escape, such as `\x1b`."""
    return "".join(
        each.encode("unicode_escape").decode()
        if unicodedata.category(each) in {"Cc", "Cs"} or unicodedata.bidirectional(each) in DIRECTIONS
        else each
        for each in " ".join(label.split())
    )


def count(number: int, noun: str) -> str:
    """Write `0 shots`, `1 shot`, `2 shots`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def content(cell: Cell) -> Content:
    """Take a cell's marks off."""
    return cell.content if isinstance(cell, Marked) else cell


def is_best(cell: Cell) -> bool:
    """Whether a cell is set in bold."""
    return isinstance(cell, Marked) and cell.is_best


def signs(cell: Cell) -> str:
    """List a cell's signs as one text, such as `†‡`; empty for none."""
    return "".join(cell.signs) if isinstance(cell, Marked) else ""


def marked(content: Content, *, is_best: bool = False, signs: tuple[str, ...] = ()) -> Cell:
    """Mark a cell where there is something to mark."""
    return Marked(content, is_best, signs) if content is not None and (is_best or signs) else content


def number(value: float) -> str:
    """Print a value with two decimals, as the paper's Table H.1; never `-0.00`, and 1.23e+09 for 1,234,567,890."""
    if abs(value) >= LARGE:
        return f"{value:.2e}"
    return f"{round(value, 2) + 0.0:.2f}"


def interval(estimate: Estimate, intervals: Intervals = "bracket") -> str:
    """Print the interval as its bounds; or as `± 1.50` where that is asked for, and the bounds lie alike."""
    half = half_width(estimate) if intervals == "plusminus" else None
    return f"[{number(estimate.low)}, {number(estimate.high)}]" if half is None else f"± {half}"


def half_width(estimate: Estimate) -> str | None:
    """Print how far both bounds are from the value; None where that differs in the digits shown."""
    below, above = number(estimate.value - estimate.low), number(estimate.high - estimate.value)
    return below if below == above else None


def plusminus(table: Table) -> Table:
    """Print intervals as ± where they are symmetric, which a note explains."""
    found = [content(cell) for row in table.rows for cell in row]
    is_used = any(isinstance(each, Estimate) and half_width(each) is not None for each in found)
    return replace(table, intervals="plusminus", notes=(*[SYMMETRIC] * is_used, *table.notes))


def score(cell: Cell) -> str:
    """Print a cell as plain text, an estimate without its interval."""
    inner = content(cell)
    if inner is None:
        return NOTHING
    if isinstance(inner, Estimate):
        return number(inner.value)
    if isinstance(inner, bool):
        return str(inner).lower()
    if isinstance(inner, int):
        return f"{inner:,}"
    if isinstance(inner, float):
        return number(inner)
    return inner


def text(cell: Cell, intervals: Intervals = "bracket") -> str:
    """Print a cell as plain text, with its interval and signs; what is best looks like all else."""
    inner = content(cell)
    shown = f"{score(cell)}{signs(cell)}"
    return f"{shown} {interval(inner, intervals)}" if isinstance(inner, Estimate) else shown


def is_numeric(table: Table, column: int) -> bool:
    """Whether a column holds numbers, and so is set to the right."""
    return all(not isinstance(content(row[column]), str) for row in table.rows)


def remarks(table: Table) -> tuple[str, ...]:
    """List all that stands under a table: its notes, then what the numbers rest on."""
    return (*table.notes, *table.sources)


def percent(estimate: Estimate) -> Estimate:
    """Scale a proportion; rounding at 1e-10 takes off what 100 * 0.58 adds."""
    value, low, high = (round(100 * x, 10) for x in (estimate.value, estimate.low, estimate.high))
    return Estimate(value=value, low=low, high=high, n=estimate.n)


def scaled_number(result: Result, value: float | None) -> float | None:
    """Put a number beside a result's estimate in the unit that tables show the estimate in."""
    return value if value is None or not result.is_proportion else round(100 * value, 10)


def metric(result: Result) -> str:
    """Name a result's metric with the unit that tables show it in."""
    return f"{result.metric}, %" if result.is_proportion else result.metric


def scaled(result: Result) -> Estimate | None:
    """Give a result's estimate as tables show it, proportions in percent."""
    if result.estimate is None or not result.is_proportion:
        return result.estimate
    return percent(result.estimate)

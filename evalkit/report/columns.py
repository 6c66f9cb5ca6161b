"""A table as typed columns, for programs: an estimate in four, marks in columns of their own, full precision."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from evalkit.records import Cell, Estimate, Table
from evalkit.report import table as tables

Kind: TypeAlias = Literal["text", "integer", "number", "truth"]
Value: TypeAlias = str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class Column:
    """Values of one type."""

    name: str  # no other column's
    kind: Kind
    values: tuple[Value, ...]  # None where a cell is absent


def columns(table: Table) -> list[Column]:
    """Take a table apart: beside a column X stand `X low`, `X high` and `X n`, where it has estimates.

    `X best` and `X signs` follow where any cell is marked so. A column of numbers and text is text.
    """
    found = [
        column for at, name in enumerate(table.columns) for column in _expand(name, [row[at] for row in table.rows])
    ]
    return _distinct(found)


def _expand(name: str, cells: Sequence[Cell]) -> Iterator[Column]:
    contents = [tables.content(cell) for cell in cells]
    yield _column(name, [each.value if isinstance(each, Estimate) else each for each in contents])
    estimates = [each if isinstance(each, Estimate) else None for each in contents]
    if any(estimates):
        yield Column(f"{name} low", "number", tuple(None if each is None else each.low for each in estimates))
        yield Column(f"{name} high", "number", tuple(None if each is None else each.high for each in estimates))
        yield Column(f"{name} n", "integer", tuple(None if each is None else each.n for each in estimates))
    if any(tables.is_best(cell) for cell in cells):
        yield Column(f"{name} best", "truth", tuple(tables.is_best(cell) for cell in cells))
    if any(tables.signs(cell) for cell in cells):
        yield Column(f"{name} signs", "text", tuple(tables.signs(cell) or None for cell in cells))


def _column(name: str, values: Sequence[Value]) -> Column:
    kind = _kind(values)
    if kind == "number":
        return Column(name, kind, tuple(None if value is None else float(value) for value in values))
    if kind == "text":
        return Column(name, kind, tuple(None if value is None else str(value) for value in values))
    return Column(name, kind, tuple(values))


def _kind(values: Iterable[Value]) -> Kind:
    types = {type(value) for value in values if value is not None}
    if types == {bool}:
        return "truth"
    if types == {int}:
        return "integer"
    return "number" if types and types <= {int, float} else "text"


def _distinct(found: Sequence[Column]) -> list[Column]:
    """Add a number to the names of columns that are called as another before them."""
    given = {column.name for column in found}
    named: dict[str, Column] = {}
    for column in found:
        name, number = column.name, 1
        while name in named or (number > 1 and name in given):
            number += 1
            name = f"{column.name} ({number})"
        named[name] = replace(column, name=name)
    return list(named.values())

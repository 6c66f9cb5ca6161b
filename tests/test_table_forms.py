"""Marks in every form of a table, and forms that programs read back to the same numbers."""

import csv as csv_module
import io
import math
from pathlib import Path
from typing import Any

import pandas
import pyarrow.parquet
import pytest

from evalkit.errors import StorageError
from evalkit.records import Estimate, Marked, Table
from evalkit.report import columns, csv, files, json, markdown, parquet, terminal
from evalkit.report import table as tables
from evalkit.report.content import Page

THIRD = Estimate(100 / 3, 0.1 + 0.2, 99.9, n=3)
TABLE = Table(
    columns=("task", "n", "0 shots, %", "GPT-3", "is best"),
    rows=(
        ("2D+", 2000, Marked(THIRD, is_best=True, signs=("†", "*")), 76.9, True),
        ("=1+1", 3, None, None, False),
        ("nothing", None, Estimate(1e-300, -1e300, math.pi, n=7), Marked(0.1, is_best=True), None),
    ),
    caption="Exact match",
    notes=("† a sign",),
    sources=("2d|v1",),
)
TYPES = {
    "task": "string",
    "n": "int64",
    "0 shots, %": "double",
    "0 shots, % low": "double",
    "0 shots, % high": "double",
    "0 shots, % n": "int64",
    "0 shots, % best": "bool",
    "0 shots, % signs": "string",
    "GPT-3": "double",
    "GPT-3 best": "bool",
    "is best": "bool",
}


def read(form: str, table: Table) -> pandas.DataFrame:
    if form == "csv":
        return pandas.read_csv(io.StringIO(csv.render(table)))
    if form == "json":
        return pandas.read_json(io.StringIO(json.render(table)), orient="table", precise_float=True)
    return pandas.read_parquet(io.BytesIO(parquet.render(table)))


def values(column: Any) -> list[object]:
    return [None if pandas.isna(value) else value for value in column]


@pytest.mark.parametrize("form", ["csv", "json", "parquet"])
def test_pandas_reads_the_same_numbers_from_every_form(form: str) -> None:
    found = read(form, TABLE)
    assert list(found.columns) == list(TYPES)
    assert values(found["n"]) == [2000, 3, None]
    assert values(found["0 shots, %"]) == [100 / 3, None, 1e-300]
    assert values(found["0 shots, % low"]) == [0.1 + 0.2, None, -1e300]
    assert values(found["0 shots, % high"]) == [99.9, None, math.pi]
    assert values(found["0 shots, % n"]) == [3, None, 7]
    assert values(found["GPT-3"]) == [76.9, None, 0.1]


@pytest.mark.parametrize("form", ["csv", "json", "parquet"])
def test_marks_are_columns_of_their_own(form: str) -> None:
    found = read(form, TABLE)
    assert values(found["0 shots, % best"]) == [True, False, False]
    assert values(found["0 shots, % signs"]) == ["†*", None, None]
    assert values(found["GPT-3 best"]) == [False, False, True]
    assert "GPT-3 signs" not in found.columns


def test_parquet_has_types_and_says_what_it_is() -> None:
    found = pyarrow.parquet.read_table(io.BytesIO(parquet.render(TABLE)))
    assert {name: str(kind) for name, kind in zip(found.schema.names, found.schema.types, strict=True)} == TYPES
    assert found.schema.metadata[b"caption"] == b"Exact match"


def test_numbers_and_text_in_one_column_are_text() -> None:
    [column] = columns.columns(Table(("x",), ((1,), ("a",), (None,)), "mixed"))
    assert (column.kind, column.values) == ("text", ("1", "a", None))


def test_columns_of_one_name_are_told_apart() -> None:
    found = columns.columns(Table(("x", "x", "x (2)", "x"), ((1, 2, 3, 4),), "repeated"))
    assert [column.name for column in found] == ["x", "x (3)", "x (2)", "x (4)"]


def test_a_number_that_json_lacks_is_null() -> None:
    assert '"x": null' in json.render(Table(("x",), ((math.inf,),), "infinite"))


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@sum", "\tx", "\rx", '=HYPERLINK("http://a","b")'])
def test_text_that_a_spreadsheet_would_compute_is_neutralised(text: str) -> None:
    header, row = csv_module.reader(io.StringIO(csv.render(Table((text, "x"), ((text, -1.5),), "hostile")), newline=""))
    assert header == [f"'{text}", "x"]
    assert row == [f"'{text}", "-1.5"]  # a number is one


def test_markdown_shows_marks() -> None:
    text = markdown.render(TABLE)
    assert r"| **33.33**<sup>†\*</sup> [0.30, 99.90] |" in text
    assert "| **0.10** |" in text
    assert text.endswith("- † a sign\n- 2d|v1\n")


def test_a_terminal_shows_marks_in_bold_or_with_stars() -> None:
    plain, coloured = terminal.render(TABLE), terminal.render(TABLE, is_coloured=True)
    assert "**33.33**†* [0.30, 99.90]" in plain
    assert "\x1b[1m33.33\x1b[0m†*" in coloured
    assert plain.endswith("† a sign\n2d|v1\n")


def test_a_terminal_without_signs_spells_them() -> None:
    text = terminal.render(tables.plusminus(TABLE), encoding="ascii")
    text.encode("ascii")
    assert "**33.33**(1)*" in text
    assert "(1) a sign" in text


def test_marks_are_for_cells_that_hold_something() -> None:
    assert tables.marked(None, is_best=True) is None
    assert tables.marked(1.0) == 1.0
    assert tables.marked(1.0, signs=("†",)) == Marked(1.0, signs=("†",))


def test_files_are_those_that_are_asked_for(tmp_path: Path) -> None:
    files.write(tmp_path, Page("t", (TABLE, TABLE)), forms=("parquet", "json"))
    found = sorted(path.name for path in tmp_path.iterdir())
    assert found == ["table-2.json", "table-2.parquet", "table.json", "table.parquet"]


def test_a_place_that_cannot_be_written_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="cannot write"):
        files.write(tmp_path / "file" / "folder", Page("t", (TABLE,)), forms=("parquet",))

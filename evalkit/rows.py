"""Read the rows of data files: jsonl, json, csv, parquet, tsv and txt, each row with the place where it stands."""

from __future__ import annotations

import csv
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from io import StringIO
from pathlib import Path
from typing import TypeAlias

from evalkit import registry, text_file
from evalkit.errors import DataError

Row: TypeAlias = dict[str, object]
Place: TypeAlias = str  # where a row stands, such as `test.jsonl:17`

TEXT = ".txt"
QUOTED = re.compile(r'"(?:[^"]|"")*""(?:[^"]|"")*"')  # what a writer of CSV makes of a cell with quotes in it


def read(path: Path) -> Iterator[tuple[Place, Row]]:
    """Yield the rows of a file, or of all data files in a folder by name; DataError names file and line.

    A txt file is one row, its whole text. In a folder such files are data only where there are no others.
    """
    if path.is_dir():
        found = sorted(file for file in path.iterdir() if file.suffix in READERS and file.is_file())
        files = [file for file in found if file.suffix != TEXT] or found
        if not files:
            raise DataError(f"{path}: found no data files in this folder, expected {', '.join(READERS)}")
    else:
        _check_file(path)
        if path.suffix not in READERS:
            raise DataError(f"{path}: found a file ending in {path.suffix!r}, expected {', '.join(READERS)}")
        files = [path]
    for file in files:
        with _named(file):
            yield from READERS[file.suffix](file)


def read_pairs(source: Path, target: Path) -> Iterator[tuple[Place, Row]]:
    """Yield a row with `source` and `target` for each line that two text files share; a place names the source's line.

    A line that is blank in both is left out. Raises DataError where only one is blank, and, before any row, where one
    file has more lines.
    """
    counts = [_count_lines(path) for path in (source, target)]
    if counts[0] != counts[1]:
        raise DataError(
            f"{source}: found {counts[0]:,} lines, and {counts[1]:,} in {target}; expected as many, one for each other"
        )
    pairs = zip(_lines(source), _lines(target), strict=True)
    for number, (left, right) in enumerate(pairs, start=1):
        if bool(left.strip()) != bool(right.strip()):
            blank, other = (target, source) if left.strip() else (source, target)
            raise DataError(f"{blank}:{number}: found a blank line, expected one that goes with {other}:{number}")
        if left.strip():
            yield f"{source}:{number}", {"source": left, "target": right}


def _check_file(path: Path) -> None:
    """Raise DataError where there is no such file."""
    if path.is_symlink() and not path.exists():
        raise DataError(f"{path}: found a link that leads to no file, expected a data file; mend the link")
    if not path.exists():
        raise DataError(f"{path}: no such file; {_neighbours(path)}")


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Turn what the system says of a file into DataError."""
    try:
        yield
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error


def _neighbours(path: Path) -> str:
    beside = [file.name for file in path.parent.iterdir()] if path.parent.is_dir() else []
    hint = registry.suggest(path.name, beside) if beside else ""
    return hint if hint.startswith("did") else "give a data file, a folder of data files, or a hub id"


def _jsonl_rows(path: Path) -> Iterator[tuple[Place, Row]]:
    for number, line in enumerate(_lines(path), start=1):
        place = f"{path}:{number}"
        try:
            if text := line.strip():
                yield place, checked(json.loads(text, object_pairs_hook=_object), place=place)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{place}: broken JSON: {_reason(error)}; expected one object a line") from error


def _json_rows(path: Path) -> Iterator[tuple[Place, Row]]:
    text = text_file.read(path)
    if not text.lstrip().startswith("["):  # many files of lines are called .json
        yield from _jsonl_rows(path)
        return
    try:
        rows = json.loads(text, object_pairs_hook=_object)
    except (ValueError, RecursionError) as error:
        line = f":{error.lineno}" if isinstance(error, json.JSONDecodeError) else ""
        raise DataError(f"{path}{line}: broken JSON: {_reason(error)}; expected an array of objects") from error
    for number, row in enumerate(rows, start=1):
        place = f"{path}: row {number}"
        yield place, checked(row, place=place)


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Refuse a key that stands twice, of which JSON readers silently take the last."""
    made = dict(pairs)
    if len(made) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"found key {next(name for name in names if names.count(name) > 1)!r} twice in one object")
    return made


def _reason(error: Exception) -> str:
    # Python's own words name a function of Python, which is no help here.
    return "found a number of thousands of digits" if "set_int_max_str_digits" in str(error) else str(error)


def _csv_rows(path: Path) -> Iterator[tuple[Place, Row]]:
    return _cells(path, name="CSV", dialect=csv.excel)


def _tsv_rows(path: Path) -> Iterator[tuple[Place, Row]]:
    for place, row in _cells(path, name="TSV", dialect=_Tabs):
        for column, cell in row.items():
            if QUOTED.fullmatch(str(cell)):
                raise DataError(
                    f"{place}: column {column!r}: found a quoted cell with quotes doubled, expected text as it stands "
                    "between tabs; save the file as .csv"
                )
        yield place, row


class _Tabs(csv.Dialect):
    """Cells between tabs, and nothing quoted: a quote is a letter as any other (IANA, text/tab-separated-values)."""

    delimiter = "\t"
    quoting = csv.QUOTE_NONE
    quotechar = None
    lineterminator = "\n"


def _cells(path: Path, *, name: str, dialect: type[csv.Dialect]) -> Iterator[tuple[Place, Row]]:
    csv.field_size_limit(2**31 - 1)  # the default refuses passages over 128 KiB
    reader = csv.reader(StringIO(text_file.read(path), newline=""), dialect, strict=True)
    try:
        header = next(reader, [])
        if len(set(header)) != len(header):
            repeated = next(name for name in header if header.count(name) > 1)
            raise DataError(f"{path}:1: found column {repeated!r} twice, expected names that differ")
        for cells in reader:
            place = f"{path}:{reader.line_num}"
            if cells and len(cells) != len(header):
                raise DataError(f"{place}: found {len(cells)} cells, expected {len(header)} as in the first line")
            if cells:
                yield place, dict(zip(header, cells, strict=True))
    except csv.Error as error:
        raise DataError(f"{path}:{reader.line_num}: broken {name}: {error}") from error


def _text_rows(path: Path) -> Iterator[tuple[Place, Row]]:
    text = text_file.read(path)
    if not text.strip():
        raise DataError(f"{path}: found a blank file, expected a document")
    yield str(path), {"text": text}


def _parquet_rows(path: Path) -> Iterator[tuple[Place, Row]]:
    import pyarrow
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as file:
            number = 0
            for batch in file.iter_batches():
                for row in batch.to_pylist():
                    number += 1
                    place = f"{path}: row {number}"
                    yield place, checked(row, place=place)
    except pyarrow.ArrowException as error:
        raise DataError(f"{path}: broken Parquet: {str(error).splitlines()[0]}") from error


def checked(value: object, *, place: Place) -> Row:
    """Take a row whose cells are what JSON holds; DataError for what is not a row."""
    if not isinstance(value, Mapping):
        raise DataError(f"{place}: found {type(value).__name__}, expected an object of columns and values")
    try:
        return {str(column): _plain(cell) for column, cell in value.items()}
    except UnicodeEncodeError as error:
        raise DataError(f"{place}: found half of a surrogate pair, expected text that UTF-8 can hold") from error


def _plain(value: object) -> object:
    """Reduce a cell to what JSON holds: a missing number is None, dates and the like are their text.

    Raises UnicodeEncodeError for text that no file can hold.
    """
    if isinstance(value, str):
        value.encode()
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else str(value)
    if value is None or isinstance(value, str | int | float):
        return value
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return value.hex() if isinstance(value, bytes) else str(value)


def _lines(path: Path) -> Iterator[str]:
    """Yield the lines of a text without their ends; only a newline ends one, as in what counts lines."""
    # Decoded line by line, so that a bad byte has a line number and large files stay on disk.
    with _named(path), path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                yield line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
            except UnicodeDecodeError as error:
                raise DataError(text_file.not_utf8(f"{path}:{number}", error)) from error


def _count_lines(path: Path) -> int:
    _check_file(path)
    with _named(path), path.open("rb") as lines:
        return sum(1 for _ in lines)


READERS: dict[str, Callable[[Path], Iterator[tuple[Place, Row]]]] = {
    ".jsonl": _jsonl_rows,
    ".json": _json_rows,
    ".csv": _csv_rows,
    ".parquet": _parquet_rows,
    ".tsv": _tsv_rows,
    TEXT: _text_rows,
}

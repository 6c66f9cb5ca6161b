"""Load examples: from a generator, a data file, a folder of data files, or a dataset of the Hugging Face hub.

Rows of files become examples by `Task.columns`, which says in what column each of evalkit's names is found:

    target      the right answer, or a list of right answers; the first is shown in demonstrations
    label       instead of target: the place of the right answer among the choices from 0, or its text
    choices     the candidate answers, where the task file has none that all examples share
    id          the example's own name; without it, a hash of the row
    cluster     equal for examples that are near-duplicates of each other

A name that is not in `Task.columns` is its own column. All other columns are fields for the template under their own
names, and any further name in `Task.columns` renames one. Answers get the space before them that files leave out.
A row without the task's columns but with `context` and `completion`, the form of GPT-3's released files, brings its own
prompt: the context is shown as it stands and the completion is the target.
"""

from __future__ import annotations

import csv
import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import TypeAlias

from evalkit import registry
from evalkit.errors import DataError, UsageError
from evalkit.records import Example, Source, Task
from evalkit.text import digest, generator, shuffled

ANSWERS = ("target", "label", "choices")
IDENTITY = ("id", "cluster")
READY_MADE = ("context", "completion")

Row: TypeAlias = dict[str, object]
Place: TypeAlias = str  # where a row stands, such as `test.jsonl:17`


def load(source: Source, *, task: Task) -> tuple[Example, ...]:
    """Load all examples of one of a task's sources, in the source's order.

    Raises DataError for files that are missing, broken, empty or lack a column, TaskError for a generator's settings.
    """
    if source.kind == "generator":
        made: tuple[Example, ...] = registry.resolve(registry.GENERATORS, source.location)(**source.settings)
        return made
    rows = _hub_rows(source) if source.kind == "hub" else _file_rows(Path(source.location))
    examples = tuple(_examples(rows, task=task))
    if not examples:
        raise DataError(f"{source.location}: found no rows, expected at least one")
    return examples


def with_data(task: Task, data: str, *, pool: str | None = None) -> Task:
    """Return the task on other data: a path or a hub id.

    Without data for the pool, demonstrations come from the data itself, as only those surely have its form.
    """
    return replace(task, source=locate(data), pool=None if pool is None else locate(pool))


def locate(data: str) -> Source:
    """Tell a path from a hub id, `owner/name` or `owner/name:split`; what begins with `hub:` is always an id."""
    name, _, split = data.removeprefix("hub:").partition(":")
    is_path = Path(data).exists() or Path(data).suffix in READERS
    is_id = re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", name) is not None
    if data.startswith("hub:") or (is_id and not is_path):
        return Source("hub", name, {"split": split} if split else {})
    return Source("file", data, {})


def sample(examples: Sequence[Example], *, limit: int | None, seed: int) -> tuple[Example, ...]:
    """Take a random sample of `limit` examples in the dataset's order; a smaller limit takes a subset of a larger's."""
    if limit is None or limit >= len(examples):
        return tuple(examples)
    if limit < 1:
        raise UsageError(f"found a limit of {limit} examples, expected at least 1")
    order = shuffled(len(examples), generator("sample", seed))
    chosen = sorted(place for place, _ in zip(order, range(limit), strict=False))
    return tuple(examples[place] for place in chosen)


def _examples(rows: Iterable[tuple[Place, Row]], *, task: Task) -> Iterator[Example]:
    places: dict[str, Place] = {}  # of each id, for the message
    copies: dict[str, int] = {}
    for place, row in rows:
        column = task.columns.get("id", "id")
        if row.get(column) is None:
            name = digest(row)
            copies[name] = copies.get(name, 0) + 1
            if copies[name] > 1:  # equal rows: which is called the second does not matter
                name = f"{name}-{copies[name]}"
        else:
            name = str(row[column])
            if name in places:
                raise DataError(
                    f"{place}: found id {name!r} again, first at {places[name]}; expected ids that differ, "
                    f"or no column {column!r}"
                )
        places[name] = place
        yield _example(row, name=name, place=place, task=task)


def _example(row: Row, *, name: str, place: Place, task: Task) -> Example:
    wanted = {key: column for key, column in task.columns.items() if key not in IDENTITY}
    missing = [column for column in wanted.values() if column not in row]
    is_ready_made = all(column in row for column in READY_MADE) and (bool(missing) or not _has_answer(row, task))
    if missing and not is_ready_made:
        raise DataError(f"{place}: missing column {missing[0]!r}; {_columns_found(row)}")
    cluster = row.get(task.columns.get("cluster", "cluster"))
    fields = dict(row)
    if is_ready_made:
        choices, targets = _spaced(task.choices), _texts(row["completion"], column="completion", place=place)
    else:
        fields |= {key: row[column] for key, column in wanted.items() if key not in ANSWERS}
        choices = _choices(row, place=place, task=task)
        targets = _targets(row, choices=choices, place=place, task=task)
    if task.kind == "choice":
        _check_choice(targets, choices, place=place)
    return Example(name, fields, targets, choices, None if cluster is None else str(cluster))


def _has_answer(row: Row, task: Task) -> bool:
    return any(task.columns.get(key, key) in row for key in ("target", "label"))


def _choices(row: Row, *, place: Place, task: Task) -> tuple[str, ...]:
    column = task.columns.get("choices", "choices")
    if task.choices or not isinstance(row.get(column), list):
        return _spaced(task.choices)
    return _spaced(_texts(row[column], column=column, place=place))


def _targets(row: Row, *, choices: tuple[str, ...], place: Place, task: Task) -> tuple[str, ...]:
    column = task.columns.get("target", "target")
    if column in row:
        return _spaced(_texts(row[column], column=column, place=place))
    label = task.columns.get("label", "label")
    if label not in row or not choices:
        expected = f"{column!r}, or {label!r} with choices" if label not in row else "'choices' beside the label"
        raise DataError(f"{place}: missing column {expected}; {_columns_found(row)}")
    value = row[label]
    if isinstance(value, int) and 0 <= value < len(choices):  # true and false are 1 and 0
        return (choices[value],)
    if isinstance(value, str) and _spaced((value,))[0] in choices:
        return _spaced((value,))
    raise DataError(
        f"{place}: column {label!r}: found {value!r}, expected 0 to {len(choices) - 1} or one of the choices"
    )


def _check_choice(targets: tuple[str, ...], choices: tuple[str, ...], *, place: Place) -> None:
    if len(choices) < 2:
        raise DataError(f"{place}: found {len(choices)} choices, expected at least 2, in the row or in the task file")
    for target in targets:
        if target not in choices:
            raise DataError(f"{place}: found the answer {target!r}, expected one of the choices: {', '.join(choices)}")


def _texts(value: object, *, column: str, place: Place) -> tuple[str, ...]:
    """Read a text, a number or a list of those."""
    values = value if isinstance(value, list) else [value]
    for each in values:
        if not isinstance(each, str | int | float):
            found = "nothing" if each is None else type(each).__name__
            raise DataError(f"{place}: column {column!r}: found {found}, expected text, a number, or a list of those")
    if not values:
        raise DataError(f"{place}: column {column!r}: found an empty list, expected at least one answer")
    return tuple(str(each) for each in values)


def _spaced(answers: Iterable[str]) -> tuple[str, ...]:
    """Put one space before each answer that does not begin with whitespace."""
    return tuple(answer if answer[:1].isspace() else f" {answer}" for answer in answers)


def _columns_found(row: Row) -> str:
    return f"columns found: {', '.join(row) or 'none'}"


def _file_rows(path: Path) -> Iterator[tuple[Place, Row]]:
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if file.suffix in READERS and file.is_file())
        if not files:
            raise DataError(f"{path}: found no data files in this folder, expected {', '.join(READERS)}")
    elif not path.exists():
        raise DataError(f"{path}: no such file; {_neighbours(path)}")
    elif path.suffix not in READERS:
        raise DataError(f"{path}: found a file ending in {path.suffix!r}, expected {', '.join(READERS)}")
    else:
        files = [path]
    for file in files:
        try:
            yield from READERS[file.suffix](file)
        except OSError as error:
            raise DataError(f"{file}: cannot be read: {error.strerror or error}") from error


def _neighbours(path: Path) -> str:
    beside = [file.name for file in path.parent.iterdir()] if path.parent.is_dir() else []
    hint = registry.suggest(path.name, beside) if beside else ""
    return hint if hint.startswith("did") else "give a data file, a folder of data files, or a hub id"


def _jsonl_rows(path: Path) -> Iterator[tuple[Place, Row]]:
    # Decoded line by line, so that a bad byte has a line number and large files stay on disk.
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            place = f"{path}:{number}"
            try:
                text = line.decode("utf-8-sig" if number == 1 else "utf-8").strip()
                if text:
                    yield place, _row(json.loads(text), place=place)
            except UnicodeDecodeError as error:
                raise DataError(_not_utf8(place, error)) from error
            except (json.JSONDecodeError, RecursionError) as error:
                raise DataError(f"{place}: broken JSON: {error}; expected one object a line") from error


def _json_rows(path: Path) -> Iterator[tuple[Place, Row]]:
    text = _read_text(path)
    if not text.lstrip().startswith("["):  # many files of lines are called .json
        yield from _jsonl_rows(path)
        return
    try:
        rows = json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        line = f":{error.lineno}" if isinstance(error, json.JSONDecodeError) else ""
        raise DataError(f"{path}{line}: broken JSON: {error}; expected an array of objects") from error
    for number, row in enumerate(rows, start=1):
        place = f"{path}: row {number}"
        yield place, _row(row, place=place)


def _csv_rows(path: Path) -> Iterator[tuple[Place, Row]]:
    csv.field_size_limit(2**31 - 1)  # the default refuses passages over 128 KiB
    reader = csv.reader(StringIO(_read_text(path), newline=""), strict=True)
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
        raise DataError(f"{path}:{reader.line_num}: broken CSV: {error}") from error


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
                    yield place, _row(row, place=place)
    except pyarrow.ArrowException as error:
        raise DataError(f"{path}: broken Parquet: {str(error).splitlines()[0]}") from error


def _hub_rows(source: Source) -> Iterator[tuple[Place, Row]]:
    import datasets

    split = str(source.settings.get("split", "test"))
    try:
        # No code of a dataset is ever run: trust_remote_code keeps its default, False.
        rows = datasets.load_dataset(
            source.location,
            source.settings.get("config"),
            split=split,
            revision=source.settings.get("revision"),
        )
    except Exception as error:  # the libraries beneath raise dozens of kinds, none with a common base
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise DataError(
            f"{source.location}: no such file or folder here, and split {split!r} of a hub dataset of this name "
            f"cannot be loaded: {reason}"
        ) from error
    for number, row in enumerate(rows, start=1):
        place = f"{source.location}, split {split}, row {number}"
        yield place, _row(row, place=place)


def _row(value: object, *, place: Place) -> Row:
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


def _read_text(path: Path) -> str:
    content = path.read_bytes()
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise DataError(_not_utf8(f"{path}:{line}", error)) from error


def _not_utf8(place: Place, error: UnicodeDecodeError) -> str:
    return f"{place}: found the byte 0x{error.object[error.start]:02x}, which is not UTF-8; save the file as UTF-8"


READERS: dict[str, Callable[[Path], Iterator[tuple[Place, Row]]]] = {
    ".jsonl": _jsonl_rows,
    ".json": _json_rows,
    ".csv": _csv_rows,
    ".parquet": _parquet_rows,
}

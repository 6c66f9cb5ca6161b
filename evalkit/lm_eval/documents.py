"""Load the documents of an lm_eval task and turn them into examples."""

from __future__ import annotations

import contextlib
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from evalkit import hub, rows
from evalkit.errors import DataError
from evalkit.lm_eval import code, rendering, yaml_files
from evalkit.lm_eval.rendering import Document
from evalkit.records import Example, Source
from evalkit.text import digest

# What `datasets` reads from files that it is given.
FILES = frozenset({"json", "csv", "parquet", "arrow", "text", "xml"})
NEVER_GIVEN = frozenset({"trust_remote_code"})  # no code of a dataset is ever run
PLACES = ("data_files", "data_dir")  # arguments that may be paths beside the task file
PATTERN = re.compile(r"://|[*?\[]")  # of a place elsewhere, or of many files
READINGS = ("doc_to_text", "doc_to_target", "doc_to_choice")
DATA = "data"  # setting with other data than the task's own


def examples(source: Source) -> Iterator[Example]:
    """Yield the examples of a source that an lm_eval task has, in the data's order.

    An example is named by its column `id` where that has as many values as documents, else by a hash of the document.
    Raises DataError for data that cannot be had, TaskError for templates and functions that fail.
    """
    label = _label(source.settings)
    form = replace(rendering.form(source.settings), shown=label)
    placed = _chosen(list(_placed(source)), source)
    for place, document in placed:
        if not isinstance(document, Mapping):
            raise DataError(f"{label}: {place}: found {type(document).__name__}, expected a mapping")
    found = [document for _, document in placed]
    _check_columns(placed, source, form=form)
    fields = [rows.checked(document, place=f"{label}: {place}") for place, document in placed]
    is_answered = form.is_demonstration
    for (place, document), columns, name in zip(placed, fields, _names(fields), strict=True):
        made = replace(rendering.example(form, document, name=name, fields=columns, place=place), place=place)
        is_answered = is_answered or not made.choices or any(target in made.choices for target in made.targets)
        yield made
    if found and not is_answered:  # lm_eval would say that all are wrong
        raise DataError(
            f"{source.location}: found no document of {source.settings['shown']} whose answer is one of its choices; "
            "take a split with labels"
        )


def with_data(source: Source, data: Source) -> Source:
    """Return the source on other data of the form that the task's documents have before any `process_docs`."""
    own = {"kind": data.kind, "location": data.location, "settings": dict(data.settings)}
    return replace(source, location=data.location, settings={**source.settings, DATA: own})


def has_numbered_text(source: Source) -> bool:
    """Whether the doc_to_text of the first document gives the place of a choice. Raises DataError and TaskError."""
    form = replace(rendering.form(source.settings), shown=_label(source.settings))
    first = next(iter(documents(source)), None)
    return first is not None and rendering.gives_number(form, first)


def documents(source: Source) -> Iterable[Document]:
    """Load the documents as the task's templates see them. Raises DataError and TaskError."""
    settings = source.settings
    samples = settings.get("samples")
    if samples is not None and DATA not in settings:
        if code.is_function(samples):
            return code.call_for_documents(code.resolve(samples), shown=f"{_label(settings)}: fewshot_config.samples")
        return cast(Iterable[Document], samples)
    found = _other(settings) if DATA in settings else _own(source)
    process = settings.get("process_docs")
    if process is None:
        return cast(Iterable[Document], found) if DATA in settings else _yielded(found, source)
    if isinstance(found, list):
        found = _dataset(found, source)
    return code.call_for_documents(code.resolve(process), found, shown=f"{_label(settings)}: process_docs")


def _label(settings: Mapping[str, object]) -> str:
    """Name the task in a message, with its file."""
    return f"{yaml_files.shown(str(settings['file']))}: {settings['shown']}"


def _placed(source: Source) -> Iterator[tuple[str, Document]]:
    """Yield the documents, each with where it stands: in a data file, or by number from 1 in the task file or split."""
    settings = source.settings
    is_changed = settings.get("process_docs") is not None
    data = cast(Mapping[str, object], settings.get(DATA) or {})
    if data.get("kind") == "file" and not is_changed:
        yield from rows.read(Path(str(data["location"])))
        return
    files = []
    if data:
        whole = source.location
    elif settings.get("samples") is not None:
        whole = "fewshot_config.samples"
    else:
        whole = f"split {settings['split']!r}"
        # Rows of a slice are not counted from the first of the file.
        files = [] if is_changed or "[" in str(settings["split"]) else _files(settings)
    for number, document in enumerate(documents(source), start=1):
        is_file = len(files) == 1
        yield f"{yaml_files.shown(files[0])}: row {number}" if is_file else f"document {number} of {whole}", document


def _check_columns(placed: Sequence[tuple[str, Document]], source: Source, *, form: rendering.Form) -> None:
    """Raise DataError for a document without a column that others have and the task names.

    Without it the column's name itself would be shown: lm_eval takes a word that is no column as it stands, and it
    looks for columns in the documents that are evaluated.
    """
    settings = source.settings
    known = {column for _, document in placed for column in document}
    evaluated = settings.get("evaluated_split")
    readings = {key: getattr(form, key) for key in READINGS}
    named = {
        key: value for key, value in readings.items() if isinstance(value, str) and not rendering.MARKUP.search(value)
    }
    lacks = any(value not in document for value in named.values() for _, document in placed)
    if lacks and evaluated is not None and DATA not in settings:
        own = {key: value for key, value in settings.items() if key not in ("samples", "evaluated_split")}
        with contextlib.suppress(DataError):  # which is told where these documents are loaded
            known |= set(next(iter(documents(replace(source, settings={**own, "split": evaluated}))), ()))
    for key, column in named.items() if lacks else ():
        for place, document in placed:
            if column in known and column not in document:
                raise DataError(
                    f"{form.shown}: {place}: missing column {column!r}, which {key} names; "
                    f"columns found: {', '.join(map(str, document)) or 'none'}"
                )


def _chosen(found: list[tuple[str, Document]], source: Source) -> list[tuple[str, Document]]:
    """Take the documents of `fewshot_indices`, where there are any."""
    indices = source.settings.get("indices")
    if indices is None or DATA in source.settings:
        return found
    for index in cast(list[object], indices):
        if not isinstance(index, int) or not -len(found) <= index < len(found):
            raise DataError(
                f"{_label(source.settings)}: fewshot_indices: found {index!r}, expected 0 to {len(found) - 1}"
            )
    return [found[index] for index in cast(list[int], indices)]


def _names(fields: list[rows.Row]) -> list[str]:
    ids = [None if row.get("id") is None else str(row["id"]) for row in fields]
    if None not in ids and len(set(ids)) == len(ids):
        return cast(list[str], ids)
    names = []
    copies: Counter[str] = Counter()
    for row in fields:
        name = digest(row)
        copies[name] += 1
        # Equal documents: which is called the second does not matter.
        names.append(name if copies[name] == 1 else f"{name}-{copies[name]}")
    return names


def _other(settings: Mapping[str, object]) -> list[rows.Row] | Any:  # Any: a datasets.Dataset
    data = cast(Mapping[str, Any], settings[DATA])
    location = str(data["location"])
    if data["kind"] == "file":
        return [row for _, row in rows.read(Path(location))]
    if data["kind"] == "hub":
        place = data["settings"]
        named = {"name": place.get("config"), "revision": place.get("revision")}
        return hub.load(location, split=str(place.get("split", "test")), **named)
    raise DataError(
        f"{location}: found two files of lines, expected one file of the columns that {settings['shown']} reads"
    )


def _own(source: Source) -> Any:  # Any: a datasets.Dataset, or what a task's own function gives
    settings = source.settings
    given = {
        key: value
        for key, value in cast(Mapping[str, object], settings.get("dataset_kwargs") or {}).items()
        if key not in NEVER_GIVEN
    }
    split = str(settings["split"])
    if settings.get("custom_dataset") is not None:
        function = code.resolve(settings["custom_dataset"])
        metadata = cast(Mapping[str, object], settings.get("metadata") or {})
        shown = f"{_label(settings)}: custom_dataset"
        loaded = code.call(function, shown=shown, named={**metadata, **given})
        if not isinstance(loaded, Mapping) or split not in loaded:
            raise DataError(f"{shown}: found no split {split!r} in what it gives")
        return code.checked(loaded[split], function=function, shown=f"{shown}: split {split!r}")
    path, folder = str(settings["dataset_path"]), Path(str(settings["folder"]))
    if path in FILES:
        _refuse_missing(given, folder, label=_label(settings))
        given |= {key: _beside(given[key], folder) for key in PLACES if key in given}
    elif (folder / path).exists():
        path = str(folder / path)
    try:
        return hub.load(path, split=split, name=settings.get("dataset_name"), is_local=_is_local(path, given), **given)
    except DataError:
        _name_fault(settings)
        raise


def _dataset(found: list[rows.Row], source: Source) -> Any:  # Any: as above
    """Make the dataset that a task's code is given of rows; DataError for columns of several types."""
    import datasets
    import pyarrow

    try:
        return datasets.Dataset.from_list(found)
    except (pyarrow.ArrowException, OverflowError) as error:
        raise DataError(
            f"{source.location}: cannot be made a dataset for process_docs ({code.reason(error)}); expected columns of "
            "one type each"
        ) from error


def _yielded(found: Iterable[Document], source: Source) -> Iterator[Document]:
    """Yield documents; DataError for text that is not UTF-8, which `datasets` finds only when it is read."""
    settings = source.settings
    if settings.get("custom_dataset") is not None:
        shown = f"{_label(settings)}: custom_dataset"
        yield from code.yielded(found, function=code.resolve(settings["custom_dataset"]), shown=shown)
        return
    try:
        yield from found
    except UnicodeDecodeError as error:
        _name_fault(source.settings)
        shown = f"{source.location}: split {source.settings['split']!r}"
        raise DataError(f"{shown}: found text that is not UTF-8: {error.reason}; save its files as UTF-8") from error


def _name_fault(settings: Mapping[str, object]) -> None:
    """Raise DataError with file and line where a local file of the split cannot be read."""
    given = cast(Mapping[str, object], settings.get("dataset_kwargs") or {})
    if given.keys() - {*PLACES, *NEVER_GIVEN}:  # which say that the files have a form of their own
        return
    for file in _files(settings):
        if file.suffix in rows.READERS:
            for _ in rows.read(file):
                pass


def _files(settings: Mapping[str, object]) -> list[Path]:
    """List the local files of a split, where the task names files."""
    given = cast(Mapping[str, object], settings.get("dataset_kwargs") or {})
    places = given.get("data_files")
    if settings.get("custom_dataset") is not None or settings["dataset_path"] not in FILES:
        return []
    if isinstance(places, dict):
        places = places.get(settings["split"])
    full = _beside(places, Path(str(settings["folder"])))
    return [Path(each) for each in (full if isinstance(full, list) else [full]) if _is_file(each)]


def _refuse_missing(given: Mapping[str, object], folder: Path, *, label: str) -> None:
    """Raise DataError for a file or folder that is neither beside the task file nor in the working directory."""
    key = PLACES[1] if given.get(PLACES[1]) else PLACES[0]  # files lie in the folder where there is one
    for place in _texts(given.get(key)):
        if not PATTERN.search(place) and not Path(place).exists() and not (folder / place).exists():
            file = yaml_files.shown(folder / place)
            raise DataError(f"{label}: {key}: no such file {file!r}; paths are relative to the task file")


def _is_file(place: object) -> bool:
    return isinstance(place, str) and "://" not in place and Path(place).is_file()


def _beside(place: object, folder: Path) -> Any:  # Any: of the form of what is given
    """Turn paths of files that lie beside the task file into full ones; what lies elsewhere is left as it stands."""
    if isinstance(place, dict):
        return {split: _beside(each, folder) for split, each in place.items()}
    if isinstance(place, list):
        return [_beside(each, folder) for each in place]
    if isinstance(place, str) and "://" not in place and ((folder / place).exists() or any(_matches(folder, place))):
        return str(folder / place)
    return place


def _matches(folder: Path, pattern: str) -> Iterable[Path]:
    return folder.glob(pattern) if "*" in pattern and not Path(pattern).is_absolute() else ()


def _is_local(path: str, given: Mapping[str, object]) -> bool:
    if path in FILES:
        return not any("://" in place for key in PLACES for place in _texts(given.get(key)))
    return Path(path).exists()


def _texts(value: object) -> Iterator[str]:
    """Yield the texts of a value, one in lists or one in mappings."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _texts(each)

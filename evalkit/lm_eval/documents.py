"""Load the documents of an lm_eval task and turn them into examples."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from evalkit import hub_access, rows
from evalkit.errors import DataError
from evalkit.lm_eval import code, rendering
from evalkit.lm_eval.rendering import Document
from evalkit.records import Example, Source
from evalkit.text import digest

# What `datasets` reads from files that it is given.
FILES = frozenset({"json", "csv", "parquet", "arrow", "text", "xml"})
NEVER_GIVEN = frozenset({"trust_remote_code"})  # no code of a dataset is ever run
PLACES = ("data_files", "data_dir")  # arguments that may be paths beside the task file
DATA = "data"  # setting with other data than the task's own


def examples(source: Source) -> Iterator[Example]:
    """Yield the examples of a source that an lm_eval task has, in the data's order.

    An example is named by its column `id` where that has as many values as documents, else by a hash of the document.
    Raises DataError for data that cannot be had, TaskError for templates and functions that fail.
    """
    form = rendering.form(source.settings)
    found = _chosen(list(documents(source)), source)
    for number, document in enumerate(found, start=1):
        if not isinstance(document, Mapping):
            raise DataError(
                f"{source.location}: document {number}: found {type(document).__name__}, expected a mapping"
            )
    fields = [rows.checked(document, place=f"{source.location}: row {row}") for row, document in enumerate(found, 1)]
    is_answered = form.is_demonstration
    for document, columns, name in zip(found, fields, _names(fields), strict=True):
        made = rendering.example(form, document, name=name, fields=columns)
        is_answered = is_answered or not made.choices or any(target in made.choices for target in made.targets)
        yield made
    if found and not is_answered:  # lm_eval would say that all are wrong
        raise DataError(
            f"{source.location}: found no document of {form.shown} whose answer is one of its choices; take a split "
            "with labels"
        )


def with_data(source: Source, data: Source) -> Source:
    """Return the source on other data of the form that the task's documents have before any `process_docs`."""
    own = {"kind": data.kind, "location": data.location, "settings": dict(data.settings)}
    return replace(source, location=data.location, settings={**source.settings, DATA: own})


def has_numbered_text(source: Source) -> bool:
    """Whether the doc_to_text of the first document gives the place of a choice. Raises DataError and TaskError."""
    form = rendering.form(source.settings)
    first = next(iter(documents(source)), None)
    return first is not None and rendering.gives_number(form, first)


def documents(source: Source) -> Iterable[Document]:
    """Load the documents as the task's templates see them. Raises DataError and TaskError."""
    settings = source.settings
    samples = settings.get("samples")
    if samples is not None and DATA not in settings:
        if code.is_function(samples):
            samples = code.call(code.resolve(samples), shown=f"{settings['shown']}: fewshot_config.samples")
        return cast(Iterable[Document], samples)
    found = _other(settings) if DATA in settings else _own(source)
    process = settings.get("process_docs")
    if process is None:
        return cast(Iterable[Document], found)
    if isinstance(found, list):
        import datasets

        found = datasets.Dataset.from_list(found)
    processed = code.call(code.resolve(process), found, shown=f"{settings['shown']}: process_docs")
    return cast(Iterable[Document], processed)


def _chosen(found: list[Document], source: Source) -> list[Document]:
    """Take the documents of `fewshot_indices`, where there are any."""
    indices = source.settings.get("indices")
    if indices is None or DATA in source.settings:
        return found
    for index in cast(list[object], indices):
        if not isinstance(index, int) or not -len(found) <= index < len(found):
            raise DataError(
                f"{source.settings['shown']}: fewshot_indices: found {index!r}, expected 0 to {len(found) - 1}"
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
        return _load(location, split=str(place.get("split", "test")), **named)
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
        shown = f"{settings['shown']}: custom_dataset"
        loaded = code.call(function, shown=shown, **{**metadata, **given})
        if not isinstance(loaded, Mapping) or split not in loaded:
            raise DataError(f"{shown}: found no split {split!r} in what it gives")
        return loaded[split]
    path, folder = str(settings["dataset_path"]), Path(str(settings["folder"]))
    if path in FILES:
        given |= {key: _beside(given[key], folder) for key in PLACES if key in given}
    elif (folder / path).exists():
        path = str(folder / path)
    return _load(path, name=settings.get("dataset_name"), split=split, **given)


def _beside(place: object, folder: Path) -> object:
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


def _load(path: str, *, split: str, **given: object) -> Any:  # Any: a datasets.Dataset
    if not _is_local(path, given):
        hub_access.prepare()
    import datasets

    # It tells of every retry, and the one line that is raised in the end says it all.
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    datasets.disable_progress_bars()
    try:
        return datasets.load_dataset(path, split=split, **given)
    except Exception as error:  # the libraries beneath raise dozens of kinds, none with a common base
        config = f", configuration {given['name']!r}," if given.get("name") else ""
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise DataError(
            f"{path}: split {split!r}{config} of this dataset cannot be loaded: {reason.rstrip('.')}; check name and "
            "network, or give a file of its documents with --data"
        ) from error


def _is_local(path: str, given: Mapping[str, object]) -> bool:
    def texts(value: object) -> Iterator[str]:
        if isinstance(value, str):
            yield value
        elif isinstance(value, dict | list):
            for each in value.values() if isinstance(value, dict) else value:
                yield from texts(each)

    if path in FILES:
        return not any("://" in place for key in PLACES for place in texts(given.get(key)))
    return Path(path).exists()

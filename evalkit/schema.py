"""Check the keys of task files and say in one line what is wrong with them."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from typing import Annotated, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from evalkit import decoding, registry
from evalkit.errors import TaskError
from evalkit.records import Decoding, RequestKind

GROUP_KEYS = ("summary", "tasks")  # keys of a file as a whole

Positive = Annotated[int, Field(ge=1)]
Text = Annotated[str, Field(min_length=1)]


class Checked(BaseModel):
    """Keys that are all known, and values that are not converted."""

    model_config = ConfigDict(extra="forbid", strict=True)


class DecodingKeys(Checked):
    """The keys of records.Decoding."""

    temperature: float = 0.0
    top_k: int | None = None
    top_p: float | None = None
    beams: int = 1
    length_penalty: float = 0.6


class Entry(Checked):
    """The keys of one task, after those of its file were filled in."""

    version: Positive
    title: Text
    source: dict[str, object]
    pool: dict[str, object] | None = None
    template: Text
    description: str = ""
    separator: str = "\n\n"
    kind: RequestKind
    metrics: Annotated[list[str], Field(min_length=1)]
    paper_shots: Annotated[int, Field(ge=0)] | None = None
    stop: list[Text] = []
    max_tokens: Annotated[int, Field(ge=1, le=2**20)] = 256
    decoding: DecodingKeys = DecodingKeys()
    columns: dict[str, Text] = {}
    choices: list[Text] = []
    citation: str = ""


def check_names(keys: Iterable[str], *, shown: str) -> None:
    """Raise TaskError for a key that no task file has."""
    known = (*Entry.model_fields, *GROUP_KEYS)
    for key in keys:
        if key not in known:
            raise TaskError(f"{shown}: {unknown_key(key, known)}")


def check_entry(keys: Mapping[str, object], *, shown: str) -> Entry:
    """Check the keys of one task. Raises TaskError."""
    try:
        entry = Entry.model_validate(dict(keys))
    except ValidationError as error:
        raise TaskError(f"{shown}: {_complaint(error)}") from error
    if wrong := decoding.complaint(Decoding(**entry.decoding.model_dump())):
        key, message = wrong
        raise TaskError(f"{shown}: key 'decoding.{key}': {message}")
    for metric in entry.metrics:
        if metric not in registry.METRICS:
            raise TaskError(f"{shown}: unknown metric {metric!r}; {registry.suggest(metric, registry.METRICS)}")
    return entry


def check_settings(generator: str, settings: Mapping[str, object], *, key: str, shown: str) -> None:
    """Hold the settings against the generator's own signature: names, which are needed, types."""
    if generator not in registry.GENERATORS:
        raise TaskError(f"{shown}: unknown generator {generator!r}; {registry.suggest(generator, registry.GENERATORS)}")
    function = registry.resolve(registry.GENERATORS, generator)
    parameters = inspect.signature(function).parameters
    types = get_type_hints(function)
    for name, value in settings.items():
        if name not in parameters:
            known = [f"{key}.{each}" for each in ("generator", *parameters)]
            raise TaskError(f"{shown}: {unknown_key(f'{key}.{name}', known)}")
        try:
            TypeAdapter(types[name]).validate_python(value, strict=True)
        except ValidationError as error:
            raise TaskError(f"{shown}: {_complaint(error, prefix=f'{key}.{name}')}") from error
    for name, parameter in parameters.items():
        if parameter.default is parameter.empty and name not in settings:
            raise TaskError(f"{shown}: missing key '{key}.{name}', which generator {generator!r} needs")


def unknown_key(key: str, known: Iterable[str]) -> str:
    """Word the complaint about a key that is not among the known ones."""
    return f"unknown key {key!r}; {registry.suggest(key, known)}"


EXPECTED = {
    "int_type": "a whole number",
    "float_type": "a number",
    "string_type": "text",
    "list_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "bool_type": "true or false",
    "string_too_short": "text that is not empty",
    "too_short": "a list that is not empty",
}


def _complaint(error: ValidationError, *, prefix: str | None = None) -> str:
    """Say in one line what pydantic found wrong first: the key, what was found, what was expected."""
    first = error.errors()[0]
    key = prefix or ""
    for part in first["loc"]:
        if isinstance(part, int):
            key += f"[{part}]"
        else:
            key += f".{part}" if key else part
    if first["type"] == "extra_forbidden":
        parent, _, _ = key.rpartition(".")
        fields = DecodingKeys.model_fields if parent == "decoding" else Entry.model_fields
        return unknown_key(key, [f"{parent}.{name}" if parent else name for name in fields])
    if first["type"] == "missing":
        return f"missing key {key!r}"
    value = first["input"]
    expected = EXPECTED.get(first["type"]) or first["msg"].removeprefix("Input should be ")
    quotes = "; put it in quotes" if first["type"] == "string_type" and isinstance(value, bool | int | float) else ""
    return f"key {key!r}: found {found(value)}, expected {expected}{quotes}"


def found(value: object) -> str:
    """Name a value of a YAML file as its author would."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    return repr(value)

"""Hold settings against the function or class that takes them: names, which are needed, types."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, get_type_hints

from pydantic import TypeAdapter, ValidationError

from evalkit.errors import TaskError
from evalkit.registry import suggest

EXPECTED = {
    "int_type": "a whole number",
    "float_type": "a number",
    "string_type": "text",
    "list_type": "a list",
    "tuple_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "bool_type": "true or false",
    "string_too_short": "text that is not empty",
    "too_short": "a list with at least one entry",
}


def check(
    taker: Callable[..., object],
    settings: Mapping[str, object],
    *,
    word: str,
    owner: str,
    prefix: str = "",
    also: Iterable[str] = (),
) -> None:
    """Raise TaskError where `taker` cannot be called with the settings; no value is converted.

    A message calls a setting `word 'prefix + name'`, such as `key 'source.count'`, and `taker` what `owner` says;
    `also` names settings that are read elsewhere, for a suggestion.
    """
    parameters = inspect.signature(taker).parameters
    types = get_type_hints(taker.__init__ if inspect.isclass(taker) else taker)
    for name, value in settings.items():
        if name not in parameters:
            known = [prefix + each for each in (*also, *parameters)]
            advice = suggest(prefix + name, known) if known else f"{owner} takes none"
            raise TaskError(f"unknown {word} {prefix + name!r}; {advice}")
        try:
            TypeAdapter(types[name]).validate_python(value, strict=True)
        except ValidationError as error:
            first = error.errors()[0]
            inner = "".join(f"[{part}]" for part in first["loc"] if isinstance(part, int))
            raise TaskError(f"{word} {prefix + name + inner!r}: {mismatch(first)}") from error
    for name, parameter in parameters.items():
        if parameter.default is parameter.empty and name not in settings:
            raise TaskError(f"missing {word} {prefix + name!r}, which {owner} needs")


def mismatch(error: Mapping[str, Any]) -> str:  # Any: pydantic's own record of what it found
    """Say in words what pydantic found, and what it expected."""
    value = error["input"]
    own = re.sub("^(Input should be|Value error,) ", "", error["msg"])
    expected = EXPECTED.get(error["type"], own)
    quotes = "; put it in quotes" if error["type"] == "string_type" and isinstance(value, bool | int | float) else ""
    return f"found {found(value)}, expected {expected}{quotes}"


def found(value: object) -> str:
    """Name a value of a task file as its author would."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, list | tuple):
        return "a list"
    return repr(value)

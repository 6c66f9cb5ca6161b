"""Check the keys of task files and say in one line what is wrong with them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from evalkit import decoding, filters, metric_spec, registry, signatures
from evalkit.errors import TaskError
from evalkit.records import Decoding, Filter

GROUP_KEYS = ("summary", "tasks")  # keys of a file as a whole

Positive = Annotated[int, Field(ge=1)]
Text = Annotated[str, Field(min_length=1)]


def _refuse_other(value: object) -> object:
    """Refuse what is neither text nor a number, in one complaint where a union of types makes one for each."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError("text or a number")
    return value


TextOrNumber = Annotated[str | int | float, BeforeValidator(_refuse_other)]


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


class FilterKeys(Checked):
    """The keys of records.Filter."""

    name: Text
    steps: Annotated[list[dict[str, object]], Field(min_length=1)]


class Entry(Checked):
    """The keys of one task, after those of its file were filled in."""

    version: Positive
    title: Text
    source: dict[str, object]
    pool: dict[str, object] | None = None
    sample: dict[str, object] | None = None
    sample_pool: dict[str, object] | None = None
    hold_out: Annotated[float, Field(gt=0, lt=1)] | None = None
    template: Text
    zero_shot_template: Text | None = None
    description: str = ""
    separator: str = "\n\n"
    kind: Literal["generate", "choice", "partial", "loglikelihood", "rolling"]
    metrics: Annotated[list[str], Field(min_length=1)]
    paper_shots: Annotated[int, Field(ge=0)] | None = None
    stop: list[Text] = []
    max_tokens: Annotated[int, Field(ge=1, le=2**20)] = 256
    decoding: DecodingKeys = DecodingKeys()
    columns: dict[str, Text] = {}
    choices: list[Text] = []
    target: Text | None = None
    fields: dict[str, TextOrNumber] = {}
    answer_context: Text | None = None
    filters: list[FilterKeys] = []
    repeats: Annotated[int, Field(ge=1, le=1024)] = 1
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
    if entry.answer_context is not None and entry.answer_context[-1].isspace():
        raise TaskError(
            f"{shown}: key 'answer_context': found {entry.answer_context!r}, expected no white space at its end, which "
            "choices begin with"
        )
    for each in entry.filters:
        _named(lambda each=each: filters.check(Filter(each.name, tuple(each.steps))), shown)  # type: ignore[misc]
    known = [each.name for each in entry.filters]
    for what, names in (("filter", known), ("metric", entry.metrics)):
        if repeated := [name for name in names if names.count(name) > 1]:
            raise TaskError(f"{shown}: {what} {repeated[0]!r} stands there twice; leave one out")
    if entry.repeats > 1 and entry.decoding.temperature == 0:
        raise TaskError(
            f"{shown}: key 'repeats': found {entry.repeats} at temperature 0, which always answers the same"
        )
    for metric in entry.metrics:
        _named(lambda metric=metric: metric_spec.load(metric), shown)  # type: ignore[misc]
        wanted = metric_spec.parse(metric).filter
        if wanted is not None and wanted not in known:
            hint = registry.suggest(wanted, known) if known else "key 'filters' has none"
            raise TaskError(f"{shown}: metric {metric!r}: unknown filter {wanted!r}; {hint}")
        if wanted is not None and "generate" not in metric_spec.load(metric).needs:
            raise TaskError(f"{shown}: metric {metric!r}: filters are for completions, which it does not score")
    return entry


def _named(check: Callable[[], object], shown: str) -> None:
    """Put the name of the file before what a check complains of."""
    try:
        check()
    except TaskError as error:
        raise TaskError(f"{shown}: {error}") from error


def check_settings(generator: str, settings: Mapping[str, object], *, key: str, shown: str) -> None:
    """Hold the settings against the generator's own signature: names, which are needed, types."""
    if generator not in registry.GENERATORS:
        raise TaskError(f"{shown}: unknown generator {generator!r}; {registry.suggest(generator, registry.GENERATORS)}")
    function = registry.resolve(registry.GENERATORS, generator)
    owner, prefix = f"generator {generator!r}", f"{key}."
    _named(
        lambda: signatures.check(function, settings, word="key", owner=owner, prefix=prefix, also=("generator",)), shown
    )


def unknown_key(key: str, known: Iterable[str]) -> str:
    """Word the complaint about a key that is not among the known ones."""
    return f"unknown key {key!r}; {registry.suggest(key, known)}"


def _complaint(error: ValidationError) -> str:
    """Say in one line what pydantic found wrong first: the key, what was found, what was expected."""
    first = error.errors()[0]
    key = ""
    for part in first["loc"]:
        if isinstance(part, int):
            key += f"[{part}]"
        else:
            key += f".{part}" if key else part
    if first["type"] == "extra_forbidden":
        parent, _, _ = key.rpartition(".")
        inner: dict[str, type[BaseModel]] = {"decoding": DecodingKeys, "filters": FilterKeys}
        fields = inner.get(parent.partition("[")[0], Entry).model_fields
        return unknown_key(key, [f"{parent}.{name}" if parent else name for name in fields])
    if first["type"] == "missing":
        return f"missing key {key!r}"
    return f"key {key!r}: {signatures.mismatch(first)}"

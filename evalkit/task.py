"""Read task files: checked YAML in, Task records out.

The schema is imported when a task is loaded, so that listing the tasks does not wait for pydantic.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from evalkit import registry, resources, text_file
from evalkit.errors import TaskError
from evalkit.lm_eval import yaml_files
from evalkit.records import Decoding, Filter, Source, Task

ORIGINS: tuple[Literal["generator", "file", "lines", "hub"], ...] = ("generator", "file", "lines", "hub")
LM_EVAL = "lm_eval:"  # begins the name of a task of an installed lm_eval
HUB_SETTINGS = ("config", "split", "revision")
MERGED = (
    "source",
    "pool",
    "sample",
    "sample_pool",
    "decoding",
    "columns",
)  # a subtask changes single keys of these, and whole values elsewhere


@dataclass(frozen=True, slots=True)
class Listing:
    """What `evalkit tasks` prints about one task file."""

    name: str
    title: str
    summary: str
    subtasks: tuple[str, ...]  # full names, such as `arithmetic/2-digit-addition`; empty where the file is one task
    citation: str


def load(
    name_or_path: str | Path, *, trusted: bool = False, say: Callable[[str], None] = lambda _: None
) -> tuple[Task, ...]:
    """Read a task: all of a file's tasks in its order, or the one named after a slash.

    `arithmetic`, `arithmetic/2-digit-addition`, `my/copa.yaml` and `my/group.yaml/subtask` are names; `lm_eval:NAME` is
    a task, a tag or a group of an installed lm_eval, and a path may lead to a task file of its form. Where one of those
    needs Python functions, they run only if `trusted`, and `say` is told which files. Raises TaskError.
    """
    from evalkit import schema
    from evalkit.lm_eval import tasks as lm_eval_tasks
    from evalkit.signatures import found

    name = str(name_or_path)
    if name.startswith(LM_EVAL):
        return lm_eval_tasks.load(name, trusted=trusted, say=say)
    path, shown, subtask = locate(name)
    if subtask is None and lm_eval_tasks.is_lm_eval(path):
        return lm_eval_tasks.load(name, trusted=trusted, say=say)
    raw = _read(path, shown)
    schema.check_names(raw, shown=shown)
    shared = {key: value for key, value in raw.items() if key not in schema.GROUP_KEYS}
    entries = raw.get("tasks")
    if entries is None:
        if subtask is not None:
            raise TaskError(f"{shown}: found no subtasks, expected {subtask!r} among them; leave out /{subtask}")
        return (_task(shared, path=path, shown=shown, name=path.stem, group=None),)
    if entries == {}:
        raise TaskError(f"{shown}: key 'tasks': found an empty mapping, expected at least one subtask")
    if not isinstance(entries, dict):
        raise TaskError(f"{shown}: key 'tasks': found {found(entries)}, expected a mapping of names to keys")
    for name, entry in entries.items():
        if not isinstance(name, str) or not isinstance(entry, dict):
            raise TaskError(
                f"{shown}: key 'tasks.{name}': found {found(entry)}, expected a name with a mapping of keys"
            )
    if subtask is not None and subtask not in entries:
        raise TaskError(f"{shown}: unknown task {subtask!r}; {registry.suggest(subtask, entries)}")
    return tuple(
        _task(
            _merge(shared, {"title": name, **entry}),
            path=path,
            shown=f"{shown}: task {name!r}",
            name=f"{path.stem}/{name}",
            group=path.stem,
        )
        for name, entry in entries.items()
        if subtask in (None, name)
    )


def available() -> tuple[Listing, ...]:
    """List the shipped task files by name, without checking more of them than is listed."""
    listings = []
    for path in sorted(resources.folder("tasks").glob("*.yaml")):
        raw = _read(path, f"tasks/{path.name}")
        title, summary, citation = (str(raw.get(key, "")) for key in ("title", "summary", "citation"))
        subtasks = tuple(f"{path.stem}/{name}" for name in raw.get("tasks") or ())
        listings.append(Listing(path.stem, title, summary, subtasks, citation))
    return tuple(listings)


def locate(name: str) -> tuple[Path, str, str | None]:
    """Return the file, what messages call it, and the subtask asked for."""
    match = re.fullmatch(r"(.*\.ya?ml)(?:/([^/]+))?", name)
    if match:
        path = Path(match[1])
        if not path.is_file():
            raise TaskError(f"{path}: no such task file; give the path of a YAML file, or a name of `evalkit tasks`")
        return path, match[1], match[2]
    stem, _, subtask = name.partition("/")
    known = sorted(path.stem for path in resources.folder("tasks").glob("*.yaml"))
    if stem not in known:
        raise TaskError(f"unknown task {name!r}; {registry.suggest(stem, known)}")
    return resources.folder("tasks") / f"{stem}.yaml", f"tasks/{stem}.yaml", subtask or None


def _read(path: Path, shown: str) -> dict[str, Any]:  # Any: checked by load
    text = text_file.read(path, shown=shown, error=TaskError)
    try:
        data = _parse(text)
    except yaml_files.RepeatedKeyError as error:
        raise TaskError(f"{shown}:{error.line}: {error}") from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f"{shown}:{mark.line + 1}" if mark else shown
        raise TaskError(f"{place}: broken YAML: {error.problem or error.context}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise TaskError(f"{shown}: broken YAML: {str(error).splitlines()[0]}") from error
    if not isinstance(data, dict) or not all(isinstance(key, str) for key in data):
        raise TaskError(f"{shown}: found no mapping of keys in text, expected one with 'title' and 'source' among them")
    return data


def _parse(text: str) -> object:
    # The C loader is the same safe loader, ten times as fast; a build of PyYAML without it has only the other.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)(text)
    try:
        node = loader.get_single_node()
        yaml_files.refuse_repeats(node)
        data: object = None if node is None else loader.construct_document(node)
    finally:
        loader.dispose()
    return data


def _merge(shared: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:  # Any: checked by _task
    """Lay a subtask's keys over those of its file; a source of another origin replaces the file's."""
    merged = {**shared, **own}
    for key in MERGED:
        below, above = shared.get(key), own.get(key)
        if isinstance(below, dict) and isinstance(above, dict) and not any(origin in above for origin in ORIGINS):
            merged[key] = {**below, **above}
    return merged


def _task(keys: Mapping[str, Any], *, path: Path, shown: str, name: str, group: str | None) -> Task:  # Any: unchecked
    from evalkit import schema, templates

    entry = schema.check_entry(keys, shown=shown)

    def located(key: str, below: dict[str, object] | None = None) -> Source | None:
        raw: dict[str, object] | None = getattr(entry, key)
        if raw is None:
            return None
        if below and not any(origin in raw for origin in ORIGINS):
            raw = {**below, **raw}
        return _source(key, raw, path=path, shown=shown)

    zero = entry.zero_shot_template

    if entry.target is not None:
        templates.check(entry.target, name=f"{shown}: key 'target'")
    return Task(
        name=name,
        version=entry.version,
        group=group,
        title=entry.title,
        source=_source("source", entry.source, path=path, shown=shown),
        pool=located("pool", entry.source),
        template=_template(entry.template, path=path, shown=shown, key="template"),
        description=entry.description,
        kind=entry.kind,
        metrics=tuple(entry.metrics),
        paper_shots=entry.paper_shots,
        stop=tuple(entry.stop),
        max_tokens=entry.max_tokens,
        decoding=Decoding(**entry.decoding.model_dump()),
        columns=entry.columns,
        citation=entry.citation,
        separator=entry.separator,
        choices=tuple(entry.choices),
        target=entry.target,
        fields=entry.fields,
        zero_shot_template=None if zero is None else _template(zero, path=path, shown=shown, key="zero_shot_template"),
        answer_context=entry.answer_context or "",
        filters=tuple(Filter(each.name, tuple(each.steps)) for each in entry.filters),
        repeats=entry.repeats,
        sample=located("sample"),
        sample_pool=located("sample_pool", entry.sample),
        hold_out=entry.hold_out,
    )


def _source(key: str, raw: Mapping[str, object], *, path: Path, shown: str) -> Source:
    from evalkit.schema import check_settings, unknown_key
    from evalkit.signatures import found

    origins = [origin for origin in ORIGINS if origin in raw]
    if len(origins) != 1:
        given = " and ".join(origins) or ", ".join(raw) or "nothing"
        raise TaskError(f"{shown}: key '{key}': found {given}, expected one of {', '.join(ORIGINS)}")
    kind = origins[0]
    location = raw[kind]
    settings = {name: value for name, value in raw.items() if name != kind}
    if not isinstance(location, str) or not location:
        raise TaskError(f"{shown}: key '{key}.{kind}': found {found(location)}, expected text")
    if kind == "generator":
        check_settings(location, settings, key=key, shown=shown)
        return Source(kind, location, settings)
    known = HUB_SETTINGS if kind == "hub" else ()
    for name, value in settings.items():
        if name not in known:
            raise TaskError(f"{shown}: {unknown_key(f'{key}.{name}', [f'{key}.{each}' for each in (kind, *known)])}")
        if not isinstance(value, str):
            raise TaskError(f"{shown}: key '{key}.{name}': found {found(value)}, expected text")
    if kind == "lines":
        location = ",".join(str(path.parent / each.strip()) for each in location.split(","))
        return Source(kind, location, settings)
    return Source(kind, location if kind == "hub" else str(path.parent / location), settings)


def _template(name: str, *, path: Path, shown: str, key: str) -> str:
    """Return a template's text: of prompts/NAME.jinja, or of a path ending in .jinja, relative to the task file."""
    from evalkit import templates

    if name.endswith(".jinja"):
        file, called = path.parent / name, name
        if not file.is_file():
            raise TaskError(f"{shown}: key '{key}': no such file {str(file)!r}; paths are relative to the task file")
    else:
        file, called = resources.folder("prompts") / f"{name}.jinja", f"prompts/{name}.jinja"
        known = [each.stem for each in resources.folder("prompts").glob("*.jinja")]
        if name not in known:
            raise TaskError(f"{shown}: key '{key}': unknown template {name!r}; {registry.suggest(name, known)}")
    text = text_file.read(file, shown=called, error=TaskError)
    templates.check(text, name=called)
    return text

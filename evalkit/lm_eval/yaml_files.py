"""Read YAML files of lm_eval's form: what they include, the Python functions they name, the line of every key."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeAlias

import yaml

from evalkit.errors import TaskError
from evalkit.registry import suggest

FUNCTION = "!function"
INCLUDE = "include"
NOT_INHERITED = ("task_list",)  # says something of the included file alone
SHIPPED = "lm_eval/tasks"  # where lm_eval's own files lie, which is all that messages say of them

# The C loader is the same safe loader, ten times as fast; a build of PyYAML without it has only the other.
_Safe: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # Any: the two share no base that is typed


@dataclass(frozen=True, slots=True)
class Function:
    """A Python function that a file names, such as `utils.process_docs`; reading the file imports nothing."""

    folder: str  # of the file that names it
    name: str  # module and function


Place: TypeAlias = tuple[str, int]  # file and line


@dataclass(frozen=True, slots=True)
class Keys:
    """The top-level keys of a file, with those it includes."""

    values: Mapping[str, object]
    places: Mapping[str, Place]  # also of the keys below them, such as `fewshot_config.sampler` and `task[0].task`


class RepeatedKeyError(ValueError):
    """A key stands twice in one mapping."""

    def __init__(self, key: str, line: int) -> None:
        super().__init__(f"key {key!r} stands twice in one mapping; remove one")
        self.line = line


def read(path: Path) -> Keys:
    """Read a file and lay its keys over those of the files it includes, the last of those first. Raises TaskError."""
    return _merged(path.absolute(), above=())


def own(path: Path) -> Keys:
    """Read the keys that stand in a file itself; the values are shared, so nobody may change them. Raises TaskError."""
    try:
        stat = path.stat()
    except OSError as error:
        raise TaskError(f"{shown(path)}: cannot be read: {error.strerror}") from error
    return _own(path, stat.st_mtime_ns, stat.st_size)


def with_included(keys: Keys, *, path: Path) -> Keys:
    """Lay keys over those of the files that their `include` names, relative to `path`."""
    return _over_included(keys, path=path.absolute(), above=(path.absolute(),))


def shown(path: Path | str) -> str:
    """Name a file in a message: by its place in lm_eval, relative to the working directory, or in full."""
    if is_shipped(path):
        return within_shipped(path)
    try:
        return Path(path).relative_to(Path.cwd()).as_posix()
    except ValueError:
        return Path(path).as_posix()


def is_shipped(path: Path | str) -> bool:
    """Whether a file is lm_eval's own."""
    return f"/{SHIPPED}/" in Path(path).as_posix()


def within_shipped(path: Path | str) -> str:
    """Name a file of lm_eval by its place in it."""
    return f"{SHIPPED}/{Path(path).as_posix().rpartition(f'/{SHIPPED}/')[2]}"


def at(place: Place) -> str:
    """Write a place, such as `lm_eval/tasks/gsm8k/gsm8k.yaml:3`."""
    return f"{shown(place[0])}:{place[1]}"


def parse(text: str | bytes, *, folder: str, is_strict: bool = False) -> tuple[object, Mapping[str, int]]:
    """Parse one document; also the lines of its keys, whose names are those of Keys.places.

    Of a key that stands twice in one mapping the last counts; `is_strict` refuses it. Raises yaml.YAMLError and
    ValueError.
    """
    loader = _Loader(text)
    loader.folder = folder
    try:
        node = loader.get_single_node()
        if node is None:
            return None, {}
        if is_strict:
            refuse_repeats(node)
        lines: dict[str, int] = {}
        _walk(node, name="", lines=lines, seen=set())
        return loader.construct_document(node), lines
    finally:
        loader.dispose()


def refuse_repeats(node: yaml.Node | None) -> None:
    """Raise RepeatedKeyError for a key that stands twice in one mapping, of which YAML would silently take the last."""
    left, seen = [node], set[int]()
    while left:
        each = left.pop()
        if each is None or id(each) in seen:
            continue
        seen.add(id(each))
        if isinstance(each, yaml.SequenceNode):
            left += reversed(each.value)
        elif isinstance(each, yaml.MappingNode):
            names: set[str] = set()
            for key in (key for key, _ in each.value if isinstance(key, yaml.ScalarNode)):
                if key.value in names:
                    raise RepeatedKeyError(key.value, key.start_mark.line + 1)
                names.add(key.value)
            left += (value for _, value in reversed(each.value))


class _Loader(_Safe):  # type: ignore[misc]  # its base is Any
    """Safe YAML and `!function`, whose value is a name."""

    folder = ""


def _function(loader: _Loader, node: yaml.ScalarNode) -> Function:
    return Function(loader.folder, str(loader.construct_scalar(node)))


_Loader.add_constructor(FUNCTION, _function)


def _walk(node: yaml.Node, *, name: str, lines: dict[str, int], seen: set[int]) -> None:
    """Enter the lines of the keys below a node into `lines`; what only aliases lead to again is left out."""
    if id(node) in seen:
        return
    seen.add(id(node))
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            full = f"{name}.{key.value}" if name else key.value
            lines[full] = key.start_mark.line + 1
            if not isinstance(value, yaml.ScalarNode):
                _walk(value, name=full, lines=lines, seen=seen)
    elif isinstance(node, yaml.SequenceNode):
        for number, value in enumerate(node.value):
            lines[f"{name}[{number}]"] = value.start_mark.line + 1
            if not isinstance(value, yaml.ScalarNode):
                _walk(value, name=f"{name}[{number}]", lines=lines, seen=seen)


def _merged(path: Path, *, above: tuple[Path, ...]) -> Keys:
    if path in above:
        raise TaskError(f"{shown(above[-1])}: key 'include': found {shown(path)}, which includes this file itself")
    return _over_included(own(path), path=path, above=(*above, path))


def _over_included(keys: Keys, *, path: Path, above: tuple[Path, ...]) -> Keys:
    if INCLUDE not in keys.values:
        return keys
    included = keys.values[INCLUDE]
    values: dict[str, object] = {}
    places: dict[str, Place] = {}
    for name in included if isinstance(included, list) else [included]:
        below = _merged(_included(name, path=path, place=keys.places[INCLUDE]), above=above)
        values |= below.values
        places |= below.places
    for key in NOT_INHERITED:
        values.pop(key, None)
    values |= keys.values
    del values[INCLUDE]
    return Keys(values, places | dict(keys.places))


def _included(name: object, *, path: Path, place: Place) -> Path:
    if not isinstance(name, str):
        raise TaskError(f"{at(place)}: key 'include': found {name!r}, expected the path of a YAML file")
    found = Path(os.path.normpath(path.parent / name))
    if not found.is_file():
        beside = [file.name for file in found.parent.iterdir()] if found.parent.is_dir() else []
        hint = suggest(found.name, beside) if beside else ""
        hint = f"; {hint}" if hint.startswith("did") else "; give a path relative to this file"
        raise TaskError(f"{at(place)}: key 'include': no such file {name!r}{hint}")
    return found


@lru_cache(maxsize=4096)
def _own(path: Path, changed: int, size: int) -> Keys:  # noqa: ARG001 - a file that changed is another file
    name = shown(path)
    try:
        # Files of lm_eval itself are taken as lm_eval takes them.
        values, lines = parse(path.read_bytes(), folder=str(path.parent), is_strict=not is_shipped(path))
    except RepeatedKeyError as error:
        raise TaskError(f"{name}:{error.line}: {error}") from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f"{name}:{mark.line + 1}" if mark else name
        raise TaskError(f"{place}: broken YAML: {error.problem or error.context}") from error
    except (yaml.YAMLError, ValueError, RecursionError, OSError) as error:
        raise TaskError(f"{name}: broken YAML: {str(error).splitlines()[0]}") from error
    if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
        raise TaskError(f"{name}: found no mapping of keys in text, expected a task file of lm_eval")
    return Keys(values, {key: (str(path), line) for key, line in {**dict.fromkeys(values, 1), **lines}.items()})

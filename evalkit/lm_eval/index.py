"""Find tasks, groups and tags by name among lm_eval's task files.

Only what names them is parsed: the top-level keys task, group, tag, class and include. lm_eval's order decides between
files that claim one name: the first by path, as text, has it.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cache, lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import yaml

from evalkit.errors import TaskError
from evalkit.lm_eval import yaml_files

PASSED_OVER = {"__pycache__", ".ipynb_checkpoints"}
HEAD = re.compile(r"^(?:task|group|tag|class|include)[ \t]*:.*(?:\n(?:[ \t#-].*)?)*", re.MULTILINE)
SIMPLE = re.compile(
    r"(\w+)[ \t]*:[ \t]+(?:\"([^\"\\\n]*)\"|([A-Za-z_][\w./-]*[\w.]))\s*"
)  # text, beyond doubt, on one line
WORDS = {"true", "false", "yes", "no", "on", "off", "null"}  # that are not text
UNUSUAL = re.compile(r"^(?:[{<&?!%]|[\"'](?:task|group|tag|class|include)[\"'])", re.MULTILINE)


@dataclass(slots=True)
class Entry:
    """What a name stands for."""

    name: str
    kind: Literal["task", "python", "group", "tag"]
    path: str | None  # None for a tag
    members: set[str] = field(default_factory=set)  # tasks that bear the tag


@cache
def installed() -> Path:
    """Return the folder of the task files of an installed lm_eval, which is not imported. Raises TaskError."""
    spec = find_spec("lm_eval")
    for place in spec.submodule_search_locations or () if spec else ():
        folder = Path(place, "tasks").resolve()
        if folder.is_dir():
            return folder
    raise TaskError(
        "lm_eval is not installed here, which lm_eval:NAME looks tasks up in; install it with `pip install lm-eval`, "
        "or give the path of a task file"
    )


@cache
def build(root: Path) -> Mapping[str, Entry]:
    """Index all YAML files below a folder; files that no task can be read from are passed over, as lm_eval does."""
    entries: dict[str, Entry] = {}
    for path in _files(root):
        head = _head(path, above=())
        if head is not None:
            _enter(entries, head, path)
    return entries


def unknown(name: str, entries: Mapping[str, Entry]) -> str:
    """End a message about an unknown name."""
    close = get_close_matches(name, entries, n=1, cutoff=0.6)
    if close:
        return f"did you mean {close[0]!r}?"
    return f"found none like it among the {len(entries):,} tasks, groups and tags"


def _enter(entries: dict[str, Entry], head: Mapping[str, object], path: str) -> None:
    kind = kind_of(head)
    name = head.get("group") if kind == "group" else head.get("task")
    if kind is None or not isinstance(name, str) or name in entries:
        return
    tags = head.get("tag") or ()
    entries[name] = Entry(name, kind, path)
    if kind == "group":
        return
    for tag in [tags] if isinstance(tags, str) else list(tags) if isinstance(tags, list | tuple) else []:
        entries.setdefault(tag, Entry(tag, "tag", None)).members.add(name)


def kind_of(keys: Mapping[str, object]) -> Literal["task", "python", "group"] | None:
    """Tell what a file describes; None for one that only others include."""
    if "class" in keys:
        return "python"
    if "group" in keys:
        return "group"
    return "task" if "task" in keys else None


def _files(root: Path) -> Iterator[str]:
    found = []
    for folder, below, names in os.walk(root):
        below[:] = [name for name in below if name not in PASSED_OVER]
        found += [f"{folder}/{name}" for name in names if name.endswith(".yaml")]
    return iter(sorted(found))


def _head(path: str, *, above: tuple[str, ...]) -> Mapping[str, object] | None:
    """Read the keys that name a file's task, those of its includes among them."""
    head = _own_head(path)
    if head is None or path in above:
        return None
    included = head.get(yaml_files.INCLUDE)
    if included is None:
        return head
    merged: dict[str, object] = {}
    for name in included if isinstance(included, list) else [included]:
        below = _head(os.path.normpath(os.path.join(os.path.dirname(path), str(name))), above=(*above, path))
        if below is None:
            return None
        merged.update(below)
    return {**merged, **head}


@lru_cache(maxsize=4096)
def _own_head(path: str) -> Mapping[str, object] | None:
    try:
        with open(path, encoding="utf-8-sig") as file:
            text = file.read()
    except (OSError, UnicodeDecodeError):
        return None
    folder = os.path.dirname(path)
    if not UNUSUAL.search(text):
        with contextlib.suppress(yaml.YAMLError, ValueError):  # an anchor that stands elsewhere
            return _chosen(HEAD.findall(text), folder=folder)
    try:
        found, _ = yaml_files.parse(text, folder=folder)
    except (yaml.YAMLError, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _chosen(parts: Sequence[str], *, folder: str) -> Mapping[str, object]:
    """Read keys from the parts of a file that hold them; most need no parser."""
    head: dict[str, object] = {}
    rest = ""
    for part in parts:
        simple = SIMPLE.fullmatch(part)
        value = simple and (simple[2] if simple[2] is not None else simple[3])
        if simple is None or value is None or value.lower() in WORDS:
            rest += part + "\n"
        else:
            head[simple[1]] = value
    if rest:
        found, _ = yaml_files.parse(rest, folder=folder)
        head |= found if isinstance(found, dict) else {}
    return head

"""run.json: what a run directory was made with, so that nothing else is ever mixed into it."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import platform
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from evalkit import atomic, fewshot, owner, signature, text
from evalkit.assignment import Assignment, short_names
from evalkit.errors import StorageError
from evalkit.interfaces import LanguageModel, SizedModel
from evalkit.records import Result
from evalkit.settings import Settings
from evalkit.store import Store

Json = dict[str, Any]  # Any: JSON nests

FILE = owner.RUN
ANSWERS = "responses.sqlite"
FREE = (
    "tasks",
    "data",
    "pool",
    "by",
    "token_budget",
    "call_tokens",
    "trust_task_code",
    "out",
)  # settings that change no answer, or only through the hashes
PLACES = ("source", "pool", "sample", "sample_pool")  # of a task: its examples' hash says what lies there
LIBRARIES = (
    *("torch", "transformers", "tokenizers", "safetensors", "datasets", "pyarrow", "numpy", "pandas", "jinja2"),
    *("sacrebleu", "sacremoses"),
)


def describe(settings: Settings, assignments: Sequence[Assignment], model: LanguageModel) -> Json:
    """List settings and hashes: all that decides what a model is asked and what it answers."""
    described: Json = {
        "settings": dataclasses.asdict(settings)
        | {"out": None if settings.out is None else str(settings.out), "model": model.name},
        "hashes": {
            "model": model.fingerprint,
            "tasks": {
                assignment.task.name: {
                    "task": text.digest(_portable(assignment), fewshot.mode_of(assignment.task, settings.demos)),
                    "template": text.digest(assignment.task.template),
                    "data": assignment.data_digest,
                }
                for assignment in assignments
            },
        },
    }
    described["parameters"] = model.parameters if isinstance(model, SizedModel) else None
    described["notes"] = [note for assignment in assignments for note in assignment.notes]
    plain: Json = json.loads(json.dumps(described))  # tuples become lists, as they will be when read back
    return plain


def default_directory(described: Json) -> Path:
    """Name a directory that only the same settings on the same data and model lead to."""
    settings = described["settings"]
    names = "+".join(short_names(settings["tasks"]))
    model = Path(settings["model"]).name
    return Path("reports") / f"{_file_name(names)}-{_file_name(model)}-{text.digest(_identity(described), length=8)}"


def check(directory: Path) -> None:
    """Raise StorageError where a run cannot be kept there, as far as that shows without writing anything."""
    nearest = directory.absolute()
    while not nearest.exists() and nearest != nearest.parent:
        nearest = nearest.parent
    if not nearest.is_dir():
        raise StorageError(f"{directory}: cannot write: {nearest} is not a directory; choose another --out")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise StorageError(f"{directory}: cannot write: no permission for {nearest}; choose another --out")
    if (directory / owner.STUDY).exists():
        raise StorageError(
            f"{directory}: holds a study, whose files would be mixed up with a run's; choose another --out"
        )
    if directory.is_dir():
        found = sorted(path.name for path in directory.iterdir())
        if found and not {FILE, ANSWERS} & set(found):
            raise StorageError(f"{directory}: holds {found[0]!r} but no {FILE}, so is not a run; choose another --out")


@contextlib.contextmanager
def claim(directory: Path, described: Json) -> Iterator[Store]:
    """Hold the directory for this run, and yield its answers; made where it is missing.

    Raises StorageError where it cannot be written, another process holds it, or it was made with other settings.
    """
    check(directory)
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(atomic.explain(directory, error)) from error
    with Store(directory / ANSWERS) as store:
        before = _read(directory / FILE)
        if before is None:
            write(directory, described, signatures=(), results=())
        else:
            _compare(directory, before, described)
        yield store


def write(directory: Path, described: Json, *, signatures: Sequence[str], results: Sequence[Result]) -> None:
    """Write run.json; signatures and results stand in it once the run is finished."""
    content = {
        "signatures": signatures,
        **described,
        "versions": versions(),
        "results": [dataclasses.asdict(result) for result in results],
    }
    atomic.write(directory / FILE, [json.dumps(content, indent=2, ensure_ascii=False), "\n"])


def versions() -> dict[str, str]:
    """List the versions of evalkit, Python and those libraries that this run imported."""
    found = {
        "evalkit": signature.version(),
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
    }
    for library in LIBRARIES:
        if library in sys.modules:
            with contextlib.suppress(metadata.PackageNotFoundError):
                found[library] = metadata.version(library)
    return found


def _portable(assignment: Assignment) -> Json:
    # Where a file lies says nothing of what it holds, and its hash does.
    fields = dataclasses.asdict(assignment.task)
    return {key: value for key, value in fields.items() if key not in PLACES}


def _identity(described: Mapping[str, Any]) -> Json:  # Any: JSON
    settings = {key: value for key, value in described["settings"].items() if key not in FREE}
    return {"settings": settings, "hashes": dict(described["hashes"])}


def _read(path: Path) -> Json | None:
    try:
        before = json.loads(path.read_text(encoding="utf-8"))
        _flat(_identity(before))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StorageError(f"{path}: cannot be read: {error.strerror}; choose another --out") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise StorageError(f"{path}: not written by evalkit run, or damaged; choose another --out") from error
    return dict(before)


def _compare(directory: Path, before: Json, now: Json) -> None:
    old, new = _flat(_identity(before)), _flat(_identity(now))
    for key in sorted(old.keys() | new.keys(), key=lambda key: (key in old and key in new, "settings" not in key, key)):
        if not re.fullmatch(r"settings \S+|hashes model|hashes tasks .+ (task|template|data)", key):
            raise StorageError(f"{directory / FILE}: damaged: holds {key!r}; choose another --out")
        if old.get(key) != new.get(key):
            raise StorageError(
                f"{directory}: made with {_difference(key, old.get(key), new.get(key))}; choose another --out, or "
                "remove the directory"
            )


def _difference(key: str, old: object, new: object) -> str:
    kind, _, name = key.partition(" ")
    if kind == "settings":
        return f"--{name.replace('_', '-')} {_shown(old)}, not {_shown(new)}"
    if name == "model":
        return f"other weights, configuration or tokenizer (model {_short(old)}, not {_short(new)})"
    task, _, part = name.removeprefix("tasks ").rpartition(" ")  # a task's name may hold spaces
    if old is None or new is None:
        return f"{'no ' if old is None else ''}task {task}"
    return f"another {part} of {task} ({_short(old)}, not {_short(new)})"


def _shown(value: object) -> str:
    if isinstance(value, list):
        return ",".join(map(str, value))
    return "unset" if value is None else str(value)


def _short(digest: object) -> str:
    return str(digest)[: signature.DIGITS]


def _flat(value: Mapping[str, Any], prefix: str = "") -> dict[str, object]:  # Any: JSON
    """One level of keys, such as `hashes tasks arithmetic/2-digit-addition data`."""
    flat: dict[str, object] = {}
    for key, inner in value.items():
        name = f"{prefix} {key}".strip()
        flat |= _flat(inner, name) if isinstance(inner, dict) else {name: inner}
    return flat


def _file_name(text: str) -> str:
    return re.sub(r"[^\w.+-]+", "-", text).strip("-.")[:60]

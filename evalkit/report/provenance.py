"""How a run or scan was made: its settings, versions and digests, and the command that makes it again."""

from __future__ import annotations

import dataclasses
import json
import shlex
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from evalkit import manifest
from evalkit.errors import StorageError
from evalkit.report.content import Provenance
from evalkit.report.table import clean

LEFT_OUT = ("signatures", "signature", "results", "notes", "kind")  # shown elsewhere
# Settings that change nothing.
UNSAID = {"run": ("call_tokens", "out"), "scan": ("workers", "shard"), "study build": ("out",)}
FLAGS = {
    "tasks": "task",
    "models": "model",
    "is_edited": "edited",
    "with_substrings": "substrings",
}  # where they differ from settings
REPEATED = ("corpus", "given")


def read(directory: Path, kinds: Mapping[str, type[Any]]) -> Provenance:  # Any: dataclasses of settings
    """Read what run.json says of a run or scan; StorageError where it cannot be read.

    `kinds` are the settings of the commands `run` and `scan`, which say what their flags usually are.
    """
    path = directory / manifest.FILE
    try:
        described = dict(json.loads(path.read_text(encoding="utf-8")))
        kind = str(described.get("kind", "run"))
        given = {name: value for name, value in described.items() if name not in LEFT_OUT}
        given["settings"] = {name: value for name, value in given["settings"].items() if name not in UNSAID[kind]}
        if kind == "scan":
            files = given.pop("corpus", [])
            given["read"] = {"files": len(files), **given.get("read", {})}
        signatures = [described["signature"]] if kind == "scan" else described["signatures"]
        return of(directory, given, command=command(kind, described["settings"], kinds[kind]), signatures=signatures)
    except OSError as error:
        raise StorageError(f"{path}: cannot be read ({error.strerror}); run its command again") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise StorageError(f"{path}: damaged; run its command again") from error


def of(
    directory: Path, given: Mapping[str, Any], *, command: str, signatures: Iterable[str]
) -> Provenance:  # Any: JSON
    """Put what is known of how a directory was made into one record, safe to be shown."""
    return Provenance(
        name=clean(directory.resolve().name),
        command=command,
        settings={clean(name): clean(value) for name, value in _flat(given)},
        signatures=tuple(map(clean, signatures)),
    )


def command(name: str, settings: Mapping[str, Any], kind: type[Any]) -> str:  # Any: JSON, a dataclass
    """Write the command line that has these settings; those that are as usual are left out."""
    defaults = {field.name: field.default for field in dataclasses.fields(kind)}
    words = ["evalkit", *name.split()]
    for key, value in settings.items():
        is_usual = value is None or value is False or value == [] or value == _plain(defaults.get(key))
        if key in UNSAID[name] or is_usual:
            continue
        words += _words(key, value)
    return shlex.join(words)


def _words(key: str, value: Any) -> list[str]:  # Any: JSON
    """Write one setting as its flag."""
    flag = f"--{FLAGS.get(key, key).replace('_', '-')}"
    if value is True:
        return [flag]
    if not isinstance(value, list):
        return [flag, str(value)]
    if key in REPEATED:
        return [word for each in value for word in (flag, str(each))]
    parts = ["=".join(map(str, each)) if isinstance(each, list) else str(each) for each in value]
    return [flag, ",".join(parts)]


def _plain(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value


def _flat(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:  # Any: JSON
    """Yield every setting by the keys that lead to it, such as `settings shots`."""
    for key, inner in value.items():
        name = f"{prefix} {key}".strip()
        if isinstance(inner, dict):
            yield from _flat(inner, name)
        elif isinstance(inner, str):
            yield name, inner
        else:
            yield name, json.dumps(inner, ensure_ascii=False)

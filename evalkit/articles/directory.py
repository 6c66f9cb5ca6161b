"""A study's directory: study.json, which holds the whole study, and what it was built with."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from evalkit import atomic, owner
from evalkit.articles.records import Study
from evalkit.errors import StorageError

Json = dict[str, Any]  # Any: JSON nests

FILE = owner.STUDY
ANSWERS = "answers.sqlite"  # of participants: from the first on, the study stays as it is
SCANS = "corpus"  # folder of the scans for candidates that stand in a corpus
KIND = "study"
VERSION = 1  # of the file's form

BUILD = "build a study there: evalkit study build --out"


def save(study: Study, directory: Path, *, built: Mapping[str, Any] | None = None) -> None:  # Any: JSON
    """Write study.json, whole or not at all; `built` says what it was made with.

    The directory is made where it is missing. Raises StorageError where it cannot be written, and where participants
    have been asked about another study.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(atomic.explain(directory, error)) from error
    has_answers = (directory / ANSWERS).exists()
    if has_answers and not ((directory / FILE).exists() and load(directory) == study):
        raise StorageError(
            f"{directory}: holds {ANSWERS}, answers of participants to the study that is there, expected none before "
            "a study is changed; choose another --out"
        )
    if has_answers:
        return
    content = {"kind": KIND, "version": VERSION, **dataclasses.asdict(study), "built": dict(built or {})}
    atomic.write(directory / FILE, [json.dumps(content, indent=1, ensure_ascii=False), "\n"])


def load(directory: Path) -> Study:
    """Read the study of a directory; StorageError where there is none, or the file is damaged or of another kind."""
    from pydantic import TypeAdapter, ValidationError

    path = directory / FILE
    content = _read(directory)
    try:
        study = TypeAdapter(Study).validate_json(json.dumps(content), strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise StorageError(f"{path}: damaged: key {where!r}: {first['msg']}; build the study again") from error
    if wrong := _complaint(study):
        raise StorageError(f"{path}: damaged: {wrong}; build the study again")
    return study


def built(directory: Path) -> Json:
    """Read what the study of a directory was made with; empty where evalkit did not build it. Raises StorageError."""
    found = _read(directory).get("built", {})
    if not isinstance(found, dict):
        raise StorageError(f"{directory / FILE}: damaged: key 'built': expected an object; build the study again")
    return found


def _read(directory: Path) -> Json:
    path = directory / FILE
    if not path.is_file():
        what = "no study" if directory.is_dir() else "no such directory"
        raise StorageError(f"{directory}: found {what}, expected {FILE} in it; {BUILD} {directory}")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise StorageError(f"{path}: cannot be read: {error.strerror or error}; mend this and try again") from error
    except (ValueError, RecursionError) as error:
        raise StorageError(f"{path}: damaged, found no JSON in UTF-8; build the study again") from error
    if not isinstance(content, dict) or content.get("kind") != KIND:
        raise StorageError(f"{path}: found another kind of file, expected a study; give another directory")
    if content.get("version") != VERSION:
        raise StorageError(
            f"{path}: found form {content.get('version')!r}, expected {VERSION}; build the study with this evalkit"
        )
    return content


def _complaint(study: Study) -> str | None:
    """Say what of a study does not fit together; None where all does."""
    ids = [article.id for article in study.articles]
    if not ids or not study.conditions:
        return "found no " + ("articles" if not ids else "conditions")
    for what, names in (
        ("article", ids),
        ("condition", [each.name for each in study.conditions]),
        ("article of quiz A", study.human_in_a),
    ):
        if twice := _repeated(names):
            return f"found the {what} {twice!r} twice"
    if strange := sorted({*study.human_in_a} - {*ids}):
        return f"quiz A has an article {strange[0]!r} that the study has not"
    for condition in study.conditions:
        for article, written in condition.written.items():
            if written.article != article:
                return f"condition {condition.name!r} has what was written for {written.article!r} under {article!r}"
        if condition.written.keys() != {*ids}:
            odd = sorted(condition.written.keys() ^ {*ids})[0]
            return f"condition {condition.name!r} and the study differ on whether there is an article {odd!r}"
    return None


def _repeated(names: Iterable[str]) -> str | None:
    return next((name for name, count in Counter(names).items() if count > 1), None)

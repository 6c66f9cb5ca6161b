"""What detectors found of a study, and the file that keeps it: detectors.json in the study's directory."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from evalkit import atomic
from evalkit.articles.detectors.measure import Calibration, Measures
from evalkit.errors import StorageError
from evalkit.records import Estimate

Kind: TypeAlias = Literal["zero-shot", "two models", "learned"]

FILE = "detectors.json"
KIND = "detection"
VERSION = 1  # of the file's form
AGAIN = "run evalkit study detect on the directory again"


@dataclass(frozen=True, slots=True)
class Told:
    """What one detector makes of one condition."""

    condition: str  # name
    detector: str  # such as `log-likelihood`
    kind: Kind
    human: tuple[float | None, ...]  # score of each article as a person wrote it; None for a text without a score
    model: tuple[float | None, ...]  # of what the condition's model wrote; larger scores are more machine-like
    unscored: int  # articles of which either text has no score, which are left out of the measures
    measures: Measures | None  # None where fewer than two articles are left
    calibration: Calibration | None  # of scores that are probabilities


@dataclass(frozen=True, slots=True)
class Detection:
    """What all detectors make of all conditions of a study."""

    study: str  # signature of the study
    scorer: str  # name of the model whose token probabilities are used
    second: str | None  # of the one beside it
    articles: tuple[str, ...]  # ids, in the order of the scores
    rows: tuple[Told, ...]  # by condition, in the study's order
    notes: tuple[str, ...]  # what was left out, and why
    signature: str


def check(directory: Path) -> None:
    """Raise StorageError where no scores can be kept there, before any are computed."""
    if not os.access(directory, os.W_OK | os.X_OK):
        raise StorageError(f"{directory}: cannot write: no permission; copy the study to where it can be written")


def save(detection: Detection, directory: Path) -> None:
    """Write detectors.json, whole or not at all; StorageError where it cannot be written."""
    content = {"kind": KIND, "version": VERSION, **dataclasses.asdict(detection)}
    atomic.write(directory / FILE, [json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False), "\n"])


def load(directory: Path) -> Detection:
    """Read what `save` wrote; StorageError where there is nothing, or the file is damaged or of another kind."""
    from pydantic import TypeAdapter, ValidationError

    path = directory / FILE
    try:
        content = json.loads(path.read_text(encoding="utf-8"), parse_constant=_no_number)
    except OSError as error:
        raise StorageError(f"{path}: cannot be read: {error.strerror or error}; {AGAIN}") from error
    except (ValueError, RecursionError) as error:
        raise StorageError(f"{path}: damaged, found no JSON in UTF-8; {AGAIN}") from error
    if not isinstance(content, dict) or content.get("kind") != KIND or content.get("version") != VERSION:
        raise StorageError(f"{path}: found another kind of file, expected detectors' scores of form {VERSION}; {AGAIN}")
    try:
        detection = TypeAdapter(Detection).validate_json(json.dumps(content), strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise StorageError(f"{path}: damaged: key {where!r}: {first['msg']}; {AGAIN}") from error
    for told in detection.rows:
        if strange := next((each for each in _estimates(told) if not 0 <= each <= 1), None):
            raise StorageError(
                f"{path}: damaged: {told.detector} of {told.condition}: found {strange:g}, expected 0 to 1; {AGAIN}"
            )
    return detection


def _estimates(told: Told) -> Iterator[float]:
    """Give all shares, and the ends of their intervals."""
    for found in (told.measures, told.calibration):
        for value in () if found is None else (getattr(found, each.name) for each in dataclasses.fields(found)):
            if isinstance(value, Estimate):
                yield from (value.value, value.low, value.high)


def _no_number(name: str) -> float:
    raise ValueError(f"found {name}, expected a number")

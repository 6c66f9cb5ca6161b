"""A finished run, read back from its directory: what run.json says of it, and its samples."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from evalkit import encoding, manifest
from evalkit.errors import DataError, StorageError
from evalkit.records import Sample

Described = dict[str, Any]  # Any: JSON

FILE = manifest.FILE
SAMPLES = "samples.jsonl"


def described(directory: Path) -> Described:
    """Read run.json; StorageError where the run is not finished, or the file is damaged."""
    path = directory / FILE
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if found.get("kind") == "scan":
            raise DataError(f"{directory}: holds a scan, not a run; give a directory that evalkit run has written")
        has_settings = {"tasks", "data"} <= found["settings"].keys() and "tasks" in found["hashes"]
        has_lists = all(isinstance(found["settings"].get(each, []), list) for each in ("tasks", "seeds"))
        has_results = found.get("results") and all(
            {"task", "title", "model"} <= each.keys() for each in found["results"]
        )
        if has_settings and has_lists and has_results and "signatures" in found:
            return dict(found)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise StorageError(f"{path}: cannot be read, or damaged; run its command again") from error
    raise StorageError(f"{directory}: found no finished run; run its command again, to the end")


def samples(directory: Path) -> Iterator[Sample]:
    """Yield a run's samples in its order; DataError names the line that is none, or says how many are missing."""
    path = directory / SAMPLES
    number = 0
    try:
        with path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, start=1):
                try:
                    yield encoding.decode_sample(line)
                except (ValueError, KeyError, TypeError) as error:
                    raise DataError(f"{path}:{number}: not a sample; run the run's command again") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8; run the run's command again") from error
    except OSError as error:
        raise StorageError(f"{path}: cannot be read ({error.strerror}); run the run's command again") from error
    expected = _count(directory)
    if expected is not None and number != expected:
        raise DataError(f"{path}: found {number:,} samples, expected {expected:,}; run the run's command again")


def _count(directory: Path) -> int | None:
    """Read how many samples a run has; None where an earlier version wrote it, or the file does not tell."""
    try:
        found = json.loads((directory / FILE).read_text(encoding="utf-8"))["samples"]
        return found if isinstance(found, int) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None

"""Finished runs as a report takes them: their results, and what tables call them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from evalkit import stored
from evalkit.errors import DataError, StorageError
from evalkit.records import Estimate, Result
from evalkit.stored import Described


@dataclass(frozen=True, slots=True)
class Run:
    """One run, read back."""

    directory: Path
    name: str  # the model's, with the directory where another run has the same results of that model
    described: Described
    results: tuple[Result, ...]  # by a model of that name


def read(paths: Sequence[Path]) -> tuple[Run, ...]:
    """Read finished runs; DataError where there is no such run or one is given twice, StorageError for damaged ones."""
    places = Counter(path.resolve() for path in paths)
    if twice := [path for path in paths if places[path.resolve()] > 1]:
        raise DataError(f"{twice[0]}: given twice, expected runs that differ; name it once")
    found = [_read(path) for path in paths]
    clashes = Counter(key for run in found for key in {_key(each) for each in run.results})
    named = []
    for run in found:
        is_shared = any(clashes[_key(each)] > 1 for each in run.results)
        alike = [other for other in found if other.name == run.name and other is not run]
        if is_shared and alike:
            short = run.directory.resolve().name
            is_short_enough = all(other.directory.resolve().name != short for other in alike)
            name = f"{run.name} ({short if is_short_enough else run.directory})"
            named.append(replace(run, name=name, results=tuple(replace(each, model=name) for each in run.results)))
        else:
            named.append(run)
    return tuple(named)


def _read(path: Path) -> Run:
    if not (path / stored.FILE).is_file():
        raise DataError(f"{path}: found no {stored.FILE}; give a directory that evalkit run has written")
    described = stored.described(path)
    try:
        results = tuple(_result(fields) for fields in described["results"])
        if not all(isinstance(line, str) for line in described["signatures"]):
            raise TypeError("found another type")
    except (KeyError, TypeError, AttributeError) as error:
        raise StorageError(
            f"{path / stored.FILE}: holds a result or signature that cannot be read; run its command again"
        ) from error
    return Run(path, results[0].model, described, results)


def _key(result: Result) -> tuple[object, ...]:
    return result.model, result.task, result.metric, result.shots, result.subset


def _result(fields: Mapping[str, Any]) -> Result:  # Any: JSON
    given = fields["estimate"]
    estimate = None if given is None else Estimate(**given)
    result = Result(**{**fields, "estimate": estimate})
    numbers = [result.shots, result.shots_used]
    numbers += [] if estimate is None else [estimate.value, estimate.low, estimate.high, estimate.n]
    texts = [result.task, *([] if result.spec is None else [result.spec])]
    if not all(isinstance(each, int | float) for each in numbers) or not all(isinstance(each, str) for each in texts):
        raise TypeError("found another type")
    return result

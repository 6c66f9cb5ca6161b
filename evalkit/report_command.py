"""What the command `report` does: scores of finished runs beside published ones, without asking a model again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from evalkit import atomic, stored
from evalkit.errors import DataError, StorageError, UsageError
from evalkit.records import Estimate, Result, Table
from evalkit.report import files, published, table
from evalkit.stored import Described


def compare_with_published(runs: Sequence[Path], *, out: Path | None = None) -> Table:
    """Set the results of runs beside GPT-3's, and write the table's files where `out` is given.

    Raises DataError where there is no such run or none of its tasks has published scores, StorageError where a run is
    not finished, its file is damaged or `out` cannot be written, UsageError where `out` holds a run.
    """
    if out is not None and (out / stored.FILE).exists():
        raise UsageError(f"--out: {out} holds a run, whose own tables would be lost; choose another directory")
    found: list[Result] = []
    notes: list[str] = []
    for path in runs:
        if not (path / stored.FILE).is_file():
            raise DataError(f"{path}: found no {stored.FILE}; give a directory that evalkit run has written")
        described = stored.described(path)
        results = _results(path, described)
        if not published.table(results).rows:
            tasks = ", ".join(dict.fromkeys(each.task for each in results))
            raise DataError(f"{path}: has the tasks {tasks}; expected one that Table H.1 has scores of: {_known()}")
        found += results
        notes += [*described.get("notes", ()), *described["signatures"]]
        if data := described["settings"].get("data"):
            notes.append(f"{path}: run on other data, {data}, which GPT-3's scores are not of.")
    shown = published.table(found)
    shown = replace(shown, notes=(*shown.notes, *map(table.clean, notes)))
    if out is not None:
        try:
            out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(atomic.explain(out, error)) from error
        files.write(out, shown, title=shown.caption)
    return shown


def _results(path: Path, described: Described) -> list[Result]:
    try:
        return [_result(fields) for fields in described["results"]]
    except (KeyError, TypeError, AttributeError) as error:
        raise StorageError(
            f"{path / stored.FILE}: holds a result that cannot be read; run its command again"
        ) from error


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


def _known() -> str:
    return ", ".join(published.tasks())

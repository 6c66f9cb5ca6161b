"""The samples of runs as one table in parquet: a row a sample, every number of the run in a typed column."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from evalkit import atomic, stored
from evalkit.errors import DataError, StorageError
from evalkit.interfaces import OnProgress, Progress
from evalkit.records import Completion, LogProb, Response, Sample, TokenScores
from evalkit.report.page.samples import chosen
from evalkit.stored import Described

FILE = "samples.parquet"
ROWS = 4096  # of a row group, all that is in memory at a time
CHARACTERS = 1 << 25  # of its prompts and fields, beyond which it is ended early

Verdict: TypeAlias = tuple[bool | None, float | None]  # dirty, coverage; None where the example cannot be told
Verdicts: TypeAlias = dict[tuple[str, str], Verdict]  # by task and example
Row: TypeAlias = dict[str, object]


def write(
    path: Path, runs: Sequence[tuple[Path, Described]], *, verdicts: Verdicts | None, on_progress: OnProgress
) -> int:
    """Write the table in row groups, in the order of runs and samples; gives the number of rows.

    Each number of a statistic has a column: of a metric with one number that of the metric's name, of one with several
    `NAME.0` and so on. `verdicts` add the columns dirty and coverage. Raises DataError for a sample that is none, or
    where a scan looked for other examples, StorageError where the disk refuses; a table that was there then stays.
    """
    import pyarrow
    import pyarrow.parquet

    widths, total = _measure([directory for directory, _ in runs], verdicts)
    schema = _schema(widths, has_verdicts=verdicts is not None)
    done = 0
    try:
        with (
            atomic.replacing(path) as beside,
            beside.open("wb") as file,  # pyarrow takes no name that is not UTF-8
            pyarrow.parquet.ParquetWriter(file, schema, compression="zstd") as writer,
        ):
            for rows in _groups(_rows(runs, widths, verdicts)):
                writer.write_table(_table(rows, schema))
                done += len(rows)
                on_progress(Progress("writing the table", done, total))
            if not done:
                writer.write_table(schema.empty_table())
    except OSError as error:
        raise StorageError(atomic.explain(path, error)) from error
    except pyarrow.ArrowException as error:
        raise DataError(f"{path}: cannot be written: {' '.join(str(error).split())}") from error
    return done


def _measure(runs: Sequence[Path], verdicts: Verdicts | None) -> tuple[dict[str, int], int]:
    """Count the numbers of each statistic, and the samples; what is no sample shows before anything is written.

    Raises DataError where a task was scanned, but none of its examples in the runs.
    """
    widths: dict[str, int] = {}
    scanned = {task: False for task, _ in verdicts or ()}  # whether an example of it is in a run
    absent: dict[str, str] = {}  # an example of each task that the scan has not
    total = 0
    for run in runs:
        for sample in stored.samples(run):
            total += 1
            if sample.task in scanned and not scanned[sample.task]:
                absent[sample.task] = sample.example.id
                scanned[sample.task] = (sample.task, sample.example.id) in (verdicts or {})
            for name, numbers in sample.statistics.items():
                widths[name] = max(widths.get(name, 1), len(numbers))
    for task, example in absent.items():
        if not scanned[task]:
            raise DataError(f"{task}: the scan has none of the runs' examples, such as {example!r}; scan the same data")
    return widths, total


def _statistic_columns(name: str, width: int) -> list[str]:
    return [name] if width == 1 else [f"{name}.{place}" for place in range(width)]


def _schema(widths: Mapping[str, int], *, has_verdicts: bool) -> Any:  # Any: pyarrow is untyped
    import pyarrow

    text, texts, whole = pyarrow.string(), pyarrow.list_(pyarrow.string()), pyarrow.int32()
    columns = [
        *(("run", text), ("model", text), ("task", text), ("shots", whole), ("seed", pyarrow.int64())),
        *(("example", text), ("cluster", text), ("prompt", text), ("tokens", whole), ("shots_used", whole)),
        *(("demonstrations", texts), ("targets", texts), ("choices", texts), ("answer", text), ("completions", texts)),
        *(("loglikelihoods", pyarrow.list_(pyarrow.float64())), ("chosen", whole)),
    ]
    columns += [(each, pyarrow.float64()) for name, width in widths.items() for each in _statistic_columns(name, width)]
    columns += [("dirty", pyarrow.bool_()), ("coverage", pyarrow.float64())] if has_verdicts else []
    columns += [("fields", text), ("signature", text)]
    return pyarrow.schema(columns)


def _rows(
    runs: Sequence[tuple[Path, Described]], widths: Mapping[str, int], verdicts: Verdicts | None
) -> Iterator[Row]:
    for directory, described in runs:
        shared: Row = {"run": str(directory), "model": described["results"][0]["model"]}
        signatures = {(each["task"], each.get("shots")): each.get("signature") for each in described["results"]}
        for sample in stored.samples(directory):
            row = shared | _row(sample) | _statistics(sample, widths)
            row["signature"] = signatures.get((sample.task, sample.shots))
            if verdicts is not None:
                row["dirty"], row["coverage"] = verdicts.get((sample.task, sample.example.id), (None, None))
            yield row


def _row(sample: Sample) -> Row:
    example, prompt = sample.example, sample.prompt
    completions = [each.text for each in sample.responses if isinstance(each, Completion)]
    place = chosen(sample)
    likeliest = None if place is None else example.choices[place]
    return {
        "task": sample.task,
        "shots": sample.shots,
        "seed": sample.seed,
        "example": example.id,
        "cluster": example.cluster,
        "prompt": None if prompt is None else prompt.context,
        "tokens": None if prompt is None else prompt.tokens,
        "shots_used": None if prompt is None else prompt.shots_used,
        "demonstrations": [] if prompt is None else list(prompt.demonstrations),
        "targets": list(example.targets),
        "choices": list(example.choices),
        "answer": completions[0] if completions else likeliest,
        "completions": completions,
        "loglikelihoods": [value for each in sample.responses if (value := _total(each)) is not None],
        "chosen": place,
        "fields": json.dumps(dict(example.fields), ensure_ascii=False, default=str),
    }


def _statistics(sample: Sample, widths: Mapping[str, int]) -> Row:
    return {
        column: number
        for name, numbers in sample.statistics.items()
        for column, number in zip(_statistic_columns(name, widths[name]), numbers, strict=False)
    }


def _total(response: Response) -> float | None:
    if isinstance(response, LogProb):
        return response.total
    return math.fsum(response.logprobs) if isinstance(response, TokenScores) else None


def _groups(rows: Iterator[Row]) -> Iterator[list[Row]]:
    """Put rows together until they are many or long."""
    group: list[Row] = []
    size = 0
    for row in rows:
        group.append(row)
        size += len(str(row["prompt"])) + len(str(row["fields"]))
        if len(group) >= ROWS or size >= CHARACTERS:
            yield group
            group, size = [], 0
    if group:
        yield group


def _table(rows: Sequence[Row], schema: Any) -> Any:  # Any: pyarrow is untyped
    import pyarrow

    arrays = []
    for column in schema:
        values = [row.get(column.name) for row in rows]
        try:
            arrays.append(pyarrow.array(values, column.type))
        except UnicodeEncodeError:
            # Half of a surrogate pair has no UTF-8 form; as \udc80 it stays readable, and is what JSON calls it.
            arrays.append(pyarrow.array([_encodable(each) for each in values], column.type))
    return pyarrow.table(arrays, schema=schema)


def _encodable(value: object) -> object:
    if isinstance(value, list):
        return [_encodable(each) for each in value]
    return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value

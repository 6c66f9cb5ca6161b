"""The published scores: Table H.1 of Brown et al. 2020, "Language Models are Few-Shot Learners", beside those of runs.

`table_h1.csv` holds the rows of the tasks that ship with evalkit, as printed in arXiv:2005.14165v4.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from evalkit.records import Cell, Result, Table
from evalkit.report import table as tables
from evalkit.report.layout import ALL, UNMARKED, Marks

TABLE_H1 = Path(__file__).with_name("table_h1.csv")
SETTINGS = ("zero", "one", "few")  # demonstrations
SIZES = {  # GPT-3's models by their parameters, as columns are called
    "125M": "Small 125M",
    "350M": "Medium 350M",
    "760M": "Large 760M",
    "1.3B": "XL 1.3B",
    "2.7B": "2.7B",
    "6.7B": "6.7B",
    "13B": "13B",
    "175B": "175B",
}


@dataclass(frozen=True, slots=True)
class Published:
    """GPT-3's scores on one task under one metric, in percent or BLEU, by setting and then by size."""

    metric: str  # as task files write it
    examples: int
    shots: int  # of the few-shot setting
    scores: Mapping[str, tuple[float, ...]]  # in the order of SIZES
    cautions: Mapping[str, tuple[str, ...]]  # what makes a printed score doubtful


def published(task: str, metric: str) -> Published | None:
    """Look up a task by the metric that its file names, such as `exact_match`; None where Table H.1 has no scores."""
    return next((each for each in _load().get(task, ()) if each.metric == metric), None)


def tasks() -> tuple[str, ...]:
    """Name the tasks, or groups of tasks, that have published scores."""
    return tuple(dict.fromkeys(task.partition("/")[0] for task in _load()))


def table(results: Sequence[Result], *, marks: Marks = UNMARKED) -> Table:
    """Set the results on all of a task's examples beside GPT-3's: 0 and 1 shots, and any more as its few-shot setting.

    Models stand beside each other where their shots agree. Results without published scores are noted; without any at
    all the table has no rows.
    """
    found: list[tuple[Result, Published]] = []
    others: list[Result] = []
    for result in results:
        figures = _figures(result)
        if figures is not None:
            found.append((result, figures))
        elif result.subset == ALL:
            others.append(result)
    rows = _by_row(found)
    models = list(dict.fromkeys(result.model for result, _ in found))
    return Table(
        columns=("task", "metric", "shots", "shots used", *map(tables.clean, models), *SIZES.values()),
        rows=tuple(_line(row, models, marks) for row in rows),
        caption=tables.clean(f"{', '.join(models)} beside GPT-3, with 95 % intervals where there are any"),
        notes=tuple(map(tables.clean, _notes(found, others))),
    )


def setting(shots: int) -> str:
    """Name what the paper calls this many demonstrations."""
    return SETTINGS[min(shots, 2)]


@cache
def _load() -> Mapping[str, tuple[Published, ...]]:
    with TABLE_H1.open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(line for line in lines if not line.startswith("#")))
    groups: dict[tuple[str, str], dict[str, dict[str, str]]] = {}
    for row in rows:
        groups.setdefault((row["task"], row["metric"]), {})[row["setting"]] = row
    tasks: dict[str, tuple[Published, ...]] = {}
    for (task, metric), by_setting in groups.items():
        first = by_setting[SETTINGS[0]]
        figures = Published(
            metric=metric,
            examples=int(first["examples"]),
            shots=int(first["shots"]),
            scores={name: tuple(float(row[size]) for size in SIZES) for name, row in by_setting.items()},
            cautions={name: tuple(filter(None, row["caution"].split("; "))) for name, row in by_setting.items()},
        )
        tasks[task] = (*tasks.get(task, ()), figures)
    return tasks


def _figures(result: Result) -> Published | None:
    """Find the published scores of a result: those of its task and metric, settings and all."""
    if result.subset != ALL:
        return None
    known = _load().get(result.task, ())
    return next((each for each in known if each.metric == result.spec), None)


Row = dict[str, tuple[Result, Published]]  # by model


def _by_row(found: Iterable[tuple[Result, Published]]) -> list[Row]:
    """Put results side by side that differ in the model alone, in the order of the first of each."""
    rows: dict[tuple[object, ...], list[Row]] = {}
    for result, figures in found:
        key = (result.task, result.metric, result.shots, result.shots_used)
        here = rows.setdefault(key, [])
        free = next((row for row in here if result.model not in row), None)
        if free is None:
            here.append({result.model: (result, figures)})
        else:
            free[result.model] = (result, figures)
    return [row for here in rows.values() for row in here]


def _line(row: Row, models: Sequence[str], marks: Marks) -> tuple[Cell, ...]:
    result, figures = next(iter(row.values()))
    own = [marks.cell(row[model][0]) if model in row else None for model in models]
    scores = figures.scores[setting(result.shots)]
    return (
        tables.clean(result.title),
        tables.clean(tables.metric(result)),
        result.shots,
        result.shots_used,
        *own,
        *scores,
    )


def _notes(found: Sequence[tuple[Result, Published]], others: Sequence[Result]) -> Iterator[str]:
    yield (
        "GPT-3's scores are those of Brown et al. 2020, Language Models are Few-Shot Learners, Table H.1 "
        "(arXiv:2005.14165v4), which gives no intervals."
    )
    fewer: dict[str, list[str]] = {}
    for result, figures in found:
        asked = figures.shots if result.shots > 1 else result.shots
        if result.shots_used != asked:
            what = (
                f"{result.model} at {tables.count(result.shots, 'shot')} had {result.shots_used:.2f} demonstrations on"
            )
            fewer.setdefault(f"{what} average, where GPT-3 had {asked}", []).append(result.title)
        if result.estimate is not None and result.estimate.n != figures.examples:
            what = f"{result.model} had {result.estimate.n:,} examples, where GPT-3 had {figures.examples:,}"
            fewer.setdefault(what, []).append(result.title)
    cautions: dict[str, list[str]] = {}
    for result, figures in found:
        name = setting(result.shots)
        for caution in figures.cautions.get(name, ()):
            cautions.setdefault(f"GPT-3's {name}-shot scores, {caution}", []).append(result.title)
    for what, titles in (*fewer.items(), *cautions.items()):
        yield f"{what}: {', '.join(dict.fromkeys(titles))}."
    if others:
        left_out = dict.fromkeys(f"{result.title} ({result.metric})" for result in others)
        yield f"Left out, since Table H.1 has no such scores: {', '.join(left_out)}."

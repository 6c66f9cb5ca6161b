"""What is to be evaluated: tasks with their examples, read and checked before any model is loaded."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

from evalkit import dataset, encoding, fewshot, sources, task
from evalkit.errors import DataError, UsageError
from evalkit.records import Example, Task
from evalkit.registry import suggest
from evalkit.settings import Settings, Shots

Say: TypeAlias = Callable[[str], None]  # takes one line for the user

MOST_SUBSETS = 50  # rows that --by may make of one


def ignore_text(_: str) -> None:
    """Tell nobody."""


@dataclass(frozen=True, slots=True)
class Assignment:
    """One task of a run."""

    task: Task
    examples: tuple[Example, ...]  # evaluated, after --limit
    pool: fewshot.Pool | None  # None where no demonstration is asked for
    shots: tuple[int, ...]
    data_digest: str  # of all examples and the whole pool, whatever the limit
    notes: tuple[str, ...] = ()  # on where the examples come from


def gather(settings: Settings, *, say: Say = ignore_text) -> tuple[Assignment, ...]:
    """Read every task and its examples; the errors say what is wrong with a task, its data or a flag.

    `say` is told what must not be missed: code that runs, samples in the place of data that cannot be reached.
    """
    tasks = _tasks(settings, say)
    assignments = tuple(_assign(each, settings) for each in tasks)
    for note in (note for assignment in assignments for note in assignment.notes):
        say(note)
    if settings.by is not None:
        for assignment in assignments:
            _check_field(settings.by, assignment)
    return assignments


def find(assignment: Assignment, name: str) -> Example:
    """Return the example of this id, or at this place from 0; UsageError where there is none."""
    by_id = {example.id: example for example in assignment.examples}
    if name in by_id:
        return by_id[name]
    # Not isdigit(), which is true of superscripts.
    if name.isdecimal() and int(name) < len(assignment.examples):
        return assignment.examples[int(name)]
    last = len(assignment.examples) - 1
    hint = suggest(name, by_id) if len(by_id) <= 10 else f"such as {assignment.examples[0].id!r}"
    raise UsageError(f"--example: found {name!r}, expected a number from 0 to {last} or an id; {hint}")


def _tasks(settings: Settings, say: Say) -> tuple[Task, ...]:
    _refuse_namesakes(settings.tasks)
    loaded = (each for name in settings.tasks for each in task.load(name, trusted=settings.trust_task_code, say=say))
    tasks = _distinct(loaded)
    for flag, place in (("data", settings.data), ("pool", settings.pool)):
        if place is not None and len(tasks) > 1:
            raise UsageError(
                f"--{flag} holds the examples of one task, found {len(tasks)} tasks; name one, such as "
                f"--task {tasks[0].name}"
            )
    if settings.columns and settings.data is None:
        raise UsageError("--columns: found no --data, whose columns it could name; give both")
    return tuple(
        dataset.with_data(each, settings.data, pool=settings.pool, columns=dict(settings.columns), by=settings.by)
        for each in tasks
    )


def _distinct(loaded: Iterable[Task]) -> tuple[Task, ...]:
    """Keep one of a task that is named twice, that of its group; UsageError for two different ones of a name."""
    tasks: dict[str, Task] = {}
    for each in loaded:
        first = tasks.get(each.name, each)
        if replace(first, group=each.group) != each:
            raise UsageError(f"--task: found two tasks called {each.name}; rename one, or run them one after the other")
        if None not in (first.group, each.group) and first.group != each.group:
            raise UsageError(
                f"--task: found {each.name} in the groups {first.group} and {each.group}, expected it in one; run them "
                "one after the other"
            )
        if first.group is None and each.group is not None:  # it stands with its group, whose mean it belongs to
            tasks.pop(each.name, None)
        tasks.setdefault(each.name, each)
    return tuple(tasks.values())


def _refuse_namesakes(names: Sequence[str]) -> None:
    files: dict[str, Path] = {}  # by what their tasks are called after
    for name in names:
        if name.startswith(task.LM_EVAL):
            continue
        path, _, _ = task.locate(name)
        first = files.setdefault(path.stem, path)
        if not first.samefile(path):
            raise UsageError(
                f"--task: found {first} and {path}, whose tasks have the same names; rename one of the files, or run "
                "them one after the other"
            )


def _assign(each: Task, settings: Settings) -> Assignment:
    shots = tuple(dict.fromkeys(_number(wanted, each) for wanted in settings.shots))
    supply = sources.gather(each, has_shots=any(shots))
    each, examples, pool = supply.task, supply.examples, supply.pool
    if any(shots) and len(pool) == 0:
        raise DataError(f"{each.name}: found an empty pool, expected examples to draw demonstrations from")
    return Assignment(
        task=each,
        examples=dataset.sample(examples, limit=settings.limit, seed=settings.all_seeds[0]),
        pool=fewshot.prepare(pool, task=each) if any(shots) else None,
        shots=shots,
        data_digest=encoding.examples_digest([*examples, *(() if pool is examples else pool)]),
        notes=supply.notes,
    )


def _number(shots: Shots, each: Task) -> int:
    if each.kind == "rolling" and shots != "paper" and shots > 0:
        raise UsageError(f"--shots: found {shots}, but {each.name} scores whole texts; expected 0 for it")
    if shots != "paper":
        return shots
    if each.paper_shots is None:
        raise UsageError(f"--shots paper: {each.name} does not say the paper's number; give one, such as --shots 10")
    return each.paper_shots


def _check_field(field: str, assignment: Assignment) -> None:
    fields = assignment.examples[0].fields
    if any(field not in example.fields for example in assignment.examples):
        raise UsageError(f"--by: the examples of {assignment.task.name} lack field {field!r}; {suggest(field, fields)}")
    values = {str(example.fields[field]) for example in assignment.examples}
    if len(values) > MOST_SUBSETS:
        raise UsageError(
            f"--by: field {field!r} of {assignment.task.name} has {len(values):,} values, expected at most "
            f"{MOST_SUBSETS}; choose a field that sorts examples into few kinds"
        )


def short_names(names: Sequence[str]) -> tuple[str, ...]:
    """Name tasks in a title or a directory: `my/group.yaml/subtask` is `group/subtask`."""
    return tuple(re.sub(r"^.*?([^/\\]+)\.ya?ml(?=/|$)", r"\1", name) for name in names)

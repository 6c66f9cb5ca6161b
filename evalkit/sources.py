"""A task's examples and its pool: from its own source, or from the sample that ships where that cannot be reached."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from evalkit import dataset
from evalkit.errors import HubError
from evalkit.records import Example, Task
from evalkit.text import generator


@dataclass(frozen=True, slots=True)
class Supply:
    """What a task is evaluated on."""

    task: Task  # with the sources that were read
    examples: tuple[Example, ...]
    pool: tuple[Example, ...]  # the examples themselves where the task has no pool of its own
    notes: tuple[str, ...]  # what a reader of the scores must know


def gather(task: Task, *, has_shots: bool) -> Supply:
    """Read the examples of a task, and where demonstrations are asked for what they are drawn from.

    Where the hub does not give the task's source, the sample that ships with the task takes its place, and a note says
    so. Data without a pool gives up a part of itself, where the task says how much and demonstrations are asked for.
    Raises DataError for data that cannot be read.
    """
    try:
        supply = _read(task, has_shots=has_shots)
    except HubError as error:
        if task.sample is None:
            raise
        supply = _sample(task, reason=error, has_shots=has_shots)
    if has_shots and supply.task.pool is None and task.hold_out is not None:
        return _held_out(supply, share=task.hold_out)
    return supply


def _read(task: Task, *, has_shots: bool) -> Supply:
    examples = dataset.load(task.source, task=task)
    pool = examples if task.pool is None or not has_shots else dataset.load(task.pool, task=task)
    return Supply(task, examples, pool, ())


def _sample(task: Task, *, reason: HubError, has_shots: bool) -> Supply:
    assert task.sample is not None
    supply = _read(replace(task, source=task.sample, pool=task.sample_pool), has_shots=has_shots)
    cause = str(reason.__cause__ or reason).partition("\n")[0].rstrip(".")
    note = (
        f"{task.title}: asked on the {len(supply.examples):,} examples of a sample written for evalkit, which say "
        f"little of a model; {task.source.location} cannot be had ({cause})."
    )
    return replace(supply, notes=(note,))


def _held_out(supply: Supply, *, share: float) -> Supply:
    """Move a part of the examples into the pool, near-duplicates together; which, depends on their names alone."""
    is_held = [_is_held(example, share) for example in supply.examples]
    pool, rest = _where(supply.examples, is_held, True), _where(supply.examples, is_held, False)
    if not pool or not rest:
        return supply
    note = (
        f"{supply.task.title}: demonstrations come from {len(pool):,} of the {len(supply.examples):,} examples, which "
        "are held out and not scored."
    )
    # The pool's source is that of the examples: it is there, and is not to be drawn from the scored ones.
    return Supply(replace(supply.task, pool=supply.task.source), rest, pool, (*supply.notes, note))


def _is_held(example: Example, share: float) -> bool:
    name = example.id if example.cluster is None else example.cluster
    return generator("hold out", name).random() < share


def _where(examples: Sequence[Example], flags: Sequence[bool], value: bool) -> tuple[Example, ...]:
    return tuple(example for example, flag in zip(examples, flags, strict=True) if flag is value)

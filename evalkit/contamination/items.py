"""The examples of tasks as the texts that a scan looks for, in parts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from evalkit import dataset, prompt, rows, task
from evalkit.contamination.index import Item, Part
from evalkit.errors import DataError, UsageError
from evalkit.records import Example, Task

PLAIN = "texts"  # the task that plain texts count as
POOL = " (demonstrations)"  # ends the name of the group that a task's pool is scanned as


def gather(tasks: Sequence[str], *, data: str | None, demonstrations: bool = False) -> tuple[Item, ...]:
    """Read the examples of tasks, or of `data`: the examples of one task, or without a task lines of id and text.

    With `demonstrations`, what tasks draw demonstrations from follows as groups of their own, as far as that is not
    the examples themselves. Raises TaskError, DataError or UsageError for what cannot be read.
    """
    if not tasks:
        if data is None:
            raise UsageError("found nothing to scan for; give --task, or --data with lines of id and text")
        return tuple(_plain(Path(data)))
    return tuple(
        Item(each.name, example.id, parts(each, example))
        for each, examples in load(tasks, data=data, demonstrations=demonstrations)
        for example in examples
    )


def load(
    tasks: Sequence[str], *, data: str | None, demonstrations: bool = False
) -> Iterator[tuple[Task, tuple[Example, ...]]]:
    """Yield tasks with all their examples, or those of `data`; then, with `demonstrations`, their pools.

    A pool comes as a task of its own name, as `pool_of` gives it. Raises TaskError, DataError or UsageError.
    """
    found = {each.name: each for name in tasks for each in task.load(name)}
    if data is not None and len(found) > 1:
        raise UsageError(f"--data holds the examples of one task, found {len(found)} tasks; name one")
    chosen = [each if data is None else dataset.with_data(each, data) for each in found.values()]
    for each in chosen:
        yield each, dataset.load(each.source, task=each)
    for each in chosen if demonstrations else ():
        if each.pool is not None:
            yield replace(each, name=pool_of(each.name)), dataset.load(each.pool, task=each)


def pool_of(name: str) -> str:
    """Name the group that a task's pool of demonstrations is scanned as."""
    return f"{name}{POOL}"


def has_pools(names: Iterable[str]) -> bool:
    """Tell whether pools of demonstrations are among the groups of a scan."""
    return any(name.endswith(POOL) for name in names)


def parts(each: Task, example: Example) -> tuple[Part, ...]:
    """Take an example apart: context and question as they stand in the data, and the right answer.

    A task without a column `passage` has its prompt for a question: what a corpus that holds the example would hold.
    """
    answer = Part("answer", example.targets[0] + (example.ending or ""))
    passage = example.fields.get("passage")
    if "passage" in each.columns and isinstance(passage, str):
        question = example.fields.get("question")
        between = (Part("question", question),) if isinstance(question, str) else ()
        return Part("context", passage), *between, answer
    return Part("question", prompt.question(each, example)), answer


def _plain(path: Path) -> Iterator[Item]:
    seen: set[str] = set()
    for number, (place, row) in enumerate(rows.read(path)):
        text = row.get("text")
        if not isinstance(text, str):
            what = f"found {text!r:.40} in column 'text', expected a text" if "text" in row else "missing column 'text'"
            raise DataError(f"{place}: {what}; give --task, or lines of id and text")
        name = str(number if row.get("id") is None else row["id"])
        if name in seen:
            raise DataError(f"{place}: found id {name!r} again, expected ids that differ")
        seen.add(name)
        yield Item(PLAIN, name, (Part("text", text),))
    if not seen:
        raise DataError(f"{path}: found no rows, expected at least one")

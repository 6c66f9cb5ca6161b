"""The examples of tasks as the texts that a scan looks for, in parts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from evalkit import dataset, prompt, rows, task
from evalkit.contamination.index import Item, Part
from evalkit.errors import DataError, UsageError
from evalkit.records import Example, Task

PLAIN = "texts"  # the task that plain texts count as


def gather(tasks: Sequence[str], *, data: str | None) -> tuple[Item, ...]:
    """Read the examples of tasks, or of `data`: the examples of one task, or without a task lines of id and text.

    Raises TaskError, DataError or UsageError for what cannot be read.
    """
    if not tasks:
        if data is None:
            raise UsageError("found nothing to scan for; give --task, or --data with lines of id and text")
        return tuple(_plain(Path(data)))
    return tuple(
        Item(each.name, example.id, parts(each, example))
        for each, examples in load(tasks, data=data)
        for example in examples
    )


def load(tasks: Sequence[str], *, data: str | None) -> Iterator[tuple[Task, tuple[Example, ...]]]:
    """Yield tasks with all their examples, or those of `data`. Raises TaskError, DataError or UsageError."""
    found = {each.name: each for name in tasks for each in task.load(name)}
    if data is not None and len(found) > 1:
        raise UsageError(f"--data holds the examples of one task, found {len(found)} tasks; name one")
    for each in found.values():
        chosen = each if data is None else dataset.with_data(each, data)
        yield chosen, dataset.load(chosen.source, task=chosen)


def parts(each: Task, example: Example) -> tuple[Part, ...]:
    """Take an example apart: context and question as they stand in the data, and the right answer.

    A task without a column `passage` has its prompt for a question: what a corpus that holds the example would hold.
    """
    answer = Part("answer", example.targets[0])
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
            raise DataError(f"{place}: missing column 'text'; give --task, or lines of id and text")
        name = str(row.get("id", number))
        if name in seen:
            raise DataError(f"{place}: found id {name!r} again, expected ids that differ")
        seen.add(name)
        yield Item(PLAIN, name, (Part("text", text),))
    if not seen:
        raise DataError(f"{path}: found no rows, expected at least one")

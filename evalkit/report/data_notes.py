"""The notes on what was evaluated: where demonstrations come from, and what a score is to be held against."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from evalkit.assignment import Assignment
from evalkit.report import table


def write(assignments: Iterable[Assignment]) -> Iterator[str]:
    """Yield notes on the data of each task that needs any."""
    for assignment in assignments:
        yield from _demonstrations(assignment)
        yield from _majority(assignment)


def _demonstrations(assignment: Assignment) -> Iterator[str]:
    if assignment.task.pool is None and any(assignment.shots):
        yield (
            f"{assignment.task.title}: demonstrations come from the evaluated data itself, without the example and its "
            "near-duplicates."
        )


def _majority(assignment: Assignment) -> Iterator[str]:
    """Say what the commonest answer scores, where all examples have the same choices."""
    task, examples = assignment.task, assignment.examples
    if task.kind != "choice" or len({example.choices for example in examples}) > 1:
        return
    right = Counter(target for example in examples for target in dict.fromkeys(example.targets))
    answer = max(examples[0].choices, key=lambda choice: right[choice])  # the first of equals
    share = table.number(100 * right[answer] / len(examples))
    yield f"{task.title}: always answering {answer.strip()!r} is right in {share} % of {len(examples):,} examples."

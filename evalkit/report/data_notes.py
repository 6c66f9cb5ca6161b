"""The notes on what was evaluated: where demonstrations come from, and what a score is to be held against."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from evalkit import metric_spec
from evalkit.assignment import Assignment
from evalkit.interfaces import Signed


def write(assignments: Iterable[Assignment]) -> Iterator[str]:
    """Yield notes on the data of each task that needs any."""
    signatures: dict[str, dict[str, list[str]]] = {}  # of metrics: name, signature, titles of tasks
    for assignment in assignments:
        yield from assignment.notes
        yield from _demonstrations(assignment)
        yield from _majority(assignment)
        yield from _clusters(assignment)
        for metric in map(metric_spec.load, assignment.task.metrics):
            if isinstance(metric, Signed):
                line = f"nrefs:{_references(assignment)}|{metric.signature}"
                signatures.setdefault(metric.name, {}).setdefault(line, []).append(assignment.task.title)
    for name, lines in signatures.items():
        for line, titles in lines.items():
            yield f"{', '.join([name, *titles] if len(lines) > 1 else [name])}: {line}"


def _demonstrations(assignment: Assignment) -> Iterator[str]:
    if assignment.task.pool is not None and assignment.task.pool.settings.get("sampler") == "first_n":
        if any(assignment.shots):
            yield f"{assignment.task.title}: demonstrations are the first of the pool, as the task file has them."
    elif assignment.task.pool is None and any(assignment.shots):
        yield (
            f"{assignment.task.title}: demonstrations come from the evaluated data itself, without the example and its "
            "near-duplicates."
        )


def _references(assignment: Assignment) -> str:
    """Tell how many right answers examples have, as sacrebleu's signature does."""
    numbers = {len(example.targets) for example in assignment.examples}
    return str(numbers.pop()) if len(numbers) == 1 else "var"


def _clusters(assignment: Assignment) -> Iterator[str]:
    """Say that examples rise and fall together, where their clusters hold several."""
    examples = assignment.examples
    clusters = len({example.cluster for example in examples if example.cluster is not None})
    alone = sum(example.cluster is None for example in examples)
    if 0 < clusters + alone < len(examples):
        yield (
            f"{assignment.task.title}: the {len(examples):,} examples come in {clusters + alone:,} clusters; intervals "
            "are those of clusters, for proportions Wilson's at the sample's effective size."
        )


def _majority(assignment: Assignment) -> Iterator[str]:
    """Say what the commonest answer scores, where all examples have the same choices."""
    task, examples = assignment.task, assignment.examples
    if task.kind != "choice" or len({example.choices for example in examples}) > 1:
        return
    right = Counter(target for example in examples for target in dict.fromkeys(example.targets))
    answer = max(examples[0].choices, key=lambda choice: right[choice])  # the first of equals
    yield f"{task.title}: the majority's answer is {answer.strip()!r}."

"""The line beside every score that says what the score depends on: equal lines, equal numbers."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from functools import cache
from importlib import metadata
from pathlib import Path

from evalkit import fewshot, text
from evalkit.assignment import Assignment
from evalkit.interfaces import LanguageModel
from evalkit.records import Decoding, Task
from evalkit.settings import Settings

DIGITS = 6  # of a hash, enough to tell two apart that should be equal


def line(
    assignments: Sequence[Assignment], *, shots: Sequence[int], settings: Settings, model: LanguageModel, window: int
) -> str:
    """Write the signature of one task, or of a group of tasks that are averaged.

    `arithmetic|v1|shots:10|seed:0|n:10x2000|prompt:3fa9c1|data:81c0e2|window:2048|model:nano@607a30|evalkit:0.1.0`;
    modes of demonstrations, decoding rules and number types appear where they are not the default.
    """
    tasks = [assignment.task for assignment in assignments]
    rules = [_rule(task.decoding) for task in tasks]
    modes = [fewshot.mode_of(task, settings.demos) for task in tasks]
    dtype = settings.dtype or model.fingerprint.partition("-")[2]
    name = tasks[0].name if len(tasks) == 1 else str(tasks[0].group)
    parts = [
        name,
        "v" + _one([str(task.version) for task in tasks]),
        "shots:" + ",".join(map(str, shots)),
        *([f"demos:{_one(modes)}"] if {*modes} != {"per-example"} else []),
        "seed" + "s" * (len(settings.all_seeds) > 1) + ":" + ",".join(map(str, settings.all_seeds)),
        "n:" + _count([len(assignment.examples) for assignment in assignments]),
        "prompt:" + _one([prompt_digest(task)[:DIGITS] for task in tasks]),
        "data:" + _one([assignment.data_digest[:DIGITS] for assignment in assignments]),
        "metrics:" + _one([metrics_digest(task)[:DIGITS] for task in tasks]),
        *(["decoding:" + _one(rules)] if any(rules) else []),
        f"window:{window}",
        f"model:{model.name}@{model.fingerprint[:DIGITS]}",
        *([f"dtype:{dtype}"] if dtype not in {"", "float32"} else []),
        f"evalkit:{version()}",
    ]
    return "|".join(parts)


def prompt_digest(task: Task) -> str:
    """Hash what decides the text of a prompt and where its answer ends."""
    own = [task.template, task.description, task.separator, list(task.stop), task.max_tokens]
    return text.digest(*own, task.zero_shot_template, task.answer_context, task.target, task.repeats)


def metrics_digest(task: Task) -> str:
    """Hash what decides the score of an answer: the metrics with their settings, and the filters."""
    return text.digest(list(task.metrics), list(task.filters))


@cache
def version() -> str:
    """Tell evalkit's version; a clone that was never installed has it in its pyproject.toml."""
    try:
        return metadata.version("evalkit")
    except metadata.PackageNotFoundError:
        import tomllib

        project = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text(encoding="utf-8"))
        return str(project["project"]["version"])


def _one(values: Iterable[str]) -> str:
    """Return the value that all share, or the hash of all."""
    values = list(values)
    return values[0] if len(set(values)) == 1 else text.digest(values, length=DIGITS)


def _count(sizes: Sequence[int]) -> str:
    if len(sizes) == 1:
        return str(sizes[0])
    return f"{len(sizes)}x{sizes[0]}" if len(set(sizes)) == 1 else str(sum(sizes))


def _rule(decoding: Decoding) -> str:
    """List what differs from greedy decoding, `temperature=0.7,top_k=40`; empty for greedy itself."""
    changed = (
        f"{field.name}={getattr(decoding, field.name)}"
        for field in dataclasses.fields(decoding)
        if getattr(decoding, field.name) != field.default
    )
    return ",".join(changed)

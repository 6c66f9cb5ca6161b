"""Load every task file that an installed lm_eval ships, and time it: `python benchmarks/lm_eval_tasks.py`.

A task is declarative where neither its file nor what that includes names a Python function or class. All of those have
to load; the others are counted by the first key that they are refused for.
"""

from __future__ import annotations

import os
import re
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

from evalkit.errors import TaskError
from evalkit.lm_eval import groups, index, tasks
from evalkit.lm_eval.code import Gate
from evalkit.lm_eval.yaml_files import Function

AT_ONCE = 512  # tasks a process is given


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one task."""

    is_declarative: bool
    kind: str | None  # None where the task was refused
    complaint: str


def main() -> None:
    """Print counts, failures and seconds."""
    start = time.perf_counter()
    entries = index.build(index.installed())
    indexed = time.perf_counter()
    kinds = Counter(entry.kind for entry in entries.values())
    names = [name for name, entry in entries.items() if entry.kind == "task"]
    parts = [names[place : place + AT_ONCE] for place in range(0, len(names), AT_ONCE)]
    with ProcessPoolExecutor(min(len(parts), os.cpu_count() or 1)) as pool:
        outcomes = [outcome for part in pool.map(load, parts) for outcome in part]
    done = time.perf_counter()
    expand(entries)
    expanded = time.perf_counter()
    declarative = [outcome for outcome in outcomes if outcome.is_declarative]
    loaded = Counter(outcome.kind for outcome in declarative if outcome.kind)
    failed = [outcome for outcome in declarative if not outcome.kind]
    print(f"names: {len(entries):,}: " + ", ".join(f"{count:,} {kind}s" for kind, count in kinds.most_common()))
    print(f"tasks: {len(outcomes):,}, of which {len(declarative):,} declarative")
    print(f"loaded: {loaded.total():,}: " + ", ".join(f"{count:,} {kind}" for kind, count in loaded.most_common()))
    print(f"failed: {len(failed)}")
    for outcome in failed:
        print(f"  {outcome.complaint}")
    others = [outcome for outcome in outcomes if not outcome.is_declarative]
    runnable = sum(outcome.kind is not None for outcome in others)
    print(f"with Python: {len(others):,}, of which {runnable:,} load when trusted; the others are refused for")
    for key, count in Counter(outcome.complaint for outcome in others if not outcome.kind).most_common(8):
        print(f"  {count:6,} {key}")
    print(f"index {indexed - start:.2f} s, tasks {done - indexed:.2f} s, groups and tags {expanded - done:.2f} s")


def load(names: Sequence[str]) -> list[Outcome]:
    """Load tasks by name; those that need Python as if they were trusted, though nothing of theirs is run."""
    trusting = Gate(trusted=True, say=lambda _: None)
    doubting = Gate(trusted=False, say=lambda _: None)
    outcomes = []
    for name in names:
        [config] = groups.installed(name)
        is_declarative = not any(map(needs_python, config.values.values()))
        try:
            task = tasks.make(config, gate=doubting if is_declarative else trusting)
        except TaskError as error:
            key = re.search(r"key '([\w.]+)'", str(error))
            outcomes.append(Outcome(is_declarative, None, str(error) if is_declarative or not key else key[1]))
        else:
            outcomes.append(Outcome(is_declarative, task.kind, ""))
    return outcomes


def expand(entries: dict[str, index.Entry]) -> None:
    """Find the tasks of every group and tag, and say which cannot be found."""
    for name, entry in entries.items():
        if entry.kind in {"group", "tag"}:
            try:
                groups.installed(name)
            except TaskError as error:
                print(f"no tasks: {error}")


def needs_python(value: object) -> bool:
    """Whether a value of a task file names a Python function anywhere."""
    if isinstance(value, dict | list):
        return any(map(needs_python, value.values() if isinstance(value, dict) else value))
    return isinstance(value, Function)


if __name__ == "__main__":
    main()

"""Load every task file that an installed lm_eval ships, and time it: `python benchmarks/lm_eval_tasks.py`.

A task is declarative where neither its file nor what that includes names a Python function or class. All of those have
to load, in less than ten seconds from a cold start; the others are counted by the key that they are refused for.
"""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Iterable

from evalkit.errors import TaskError
from evalkit.lm_eval import groups, index, tasks
from evalkit.lm_eval.code import Gate
from evalkit.lm_eval.keys import Config
from evalkit.lm_eval.yaml_files import Function


def main() -> None:
    """Print counts, failures and seconds."""
    start = time.perf_counter()
    entries = index.build(index.installed())
    indexed = time.perf_counter()
    configs = [groups.installed(name)[0] for name, entry in entries.items() if entry.kind == "task"]
    read = time.perf_counter()
    declarative = [config for config in configs if not any(map(needs_python, config.values.values()))]
    loaded, failed = load(declarative, trusted=False)
    done = time.perf_counter()
    kinds = Counter(entry.kind for entry in entries.values())
    print(f"names: {len(entries):,}: " + ", ".join(f"{count:,} {kind}" for kind, count in kinds.most_common()))
    print(f"tasks: {len(configs):,}, of which {len(declarative):,} declarative")
    print(f"loaded: {loaded.total():,}: " + ", ".join(f"{count:,} {kind}" for kind, count in loaded.most_common()))
    print(f"failed: {len(failed)}", *failed, sep="\n  ")
    print(
        f"seconds: {done - start:.2f}: {indexed - start:.2f} for the index, {read - indexed:.2f} for all files, "
        f"{done - read:.2f} for the declarative tasks"
    )
    others = [config for config in configs if any(map(needs_python, config.values.values()))]
    loaded, failed = load(others, trusted=True)  # which imports nothing yet
    print(f"with Python: {len(others):,}, of which {loaded.total():,} load where they are trusted; the others need")
    keys = Counter(found[1] if (found := re.search(r"key '(\w+)", each)) else each for each in failed)
    print(*(f"  {count:6,} {key}" for key, count in keys.most_common()), sep="\n")
    print("groups and tags whose tasks cannot be found:", *lost(entries.values()), sep="\n  ")


def load(configs: Iterable[Config], *, trusted: bool) -> tuple[Counter[str], list[str]]:
    """Make tasks; return the number of each kind, and what the others were refused for."""
    gate = Gate(trusted=trusted, say=lambda _: None)
    loaded: Counter[str] = Counter()
    failed = []
    for config in configs:
        try:
            loaded[tasks.make(config, gate=gate).kind] += 1
        except TaskError as error:
            failed.append(str(error))
    return loaded, failed


def lost(entries: Iterable[index.Entry]) -> list[str]:
    """List the groups and tags that do not lead to tasks, with the reason."""
    reasons = []
    for entry in entries:
        try:
            groups.installed(entry.name)
        except TaskError as error:
            reasons.append(str(error))
    return reasons


def needs_python(value: object) -> bool:
    """Whether a value of a task file names a Python function anywhere."""
    if isinstance(value, dict | list):
        return any(map(needs_python, value.values() if isinstance(value, dict) else value))
    return isinstance(value, Function)


if __name__ == "__main__":
    main()

"""A run as lm-evaluation-harness 0.4 logs one: results_*.json, and samples_<task>_*.jsonl a task.

lm_eval has one number of shots and one seed a file, so each of a run's has a folder of its own, which stands for what
its --output_path would be.
"""

from __future__ import annotations

import json
import re
import statistics
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from typing import TypeAlias

from evalkit import atomic, metric_spec, prompt, stats, stored, task, text
from evalkit.errors import DataError, StorageError
from evalkit.export_lm_eval_samples import OUTPUT_TYPES, Json, Summary, log
from evalkit.interfaces import OnProgress, Progress
from evalkit.records import Task
from evalkit.report import direction
from evalkit.signature import DIGITS
from evalkit.stored import Described

Setting: TypeAlias = tuple[int, int]  # shots, seed

NOT_KNOWN = "N/A"  # lm_eval's word for a standard error that it did not compute
# What lm_eval's sanitize_model_name takes out, blanks, controls, and halves of surrogate pairs, which have no UTF-8.
NOT_IN_NAMES = re.compile(r'["<>:/|\\?*\[\]\s\x00-\x1f\ud800-\udfff]+')
BETTER = {"higher": True, "lower": False, None: None}  # as lm_eval says it
NO_CHAT = (  # of what lm_eval says of chat templates, nothing is set
    *("system_instruction", "system_instruction_sha", "fewshot_as_multiturn"),
    *("chat_template", "chat_template_sha"),
)
DATED = re.compile(r"\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d\.\d{6}")


def write(
    folder: Path,
    run: Path,
    described: Described,
    *,
    trusted: bool,
    say: Callable[[str], None],
    on_progress: OnProgress,
) -> Iterator[Path]:
    """Write a run below `folder`, and yield each file; what an earlier export wrote in its place is removed.

    Raises TaskError or DataError where a task can no longer be read or is another than the run's, StorageError where
    the disk refuses.
    """
    tasks = _tasks(run, described, trusted=trusted, say=say)
    called = dict(zip(tasks, names(list(tasks)), strict=True))
    date = datetime.fromtimestamp((run / stored.FILE).stat().st_mtime, tz=UTC)
    stamp = date.replace(tzinfo=None).isoformat(timespec="microseconds").replace(":", "-")
    unnumbered, total, done = *_survey(run), 0
    found: dict[Setting, dict[str, Summary]] = {}
    for (name, *setting), samples in groupby(stored.samples(run), key=lambda each: (each.task, each.shots, each.seed)):
        shots, seed = setting
        if name in found.setdefault((shots, seed), {}) or name not in tasks:
            what = "which its tasks have no more" if name not in tasks else "in two places"
            raise DataError(f"{run}: found samples of {name}, {what}; run the run's command again")
        summary = Summary(prompt.at(tasks[name], shots), is_numbered=name not in unnumbered)
        found[shots, seed][name] = summary
        place = _made(_place(folder, (shots, seed), described))
        path = place / f"samples_{called[name]}_{stamp}.jsonl"
        atomic.write(path, log(summary, samples, run=run))
        _remove_older(path, f"samples_{called[name]}")
        done += summary.scored + summary.unfit
        on_progress(Progress("writing lm_eval's form", done, total))
        yield path
    for key, summaries in found.items():
        path = _place(folder, key, described) / f"results_{stamp}.json"
        content = {**_results(summaries, key, described), "date": date.timestamp()}
        atomic.write(path, [json.dumps(content, indent=2, ensure_ascii=False, default=str), "\n"])
        _remove_older(path, "results")
        yield path


def names(given: Sequence[object]) -> tuple[str, ...]:
    """Name files or folders after runs, tasks or models: of a path the last part; equal ones with a digest."""
    plain = [_file_name(each.name if isinstance(each, Path) else str(each)) for each in given]
    shared = Counter(plain)
    return tuple(
        name if shared[name] == 1 else f"{name}-{text.digest(str(each), length=DIGITS)}"
        for name, each in zip(plain, given, strict=True)
    )


def _file_name(name: str) -> str:
    return NOT_IN_NAMES.sub("__", name).strip(".") or "_"


def _place(folder: Path, setting: Setting, described: Described) -> Path:
    shots, seed = setting
    has_several_seeds = len(described["settings"].get("seeds") or ()) > 1
    name = f"{shots}-shot-seed-{seed}" if has_several_seeds else f"{shots}-shot"
    return folder / name / _file_name(_model(described))


def _model(described: Described) -> str:
    return str(described["results"][0]["model"])


def _made(place: Path) -> Path:
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(atomic.explain(place, error)) from error
    return place


def _remove_older(path: Path, begins: str) -> None:
    """Remove what stands beside a file under its name with another date, as the run has been run again since."""
    for other in path.parent.iterdir():
        if other != path and other.suffix == path.suffix and DATED.fullmatch(other.stem.removeprefix(f"{begins}_")):
            other.unlink(missing_ok=True)


def _survey(run: Path) -> tuple[frozenset[str], int]:
    """Tell the tasks of which not all ids are numbers, and count the samples; damage shows before any is written."""
    unnumbered: set[str] = set()
    total = 0
    for each in stored.samples(run):
        total += 1
        name = each.example.id
        if not (name.isascii() and name.isdecimal() and str(int(name)) == name):
            unnumbered.add(each.task)
    return frozenset(unnumbered), total


def _tasks(run: Path, described: Described, *, trusted: bool, say: Callable[[str], None]) -> dict[str, Task]:
    """Read the tasks of a run again. Raises DataError where a template is another than the run's."""
    loaded = [each for name in described["settings"]["tasks"] for each in task.load(name, trusted=trusted, say=say)]
    hashed = described["hashes"]["tasks"]
    tasks = {each.name: each for each in loaded if each.name in hashed}
    for name, each in tasks.items():
        if hashed[name].get("template") != text.digest(each.template):
            raise DataError(f"{run}: the template of {name} has changed since the run; run its command again")
    return tasks


def _results(summaries: Mapping[str, Summary], setting: Setting, described: Described) -> Json:
    """Put the content of results.json together."""
    (shots, seed), settings = setting, described["settings"]
    groups: dict[str, list[str]] = {}
    for name, each in summaries.items():
        if each.task.group is not None:
            groups.setdefault(each.task.group, []).append(name)
    return {
        "results": {name: _scores(name, each) for name, each in summaries.items()},
        "group_subtasks": groups | {name: [] for name in summaries if name not in groups},
        "configs": {name: _config(name, each, shots=shots) for name, each in summaries.items()},
        "versions": {name: each.task.version for name, each in summaries.items()},
        "n-shot": dict.fromkeys(summaries, shots),
        "higher_is_better": {
            name: {metric.name: BETTER[direction.of(metric.spec)] for metric in each.metrics}
            for name, each in summaries.items()
        },
        "n-samples": {
            name: {"original": each.scored + each.unfit, "effective": each.scored} for name, each in summaries.items()
        },
        "config": {
            "model": "evalkit",
            "model_args": f"pretrained={settings.get('model')}",
            "model_dtype": settings.get("dtype"),
            "device": settings.get("device"),
            "limit": settings.get("limit"),
            "random_seed": seed,
            "fewshot_seed": seed,
        },
        "evalkit": {
            "signatures": described["signatures"],
            "versions": described.get("versions", {}),
            "hashes": described["hashes"],
            "notes": described.get("notes", []),
        },
        "task_hashes": {name: each.hash.hexdigest() for name, each in summaries.items()},
        "model_source": "evalkit",
        "model_name": _model(described),
        "model_name_sanitized": _file_name(_model(described)),
        **dict.fromkeys(NO_CHAT),
    }


def _scores(name: str, each: Summary) -> Json:
    found: Json = {"name": name, "alias": each.task.title, "sample_len": each.scored}
    for metric in each.metrics:
        numbers = each.numbers[metric.spec]
        rule = stats.score_rule(metric_spec.load(metric.spec), numbers)
        found[f"{metric.name},{metric.filter}"] = stats.score(numbers, rule)
        is_mean = rule is stats.mean_of_totals and len(numbers) > 1
        found[f"{metric.name}_stderr,{metric.filter}"] = (
            statistics.stdev(value for (value,) in numbers) / len(numbers) ** 0.5 if is_mean else NOT_KNOWN
        )
    return found


def _config(name: str, each: Summary, *, shots: int) -> Json:
    made = each.task
    return {
        "task": name,
        "task_alias": made.title,
        "output_type": OUTPUT_TYPES[made.kind],
        "description": made.description,
        "fewshot_delimiter": made.separator,
        "num_fewshot": shots,
        "repeats": made.repeats,
        "metric_list": [{"metric": metric.name} for metric in each.metrics],
        "filter_list": [{"name": found.name, "filter": [dict(step) for step in found.steps]} for found in made.filters],
        "metadata": {"version": made.version},
    }

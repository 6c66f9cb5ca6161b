"""Main path 3: runs and a scan into a table of scores on all, clean and dirty examples; no model runs again."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from evalkit import atomic, encoding
from evalkit.contamination import comparison, split
from evalkit.contamination.lm_eval_samples import logged_mean, read_lm_eval
from evalkit.errors import DataError, StorageError, UsageError
from evalkit.records import Comparison, Sample, Split, Table
from evalkit.report import files as report

LOGGED_METRICS = ("acc", "acc_norm", "exact_match", "em", "f1")  # of lm_eval, as far as they are means
LM_EVAL = "samples_*.jsonl"  # what lm_eval's --log_samples writes


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a comparison leaves."""

    directory: Path
    comparisons: tuple[Comparison, ...]
    table: Table


def compare(
    runs: Sequence[Path],
    scan: Path,
    *,
    measure: str = split.DEFAULT,
    threshold: float | None = None,
    relative: comparison.Relative = "plain",
    out: Path | None = None,
) -> Outcome:
    """Compare the scores of runs on all, clean and dirty examples of a scan, and write the table in every form.

    A run is a directory of `evalkit run`, or files that lm_eval logged of one task, which the scan then has alone.
    Raises EvalkitError where runs and scan do not belong together.
    """
    if relative not in comparison.RELATIVE:
        raise UsageError(f"--relative: found {relative!r}, expected {' or '.join(comparison.RELATIVE)}")
    stored = split.load(scan)
    sorted_examples = {each.task: each for each in split.splits(stored, measure=measure, threshold=threshold)}
    parts = {(overlap.task, overlap.example): overlap.parts for overlap in stored.overlaps}
    comparisons: list[Comparison] = []
    signatures: list[str] = []
    for path in runs:
        if not path.exists():
            raise DataError(f"{path}: no such file or directory; give a run's directory or logged samples")
        logged = sorted(path.glob(LM_EVAL)) if path.is_dir() else [path]
        if path.is_dir() and (path / "run.json").exists():
            found = _of_run(path, sorted_examples, stored, parts)
            signatures += _described(path)["signatures"]
        else:
            found = _of_logged(logged, path, sorted_examples, stored, parts)
        comparisons += found
    signatures += dict.fromkeys(each.signature for each in sorted_examples.values())
    shown = comparison.table(comparisons, relative=relative, signatures=signatures)
    directory = out or scan / "compare"
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(atomic.explain(directory, error)) from error
    report.write(directory, shown, title="Scores with and without contaminated examples")
    return Outcome(directory, tuple(comparisons), shown)


def _of_run(
    path: Path, splits: dict[str, Split], stored: split.Stored, parts: dict[tuple[str, str], tuple[str, ...]]
) -> Iterator[Comparison]:
    titles = {result["task"]: result["title"] for result in _described(path)["results"]}
    groups: dict[tuple[str, int], list[Sample]] = {}
    for sample in _samples(path / "samples.jsonl"):
        groups.setdefault((sample.task, sample.shots), []).append(sample)
    shared = [task for task in dict.fromkeys(task for task, _ in groups) if task in splits]
    if not shared:
        raise DataError(
            f"{path}: has the tasks {', '.join(dict.fromkeys(task for task, _ in groups))}, and the scan "
            f"{', '.join(splits)}; run and scan the same task"
        )
    for (task, _), samples in groups.items():
        if task not in splits:
            continue
        for name in samples[0].statistics or next(s.statistics for s in samples if s.statistics):
            yield comparison.compare(
                samples,
                splits[task],
                title=titles.get(task, task),
                n=stored.ngram[task],
                metric_name=name,
                parts={example: touched for (owner, example), touched in parts.items() if owner == task},
            )


def _of_logged(
    files: Sequence[Path],
    path: Path,
    splits: dict[str, Split],
    stored: split.Stored,
    parts: dict[tuple[str, str], tuple[str, ...]],
) -> Iterator[Comparison]:
    if not files:
        raise DataError(f"{path}: found neither run.json nor {LM_EVAL}; give a run's directory or logged samples")
    if len(splits) > 1:
        raise DataError(f"{path}: logged samples are of one task, and the scan has {len(splits)}; scan for one task")
    [(task, chosen)] = splits.items()
    problem: DataError | None = None
    compared = 0
    for metric in LOGGED_METRICS:
        try:
            samples = read_lm_eval(files, task=task, metric=metric, shots=0)
        except DataError as error:  # of several metrics a file has few
            problem = error
            continue
        compared += 1
        yield comparison.compare(
            samples,
            chosen,
            title=task,
            n=stored.ngram[task],
            metric_name=metric,
            metric=logged_mean(samples, metric),
            parts={example: touched for (_, example), touched in parts.items()},
        )
    if not compared and problem is not None:
        raise problem


def _described(path: Path) -> dict[str, list]:  # type: ignore[type-arg]  # JSON
    try:
        described = json.loads((path / "run.json").read_text(encoding="utf-8"))
        if described.get("results") and "signatures" in described:
            return dict(described)
    except (OSError, ValueError, AttributeError) as error:
        raise StorageError(f"{path / 'run.json'}: cannot be read, or damaged; run its command again") from error
    raise StorageError(f"{path}: found no finished run; run its command again, to the end")


def _samples(path: Path) -> Iterator[Sample]:
    try:
        with path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, start=1):
                try:
                    yield encoding.decode_sample(line)
                except (ValueError, KeyError, TypeError) as error:
                    raise DataError(f"{path}:{number}: not a sample; run the run's command again") from error
    except OSError as error:
        raise StorageError(f"{path}: cannot be read ({error.strerror}); run the run's command again") from error

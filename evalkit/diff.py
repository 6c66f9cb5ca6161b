"""Main path 4: two runs into a table of their differences on the same examples; no model runs again."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from evalkit import atomic, metric_spec, paired, score, stats, stored
from evalkit.errors import DataError, StorageError
from evalkit.paired import Paired
from evalkit.records import Cell, Estimate, Sample, Table
from evalkit.report import files as report
from evalkit.report import table as tables
from evalkit.report.content import Page
from evalkit.stored import Described

FILE = "diff.json"
DIGITS = 6  # of a digest, as signatures have

Setting: TypeAlias = tuple[str, int]  # task, shots
Pair: TypeAlias = tuple[Sample, Sample]


@dataclass(frozen=True, slots=True)
class Run:
    """One of the two runs."""

    place: str  # first or second
    directory: Path
    described: Described
    groups: Mapping[Setting, Sequence[Sample]]


@dataclass(frozen=True, slots=True)
class Difference:
    """One task at one number of shots under one metric, by both runs on the same examples."""

    task: str
    title: str
    shots: int
    metric: str
    is_proportion: bool  # the scores lie in 0..1, and tables show them in percent
    first: Estimate
    second: Estimate
    paired: Paired


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a comparison of two runs leaves."""

    directory: Path | None  # of its report; None where none was written
    differences: tuple[Difference, ...]
    table: Table


def diff(first: Path, second: Path, *, out: Path | None = None) -> Outcome:
    """Compare two finished runs on the examples that both scored, and write the table in every form to `out`.

    Samples are matched by task, shots, seed and example; where each run has one seed, whatever it is. Raises DataError
    where the runs have nothing in common, or other data under the same ids.
    """
    if out is not None and (out / stored.FILE).exists():
        raise StorageError(f"{out}: holds a run, whose report would be lost; choose another --out")
    one, other = _load("first", first), _load("second", second)
    shared = [setting for setting in one.groups if setting in other.groups]
    if not shared:
        raise DataError(
            f"{second}: has {_settings(other)}, and {first} {_settings(one)}; run both on the same task and shots"
        )
    notes: list[str] = []
    differences: list[Difference] = []
    for setting in shared:
        pairs = _match(one, other, setting, notes)
        differences += _differences(pairs, one.described, notes)
    if not differences:
        raise DataError(f"{first}, {second}: found no metric or no scored example in common; run both on the same task")
    shown = _table(differences, notes=(*notes, *_sources(one), *_sources(other)))
    if out is not None:
        _write(out, shown, differences, runs=(one, other))
    return Outcome(out, tuple(differences), shown)


def _load(place: str, directory: Path) -> Run:
    if not (directory / stored.FILE).exists():
        raise DataError(f"{directory}: found no {stored.FILE}; give the directory of a run")
    groups: dict[Setting, list[Sample]] = {}
    described = stored.described(directory)
    for sample in stored.samples(directory):
        groups.setdefault((sample.task, sample.shots), []).append(sample)
    return Run(place, directory, described, groups)


def _match(one: Run, other: Run, setting: Setting, notes: list[str]) -> list[Pair]:
    """Pair the samples of one task at one number of shots that both runs scored; what is left out goes to the notes."""
    where = f"{setting[0]}, {tables.count(setting[1], 'shot')}"
    sides = [run.groups[setting] for run in (one, other)]
    pairs = _paired(sides, where, notes)
    digests = [run.described["hashes"]["tasks"].get(setting[0], {}).get("data", "")[:DIGITS] for run in (one, other)]
    data = f"data:{digests[0]}, data:{digests[1]}"
    for sample, twin in pairs:
        if _content(sample) != _content(twin):
            raise DataError(
                f"{where}: found other data under the id {sample.example.id!r} ({data}); run both on the same data"
            )
    counts, both = [_count(samples) for samples in sides], _count([sample for sample, _ in pairs])
    if both < max(counts):
        notes.append(
            f"{where}: the first run has {counts[0]:,} examples and the second {counts[1]:,}; the {both:,} that both "
            "have are compared."
        )
    elif digests[0] != digests[1]:
        notes.append(f"{where}: the runs' data differ elsewhere ({data}), such as in the pool of demonstrations.")
    scored = [(sample, twin) for sample, twin in pairs if sample.prompt is not None and twin.prompt is not None]
    if len(scored) < len(pairs):
        unfit = both - _count([sample for sample, _ in scored])
        notes.append(f"{where}: {unfit:,} of {both:,} examples do not fit the window of a run, and are not compared.")
    return scored


def _paired(sides: Sequence[Sequence[Sample]], where: str, notes: list[str]) -> list[Pair]:
    """Pair samples by seed and example, or by example alone where both runs have a single seed."""
    seeds = [sorted({sample.seed for sample in samples}) for samples in sides]
    named = [f"seed{'s' * (len(each) > 1)} {', '.join(map(str, each))}" for each in seeds]
    is_single = len(seeds[0]) == len(seeds[1]) == 1
    if seeds[0] != seeds[1]:
        what = "what they drew is part of the difference." if is_single else "those that both have are compared."
        notes.append(f"{where}: the first run has {named[0]} and the second {named[1]}; {what}")
    keyed = [{(0 if is_single else each.seed, each.example.id): each for each in samples} for samples in sides]
    pairs = [(sample, keyed[1][key]) for key, sample in keyed[0].items() if key in keyed[1]]
    if not pairs:
        found = [f"{tables.count(_count(side), 'example')}, {name}" for side, name in zip(sides, named, strict=True)]
        raise DataError(f"{where}: found {' and '.join(found)}, none in common; run both on the same data and seeds")
    return pairs


def _count(samples: Sequence[Sample]) -> int:
    """Count examples, whatever the number of seeds."""
    return len({sample.example.id for sample in samples})


def _content(sample: Sample) -> tuple[object, ...]:
    """List what makes an example, in the files of every version of evalkit."""
    return sample.example.fields, sample.example.targets, sample.example.choices


def _differences(pairs: Sequence[Pair], described: Described, notes: list[str]) -> Iterator[Difference]:
    """Compare the paired samples of one task at one number of shots under each metric that both have."""
    if not pairs:
        return
    sample, twin = pairs[0]
    titles = {result["task"]: result["title"] for result in described["results"]}
    names = [name for name in sample.statistics if name in twin.statistics]
    if not names:
        notes.append(
            f"{sample.task}: the first run has the metrics {', '.join(sample.statistics)}, the second "
            f"{', '.join(twin.statistics)}; none is compared."
        )
    firsts, seconds = [each for each, _ in pairs], [each for _, each in pairs]
    ids = {each.example.id for each in firsts}
    clusters = score.clusters_of([each.example for each in firsts], is_repeated=len(ids) < len(firsts))
    shown = metric_spec.titles(names)
    for name in names:
        metric = metric_spec.load(name)
        statistics = [[each.statistics[name] for each in side] for side in (firsts, seconds)]
        yield Difference(
            task=sample.task,
            title=titles.get(sample.task, sample.task),
            shots=sample.shots,
            metric=shown[name],
            is_proportion=metric.is_proportion,
            first=score.estimate(firsts, name),
            second=score.estimate(seconds, name),
            paired=paired.compare(*statistics, metric=metric, clusters=clusters, n=len(ids)),
        )


def _table(differences: Sequence[Difference], *, notes: Sequence[str]) -> Table:
    """Arrange differences in the order of the first run."""
    tests = dict.fromkeys(each.paired.test for each in differences)
    body: list[tuple[Cell, ...]] = []
    for each in differences:
        found, scale = each.paired, 100 if each.is_proportion else 1
        body.append(
            (
                tables.clean(each.title),
                each.shots,
                tables.clean(f"{each.metric}, %" if each.is_proportion else each.metric),
                found.difference.n,
                *(_shown(estimate, scale) for estimate in (each.first, each.second, found.difference)),
                _p(found.p_value),
                None if found.detectable is None else scale * found.detectable,
                found.wins,
                found.losses,
                *[found.test] * (len(tests) > 1),
            )
        )
    numbers = ("n", "first", "second", "second - first", "p", "detectable", "second higher", "second lower")
    columns = ("task", "shots", "metric", *numbers, *["test"] * (len(tests) > 1))
    lines = (*_tests(differences), *notes)
    caption = "Differences of two runs on the same examples, with 95 % intervals"
    return Table(columns, tuple(body), caption, notes=tuple(tables.clean(line) for line in lines))


def _tests(differences: Sequence[Difference]) -> Iterator[str]:
    """Say how the differences are tested."""
    tests = {each.paired.test for each in differences}
    if paired.EXACT in tests:
        yield (
            f"{paired.EXACT}: of right and wrong answers, with Tango's score interval (1998). The test is the more "
            "careful of the two: where p is little above 0.05 the interval may leave out 0."
        )
    if paired.CLUSTERED in tests:
        yield (
            f"{paired.CLUSTERED}: of right and wrong answers to examples that come in clusters, or were asked with "
            "several seeds, with Tango's score interval (1998) at that size (Kish 1965; Korn and Graubard 1998)."
        )
    if paired.BOOTSTRAP in tests:
        yield (
            f"{paired.BOOTSTRAP}: both runs scored on the same {stats.RESAMPLES:,} resamples of examples, or clusters "
            "of them; p is two-sided, below 0.05 where the interval leaves out 0 (Efron and Tibshirani 1993, 15.4)."
        )
    if len(differences) > 1:
        yield (
            "p is not corrected for the number of rows: of 20 rows without any difference, one on average is below "
            "0.05."
        )
    yield "detectable: the smallest true difference that a two-sided test at 5 % finds with 80 % power."
    yield (
        "second higher, second lower: examples that the second run scores higher or lower on, once for each seed; all "
        "others are ties."
    )


def _sources(run: Run) -> Iterator[str]:
    """Name a run and its signatures."""
    model = run.described["results"][0]["model"]
    yield f"{run.place}: {model}, {run.directory}"
    yield from (f"{run.place}: {line}" for line in (*run.described.get("notes", ()), *run.described["signatures"]))


def _write(out: Path, shown: Table, differences: Sequence[Difference], *, runs: Sequence[Run]) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(atomic.explain(out, error)) from error
    fields: dict[str, Any] = {  # Any: JSON
        run.place: {
            "directory": str(run.directory),
            "model": run.described["results"][0]["model"],
            "signatures": run.described["signatures"],
        }
        for run in runs
    }
    fields["differences"] = [dataclasses.asdict(each) for each in differences]
    report.write(out, Page("Two runs on the same examples", (shown,)))
    atomic.write(out / FILE, [json.dumps(fields, ensure_ascii=False, indent=2), "\n"])


def _settings(run: Run) -> str:
    return ", ".join(f"{name} at {tables.count(shots, 'shot')}" for name, shots in run.groups) or "no samples"


def _shown(estimate: Estimate, scale: int) -> Estimate:
    return tables.percent(estimate) if scale == 100 else estimate


def _p(value: float) -> str:
    """Print a p-value, small ones as a bound."""
    return "< 0.0001" if value < 0.0001 else f"{value:.4f}"

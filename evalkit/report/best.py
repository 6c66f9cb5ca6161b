"""Which of several models' scores is best on the same examples, and which ones chance may tell apart from it."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import TypeAlias

from evalkit import metric_spec, paired, score, stored
from evalkit.records import Example, Result
from evalkit.report import direction, layout
from evalkit.report import table as tables
from evalkit.report.runs import Run

LEVEL = 0.05  # below which a difference is called significant
NOTE = (
    "Bold: the best score of a task, and every score whose paired difference from it is not significant at 5 %, on the "
    "same examples ({tests}). Each pair is tested by itself. Means over tasks and subsets are not compared."
)

Place: TypeAlias = tuple[str, str, int]  # task, metric as the task file has it, shots
Key: TypeAlias = tuple[int, str]  # seed, example


@dataclass(frozen=True, slots=True)
class Answered:
    """What one run's answer to an example was worth."""

    content: bytes  # digest of the example
    cluster: str | None
    statistics: tuple[float, ...]  # of the metric that is compared


@dataclass(frozen=True, slots=True)
class Found:
    """The best results, and what a reader has to know."""

    best: frozenset[Result]
    notes: tuple[str, ...]


def find(runs: Sequence[Run], results: Sequence[Result]) -> Found:
    """Compare the runs' results on all examples of a task, where two models have them; no model runs again.

    `results` are those of the runs that are shown. The test is `paired.compare`'s. Results on other examples are not
    compared, which a note says.
    """
    groups: dict[Place, list[Result]] = {}
    for result in results:
        if result.spec is not None and result.subset == layout.ALL and result.estimate is not None:
            groups.setdefault((result.task, result.spec, result.shots), []).append(result)
    groups = {place: group for place, group in groups.items() if len(group) > 1 and direction.of(place[1]) is not None}
    if not groups:
        return Found(frozenset(), ())
    answers = _answers(runs, groups)
    best: list[Result] = []
    tests: dict[str, None] = {}
    apart: list[str] = []
    for place, group in groups.items():
        keyed = [_single(answers.get((result.model, place), {})) for result in group]
        if not _are_alike(keyed):
            apart.append(f"{group[0].title} at {tables.count(place[2], 'shot')}")
            continue
        best += _winners(group, keyed, place[1], tests)
    return Found(frozenset(best), tuple(_notes(tests, apart)))


def _winners(
    group: Sequence[Result], keyed: Sequence[Mapping[Key, Answered]], spec: str, tests: dict[str, None]
) -> Iterator[Result]:
    """Yield the best result and its ties; the tests that were used go to `tests`."""
    sign = -1 if direction.of(spec) == direction.LOWER else 1
    values = [each.estimate.value * sign for each in group if each.estimate is not None]
    first = values.index(max(values))
    keys = list(keyed[first])
    ids = {name for _, name in keys}
    examples = [Example(name, {}, (), cluster=keyed[first][seed, name].cluster) for seed, name in keys]
    clusters = score.clusters_of(examples, is_repeated=len(ids) < len(keys))
    statistics = [[each[key].statistics for key in keys] for each in keyed]
    for at, result in enumerate(group):
        if at == first:
            yield result
            continue
        found = paired.compare(
            statistics[first], statistics[at], metric=metric_spec.load(spec), clusters=clusters, n=len(ids)
        )
        tests[found.test] = None
        if found.p_value >= LEVEL:
            yield result


def _answers(runs: Sequence[Run], places: Collection[Place]) -> dict[tuple[str, Place], dict[Key, Answered]]:
    """Read what is compared of the runs, by model and place: their scored samples. Several runs may share a name."""
    found: dict[tuple[str, Place], dict[Key, Answered]] = {}
    for run in runs:
        if not any((each.task, each.spec, each.shots) in places for each in run.results):
            continue
        for sample in stored.samples(run.directory):
            specs = [spec for spec in sample.statistics if (sample.task, spec, sample.shots) in places]
            if not specs or sample.prompt is None:
                continue
            example = sample.example
            content = _digest(example)
            for spec in specs:
                here = found.setdefault((run.name, (sample.task, spec, sample.shots)), {})
                here[sample.seed, example.id] = Answered(content, example.cluster, sample.statistics[spec])
    return found


def _digest(example: Example) -> bytes:
    """Hash what makes an example, in the files of every version of evalkit."""
    content = [example.fields, example.targets, example.choices]
    return sha256(json.dumps(content, sort_keys=True, default=str).encode()).digest()


def _single(answers: Mapping[Key, Answered]) -> Mapping[Key, Answered]:
    """Leave the seed out where there is one alone, which may be any."""
    if len({seed for seed, _ in answers}) > 1:
        return answers
    return {(0, name): answered for (_, name), answered in answers.items()}


def _are_alike(keyed: Sequence[Mapping[Key, Answered]]) -> bool:
    """Tell whether all answered the same examples, with the same seeds where there are several."""
    contents = [{key: answered.content for key, answered in each.items()} for each in keyed]
    return bool(contents[0]) and all(each == contents[0] for each in contents)


def _notes(tests: Iterable[str], apart: Sequence[str]) -> Iterator[str]:
    if names := ", ".join(tests):
        yield NOTE.format(tests=names)
    if apart:
        places = ", ".join(dict.fromkeys(apart))
        yield f"Not compared, as the models have other examples, or not all fit every window: {places}."

"""The best of several models' scores, with those that do not differ from it."""

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from evalkit import encoding, paired, score
from evalkit.errors import DataError
from evalkit.records import Estimate, Result, Sample
from evalkit.report import best, runs
from evalkit.report.best import Found
from tests.test_diff import answers
from tests.test_report import result


def save(
    folder: Path, samples: Sequence[Sample], *, model: str, metric: str = "exact_match", **changes: object
) -> Path:
    """Write what a run of one metric leaves."""
    folder.mkdir()
    groups: dict[tuple[str, int], list[Sample]] = {}
    for sample in samples:
        groups.setdefault((sample.task, sample.shots), []).append(sample)
    results = [
        result(
            task,
            shots,
            score.estimate([each for each in group if each.prompt], metric),
            model=model,
            metric=metric,
            spec=metric,
            signature=f"{task}|v1|shots:{shots}|window:64|model:{model}",
            is_proportion=metric == "exact_match",
            **changes,
        )
        for (task, shots), group in groups.items()
    ]
    described = {
        "signatures": [f"{task}|v1|window:64|model:{model}" for task in dict.fromkeys(task for task, _ in groups)],
        "settings": {"tasks": list(dict.fromkeys(task for task, _ in groups)), "data": None, "model": model},
        "hashes": {"model": "abc", "tasks": {}},
        "versions": {"evalkit": "0.1.0"},
        "results": [dataclasses.asdict(each) for each in results],
    }
    (folder / "run.json").write_text(json.dumps(described))
    (folder / "samples.jsonl").write_text("".join(f"{encoding.encode_sample(each)}\n" for each in samples))
    return folder


def find(*paths: Path) -> Found:
    found = runs.read(paths)
    return best.find(found, [each for run in found for each in run.results])


def models(found: Found) -> set[str]:
    return {each.model for each in found.best}


def right(number: int, of: int = 40) -> list[Sample]:
    return answers(*[1] * number, *[0] * (of - number))


def test_a_model_that_is_significantly_worse_is_not_best(tmp_path: Path) -> None:
    # 6 examples that one alone has right are significant (p = 2 / 2 ** 6), 5 are not.
    assert paired.mcnemar(6, 0) < 0.05 < paired.mcnemar(5, 0)
    paths = [save(tmp_path / name, right(number), model=name) for name, number in (("a", 30), ("b", 25), ("c", 24))]
    assert models(find(*paths)) == {"a", "b"}


def test_the_note_names_the_test(tmp_path: Path) -> None:
    paths = [save(tmp_path / name, right(30), model=name) for name in ("a", "b")]
    [note] = find(*paths).notes
    assert "not significant at 5 %, on the same examples (McNemar's exact test)" in note


def test_every_task_and_number_of_shots_has_its_own_best(tmp_path: Path) -> None:
    first = [*right(40), *answers(*[0] * 40, shots=5), *answers(*[1] * 40, task="other")]
    second = [*right(0), *answers(*[1] * 40, shots=5), *answers(*[1] * 40, task="third")]
    found = find(save(tmp_path / "a", first, model="a"), save(tmp_path / "b", second, model="b"))
    assert {(each.model, each.task, each.shots) for each in found.best} == {("a", "quiz", 0), ("b", "quiz", 5)}


def test_the_lowest_perplexity_is_the_best(tmp_path: Path) -> None:
    def save_one(name: str, nats: float) -> Path:
        samples = [
            replace(each, statistics={"target_perplexity": (-nats - at / 99,)}) for at, each in enumerate(right(9, 9))
        ]
        return save(tmp_path / name, samples, model=name, metric="target_perplexity")

    assert models(find(save_one("worse", 9.0), save_one("better", 2.0))) == {"better"}


def test_other_examples_are_not_compared_and_noted(tmp_path: Path) -> None:
    found = find(save(tmp_path / "a", right(30), model="a"), save(tmp_path / "b", right(30, 39), model="b"))
    assert found.best == frozenset()
    assert found.notes == (
        "Not compared, as the models have other examples, or not all fit every window: QUIZ at 0 shots.",
    )


def test_other_data_under_the_same_ids_are_not_compared(tmp_path: Path) -> None:
    changed = [replace(each, example=replace(each.example, targets=("no",))) for each in right(30)]
    found = find(save(tmp_path / "a", right(30), model="a"), save(tmp_path / "b", changed, model="b"))
    assert found.best == frozenset()


def test_one_seed_may_differ_and_several_may_not(tmp_path: Path) -> None:
    def seeded(*seeds: int) -> list[Sample]:
        return [each for seed in seeds for each in answers(*[1] * 20, shots=5, seed=seed)]

    one, other = save(tmp_path / "a", seeded(0), model="a"), save(tmp_path / "b", seeded(7), model="b")
    assert models(find(one, other)) == {"a", "b"}
    first, second = save(tmp_path / "c", seeded(0, 1), model="c"), save(tmp_path / "d", seeded(1, 2), model="d")
    assert models(find(first, second)) == set()


def test_one_model_has_no_best(tmp_path: Path) -> None:
    assert find(save(tmp_path / "a", right(30), model="a")) == Found(frozenset(), ())


def test_runs_of_one_model_are_told_apart_by_their_directories(tmp_path: Path) -> None:
    first, second = (save(tmp_path / name, right(30), model="nano") for name in ("a", "b"))
    assert [run.name for run in runs.read([first, second])] == ["nano (a)", "nano (b)"]
    assert runs.read([first])[0].name == "nano"


def test_runs_of_one_model_that_share_no_result_are_one(tmp_path: Path) -> None:
    first = save(tmp_path / "a", right(30), model="nano")
    second = save(tmp_path / "b", answers(1, 0, shots=5), model="nano")
    assert {run.name for run in runs.read([first, second])} == {"nano"}


def test_a_model_whose_tasks_are_in_several_runs_is_compared_on_all(tmp_path: Path) -> None:
    folders = []
    for model, number in (("nano", 30), ("micro", 10)):
        for shots in (0, 5):
            samples = answers(*[1] * number, *[0] * (40 - number), shots=shots)
            folders.append(save(tmp_path / f"{model}-{shots}", samples, model=model))
    found = find(*folders)
    assert {(each.model, each.shots) for each in found.best} == {("nano", 0), ("nano", 5)}


def test_a_run_that_is_given_twice_is_refused(tmp_path: Path) -> None:
    run = save(tmp_path / "a", right(30), model="nano")
    with pytest.raises(DataError, match="given twice, expected runs that differ"):
        runs.read([run, tmp_path / "." / "a"])


def test_results_without_a_score_are_not_compared(tmp_path: Path) -> None:
    found = runs.read([save(tmp_path / name, right(30), model=name) for name in ("a", "b")])
    results: list[Result] = [replace(each, estimate=None) for run in found for each in run.results]
    assert best.find(found, results).best == frozenset()
    parts = [replace(each, subset="even=true", estimate=Estimate(1, 1, 1, 9)) for run in found for each in run.results]
    assert best.find(found, parts).best == frozenset()

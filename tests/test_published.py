"""GPT-3's published scores, and runs set beside them."""

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from evalkit import metric_spec, report_command, task
from evalkit.errors import DataError, EvalkitError, StorageError, UsageError
from evalkit.records import Estimate, Result, Table
from evalkit.report import published
from evalkit.report_command import Wanted

RESULT = Result(
    task="arithmetic/3-digit-addition",
    title="3D+",
    shots=50,
    shots_used=50.0,
    model="nano",
    metric="exact match",
    is_proportion=True,
    subset="all",
    estimate=Estimate(0.81, 0.79, 0.83, n=2000),
    skipped=0,
    signature="arithmetic/3-digit-addition|v1|shots:50",
    spec="exact_match",
)


def save(folder: Path, results: Sequence[Result], **settings: object) -> Path:
    folder.mkdir()
    content = {
        "signatures": ["arithmetic|v1"],
        "settings": {"tasks": ["arithmetic"], "data": None, **settings},
        "hashes": {"tasks": {}},
        "results": [dataclasses.asdict(result) for result in results],
    }
    (folder / "run.json").write_text(json.dumps(content))
    (folder / "samples.jsonl").write_text("")
    return folder


def report(*runs: Path, out: Path | None = None) -> Table:
    return report_command.report(Wanted(runs, is_published=True), out=out).summary[0]


def message(tmp_path: Path, *runs: Path, out: Path | None = None) -> tuple[type[EvalkitError], str]:
    with pytest.raises(EvalkitError) as caught:
        report(*runs, out=out)
    assert "\n" not in str(caught.value)
    return type(caught.value), str(caught.value).replace(f"{tmp_path}/", "")


def only_row(table: Table) -> dict[str, object]:
    [row] = table.rows
    return dict(zip(table.columns, row, strict=True))


@pytest.mark.parametrize(
    ("name", "metric", "setting", "expected"),
    [
        # Brown 2020, Table H.1
        ("arithmetic/2-digit-addition", "exact_match", "few", (2.0, 4.1, 3.5, 4.5, 8.9, 11.9, 55.5, 100.0)),
        ("arithmetic/1-digit-composite", "exact_match", "zero", (1.25, 2.95, 2.75, 0.05, 0.3, 2.35, 0.75, 9.75)),
        ("boolq", "accuracy", "one", (52.6, 61.7, 60.4, 63.7, 68.4, 68.7, 69.0, 76.7)),
        ("scramble/random-insertion", "exact_match", "few", (0.11, 0.28, 2.19, 4.18, 6.61, 11.0, 27.3, 67.2)),
        ("translation/ro-en", "multi_bleu(language=en)", "few", (1.25, 20.7, 25.8, 29.2, 33.1, 34.8, 37.0, 39.5)),
        ("translation/en-ro", "bleu(tokenize=intl)", "few", (1.64, 7.4, 10.9, 12.9, 17.2, 19.6, 21.8, 25.8)),
    ],
)
def test_scores_are_the_papers(name: str, metric: str, setting: str, expected: tuple[float, ...]) -> None:
    found = published.published(name, metric)
    assert found is not None
    assert found.scores[setting] == expected


@pytest.mark.parametrize(
    ("name", "metric"), [("arithmetic/2-digit-addition", "accuracy"), ("boolq", "f1"), ("copa", "accuracy")]
)
def test_what_the_paper_has_not_is_none(name: str, metric: str) -> None:
    assert published.published(name, metric) is None


@pytest.mark.parametrize("group", published.tasks())
def test_published_tasks_are_those_of_the_task_files(group: str) -> None:
    for each in task.load(group):
        found = [figures for name in each.metrics if (figures := published.published(each.name, name))]
        assert found, each.name
        assert {figures.shots for figures in found} == {each.paper_shots}


def test_every_task_has_three_settings_of_eight_sizes() -> None:
    rows = [row for rows in published._load().values() for row in rows]
    assert len(rows) == 10 + 5 + 1 + 2 * 6
    for row in rows:
        assert tuple(row.scores) == ("zero", "one", "few")
        assert all(len(scores) == 8 for scores in row.scores.values())


def test_a_run_stands_beside_the_eight_sizes() -> None:
    row = only_row(published.table([RESULT]))
    assert list(row)[5:] == ["Small 125M", "Medium 350M", "Large 760M", "XL 1.3B", "2.7B", "6.7B", "13B", "175B"]
    assert list(row.values()) == [
        *("3D+", "exact match, %", 50, 50.0, Estimate(81.0, 79.0, 83.0, n=2000)),
        *(0.15, 0.45, 0.30, 0.55, 0.75, 0.90, 8.40, 80.4),
    ]


@pytest.mark.parametrize(("metric", "expected"), [("multi_bleu(language=fr)", 32.6), ("bleu(tokenize=intl)", 39.9)])
def test_each_bleu_stands_beside_its_own(metric: str, expected: float) -> None:
    score = Estimate(20.0, 19.0, 21.0, n=3003)
    result = replace(
        RESULT,
        task="translation/en-fr",
        spec=metric,
        shots=64,
        shots_used=64.0,
        metric=metric_spec.load(metric).name,
        is_proportion=False,
        estimate=score,
    )
    row = only_row(published.table([result]))
    assert (row["metric"], row["nano"], row["175B"]) == (result.metric, score, expected)


@pytest.mark.parametrize(("shots", "expected"), [(0, 34.2), (1, 65.5), (2, 80.4), (50, 80.4)])
def test_shots_are_the_papers_settings(shots: int, expected: float) -> None:
    assert only_row(published.table([replace(RESULT, shots=shots, shots_used=float(shots))]))["175B"] == expected


def test_other_numbers_of_demonstrations_and_examples_are_noted() -> None:
    fewer = replace(RESULT, shots=10, shots_used=9.5, estimate=Estimate(0.8, 0.7, 0.9, n=100))
    notes = published.table([RESULT, fewer]).notes
    assert "nano at 10 shots had 9.50 demonstrations on average, where GPT-3 had 50: 3D+." in notes
    assert "nano had 100 examples, where GPT-3 had 2,000: 3D+." in notes
    assert not any("50.00 demonstrations" in note for note in notes)


def test_source_and_doubtful_scores_are_noted_for_what_is_shown() -> None:
    few, zero = (published.table([replace(RESULT, shots=n, shots_used=float(n))]).notes for n in (50, 0))
    assert "Brown et al. 2020" in zero[0]
    assert zero == few[:1]
    assert few[1:] == (
        "GPT-3's few-shot scores, Small's equals its one-shot score and may be no run of its own: 3D+.",
        "GPT-3's few-shot scores, 175B's is 80.2 in the paper's text: 3D+.",
    )


def test_results_without_published_scores_are_noted() -> None:
    mean = replace(RESULT, task="arithmetic", title="mean", spec=None)
    other = replace(RESULT, metric="greedy match", spec="greedy_match")
    part = replace(RESULT, subset="withheld=true")
    table = published.table([RESULT, other, mean, part])
    assert len(table.rows) == 1
    assert table.notes[-1] == "Left out, since Table H.1 has no such scores: 3D+ (greedy match), mean (exact match)."


def test_models_stand_beside_each_other() -> None:
    row = only_row(published.table([RESULT, replace(RESULT, model="other", estimate=None)]))
    assert (row["nano"], row["other"]) == (Estimate(81.0, 79.0, 83.0, n=2000), None)


def test_two_runs_of_one_model_are_two_rows() -> None:
    second = replace(RESULT, estimate=Estimate(0.5, 0.4, 0.6, n=2000))
    assert [row[4].value for row in published.table([RESULT, second]).rows] == [81.0, 50.0]


def test_runs_are_read_and_the_table_written(tmp_path: Path) -> None:
    first = save(tmp_path / "first", [RESULT])
    second = save(tmp_path / "second", [replace(RESULT, model="other")], data="mine.jsonl")
    table = report(first, second, out=tmp_path / "new" / "out")
    assert only_row(table)["other"] == only_row(table)["nano"] == Estimate(81.0, 79.0, 83.0, n=2000)
    assert "other: run on other data than the tasks' own, mine.jsonl." in table.notes
    assert table.sources == ("arithmetic|v1",)
    assert {path.name for path in (tmp_path / "new" / "out").iterdir()} == {
        *("table.md", "table.csv", "table.tex", "index.html", "report-files.json")
    }


def test_runs_without_published_scores_are_refused(tmp_path: Path) -> None:
    other = save(tmp_path / "a", [replace(RESULT, task="lambada")])
    assert message(tmp_path, other) == (
        DataError,
        "a: has the tasks lambada; expected one that Table H.1 has scores of: arithmetic, boolq, translation, scramble",
    )


def test_what_is_no_finished_run_is_refused(tmp_path: Path) -> None:
    unfinished = save(tmp_path / "begun", [])
    assert message(tmp_path, unfinished) == (
        StorageError,
        "begun: found no finished run; run its command again, to the end",
    )
    assert message(tmp_path, tmp_path / "nowhere") == (
        DataError,
        "nowhere: found no run.json; give a directory that evalkit run has written",
    )


@pytest.mark.parametrize("damage", ["{", "[]", '{"settings": {}}'])
def test_a_damaged_run_is_reported(tmp_path: Path, damage: str) -> None:
    run = save(tmp_path / "a", [RESULT])
    (run / "run.json").write_text(damage)
    kind, text = message(tmp_path, run)
    assert kind is StorageError
    assert text.endswith(("run its command again", "run its command again, to the end"))


@pytest.mark.parametrize("broken", [{"shots_used": "50"}, {"estimate": {"value": 1.0}}, {"shots": None}, {"spec": 1}])
def test_results_that_cannot_be_read_are_reported(tmp_path: Path, broken: dict[str, object]) -> None:
    run = save(tmp_path / "a", [RESULT])
    content = json.loads((run / "run.json").read_text())
    content["results"][0] |= broken
    (run / "run.json").write_text(json.dumps(content))
    assert message(tmp_path, run)[1].startswith("a/run.json: holds a result or signature that cannot be read")


def test_results_of_earlier_versions_without_the_metrics_form_are_reported(tmp_path: Path) -> None:
    run = save(tmp_path / "a", [RESULT])
    content = json.loads((run / "run.json").read_text())
    del content["results"][0]["spec"]
    (run / "run.json").write_text(json.dumps(content))
    assert message(tmp_path, run) == (
        StorageError,
        "a/run.json: holds a result or signature that cannot be read; run its command again",
    )


def test_tables_of_a_run_are_not_written_over(tmp_path: Path) -> None:
    run = save(tmp_path / "a", [RESULT])
    kind, text = message(tmp_path, run, out=run)
    assert kind is UsageError
    assert text.startswith("--out: a holds a run")


def test_a_place_that_cannot_be_written_is_reported(tmp_path: Path) -> None:
    run = save(tmp_path / "a", [RESULT])
    (tmp_path / "file").write_text("")
    assert message(tmp_path, run, out=tmp_path / "file")[0] is StorageError

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from evalkit import encoding, paired, stats
from evalkit.diff import diff
from evalkit.errors import DataError, StorageError
from evalkit.records import Example, Prompt, Sample, Table

PROMPT = Prompt("Q:", demonstrations=(), shots_asked=0, tokens=2, window=64)


def sample(name: str, right: float, *, task: str = "quiz", shots: int = 0, seed: int = 0) -> Sample:
    example = Example(name, {"question": f"{name}?"}, ("yes",))
    return Sample(task, shots, example, PROMPT, (), {"exact_match": (right,)}, seed=seed)


def answers(*right: float, **given: object) -> list[Sample]:
    return [sample(f"e{at}", float(value), **given) for at, value in enumerate(right)]  # type: ignore[arg-type]


def store(folder: Path, samples: Sequence[Sample], *, model: str = "nano", data: str = "3fa9c1aaaa") -> Path:
    """Write what `evalkit run` leaves."""
    folder.mkdir(parents=True)
    tasks = list(dict.fromkeys(each.task for each in samples))
    described = {
        "signatures": [f"{name}|v1|model:{model}" for name in tasks],
        "settings": {"tasks": tasks, "data": None, "model": model},
        "hashes": {"model": "abc", "tasks": {name: {"task": "t", "template": "p", "data": data} for name in tasks}},
        "results": [{"task": name, "title": name.title(), "model": model} for name in tasks],
    }
    (folder / "run.json").write_text(json.dumps(described))
    (folder / "samples.jsonl").write_text("".join(f"{encoding.encode_sample(each)}\n" for each in samples))
    return folder


def cells(table: Table, row: int = 0) -> dict[str, object]:
    return dict(zip(table.columns, table.rows[row], strict=True))


@pytest.fixture
def runs(tmp_path: Path) -> tuple[Path, Path]:
    # 30 both right, 4 only the first, 14 only the second, 12 neither.
    first = answers(*[1] * 30, *[1] * 4, *[0] * 14, *[0] * 12)
    second = answers(*[1] * 30, *[0] * 4, *[1] * 14, *[0] * 12)
    return store(tmp_path / "a", first), store(tmp_path / "b", second[::-1], model="gpt2")


def test_runs_are_compared_on_the_same_examples(runs: tuple[Path, Path]) -> None:
    [found] = diff(*runs).differences
    assert (found.task, found.title, found.shots, found.metric) == ("quiz", "Quiz", 0, "exact match")
    assert (found.first.value, found.second.value) == (34 / 60, 44 / 60)
    assert found.paired.difference.value == pytest.approx(10 / 60)
    assert found.paired.p_value == pytest.approx(paired.mcnemar(14, 4))
    assert (found.paired.wins, found.paired.losses, found.paired.ties) == (14, 4, 42)


def test_the_table_shows_both_scores_and_their_difference_in_percent(runs: tuple[Path, Path]) -> None:
    row = cells(diff(*runs).table)
    low, high = paired.tango(14, 4, 60)
    assert (row["task"], row["shots"], row["metric"], row["n"]) == ("Quiz", 0, "exact match, %", 60)
    assert row["first"].value == pytest.approx(100 * 34 / 60)  # type: ignore[attr-defined]
    difference = row["second - first"]
    assert (difference.low, difference.high) == pytest.approx((100 * low, 100 * high))  # type: ignore[attr-defined]
    assert row["p"] == "0.0309"  # 2 * (1 + 18 + 153 + 816 + 3060) / 2 ** 18
    assert row["detectable"] == pytest.approx(100 * stats.detectable_difference(18 / 60**2))
    assert (row["second higher"], row["second lower"]) == (14, 4)
    assert "test" not in row


def test_the_notes_name_the_test_and_both_runs(runs: tuple[Path, Path]) -> None:
    notes = diff(*runs).table.notes
    assert notes[0].startswith("McNemar's exact test: ")
    assert f"first: nano, {runs[0]}" in notes
    assert "first: quiz|v1|model:nano" in notes
    assert f"second: gpt2, {runs[1]}" in notes
    assert "second: quiz|v1|model:gpt2" in notes
    assert not any("not corrected" in note for note in notes)  # of a single row


def test_every_task_and_number_of_shots_has_a_row(tmp_path: Path) -> None:
    samples = [*answers(1, 0, 1), *answers(0, 0, 1, shots=5), *answers(1, 1, 1, task="trivia")]
    found = diff(store(tmp_path / "a", samples), store(tmp_path / "b", samples[3:]))
    assert [(each.task, each.shots) for each in found.differences] == [("quiz", 5), ("trivia", 0)]
    assert any("not corrected for the number of rows" in note for note in found.table.notes)


def test_the_report_holds_every_form_and_full_precision(runs: tuple[Path, Path], tmp_path: Path) -> None:
    out = tmp_path / "deep" / "out"
    outcome = diff(*runs, out=out)
    names = {path.name for path in out.iterdir()}
    assert names == {"table.md", "table.csv", "table.tex", "index.html", "diff.json"}
    stored = json.loads((out / "diff.json").read_text())
    assert stored["second"]["model"] == "gpt2"
    assert stored["differences"][0]["paired"]["p_value"] == outcome.differences[0].paired.p_value


def test_a_runs_own_report_is_not_written_over(runs: tuple[Path, Path]) -> None:
    with pytest.raises(StorageError, match="b: holds a run, whose report would be lost; choose another --out"):
        diff(*runs, out=runs[1])


def test_nothing_is_written_where_nothing_is_asked_for(runs: tuple[Path, Path], tmp_path: Path) -> None:
    assert diff(*runs).directory is None
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


def test_common_examples_are_compared_and_the_others_counted(tmp_path: Path) -> None:
    first, second = answers(1, 0, 1, 1, 0), answers(1, 1, 1)
    outcome = diff(store(tmp_path / "a", first), store(tmp_path / "b", second, data="81c0e2"))
    assert outcome.differences[0].paired.difference.n == 3
    assert outcome.differences[0].first.n == 3
    expected = "quiz, 0 shots: the first run has 5 examples and the second 3; the 3 that both have are compared."
    assert expected in outcome.table.notes


def test_data_that_differ_elsewhere_alone_are_noted(tmp_path: Path) -> None:
    samples = answers(1, 0, 1)
    outcome = diff(store(tmp_path / "a", samples), store(tmp_path / "b", samples, data="81c0e2bbbb"))
    assert any("data differ elsewhere (data:3fa9c1, data:81c0e2)" in note for note in outcome.table.notes)


def test_other_data_under_the_same_ids_are_refused(tmp_path: Path) -> None:
    samples = answers(1, 0, 1)
    changed = [replace(each, example=replace(each.example, targets=("no",))) for each in samples]
    first, second = store(tmp_path / "a", samples), store(tmp_path / "b", changed, data="81c0e2bbbb")
    with pytest.raises(DataError, match=r"quiz, 0 shots: found other data under the id 'e0' \(data:3fa9c1, data:81c0"):
        diff(first, second)


def test_clusters_of_examples_are_found_by_one_run_or_the_other_without_being_other_data(tmp_path: Path) -> None:
    samples = answers(*[1, 0] * 10)
    clustered = [replace(each, example=replace(each.example, cluster="c")) for each in samples]
    assert diff(store(tmp_path / "a", samples), store(tmp_path / "b", clustered)).differences


def test_examples_that_fit_neither_window_are_counted(tmp_path: Path) -> None:
    first, second = answers(1, 0, 1), answers(1, 1, 1)
    first[0] = replace(first[0], prompt=None, statistics={})
    outcome = diff(store(tmp_path / "a", first), store(tmp_path / "b", second))
    assert outcome.differences[0].paired.difference.n == 2
    assert any("1 of 3 examples do not fit the window of a run" in note for note in outcome.table.notes)


def test_several_seeds_are_matched_and_count_each_example_once(tmp_path: Path) -> None:
    first = [each for seed in (0, 1, 2) for each in answers(*[1, 0, 1, 1] * 5, shots=5, seed=seed)]
    second = [each for seed in (1, 2, 3) for each in answers(*[1, 1, 1, 0] * 5, shots=5, seed=seed)]
    outcome = diff(store(tmp_path / "a", first), store(tmp_path / "b", second))
    [found] = outcome.differences
    assert found.paired.difference.n == found.first.n == 20
    assert found.paired.wins + found.paired.losses + found.paired.ties == 40  # of the seeds 1 and 2
    assert found.paired.test == paired.CLUSTERED
    assert any("seeds 0, 1, 2 and the second seeds 1, 2, 3; those that both" in note for note in outcome.table.notes)


def test_single_seeds_are_compared_whatever_they_are(tmp_path: Path) -> None:
    first, second = answers(1, 0, 1, shots=5, seed=0), answers(1, 0, 1, shots=5, seed=7)
    outcome = diff(store(tmp_path / "a", first), store(tmp_path / "b", second))
    assert outcome.differences[0].paired.difference.value == 0
    assert any("seed 0 and the second seed 7; what they drew" in note for note in outcome.table.notes)


def test_small_p_values_are_printed_as_a_bound(tmp_path: Path) -> None:
    first, second = answers(*[0] * 100), answers(*[1] * 100)
    assert cells(diff(store(tmp_path / "a", first), store(tmp_path / "b", second)).table)["p"] == "< 0.0001"


@pytest.mark.parametrize(
    ("second", "message"),
    [
        (
            answers(1, 0, task="trivia"),
            r"b: has trivia at 0 shots, and \S+a quiz at 0 shots; run both on the same task",
        ),
        (answers(1, 0, shots=5), r"b: has quiz at 5 shots, and \S+a quiz at 0 shots"),
        ([sample("x", 1.0)], "quiz, 0 shots: found 2 examples, seed 0 and 1 example, seed 0, none in common"),
        (
            [replace(each, statistics={"accuracy": (1.0,)}) for each in answers(1, 0)],
            "found no metric or no scored example in common",
        ),
        ([replace(each, prompt=None, statistics={}) for each in answers(1, 0)], "found no metric or no scored example"),
    ],
)
def test_runs_without_anything_in_common_are_refused(second: Sequence[Sample], message: str, tmp_path: Path) -> None:
    first, other = store(tmp_path / "a", answers(1, 0)), store(tmp_path / "b", second)
    with pytest.raises(DataError, match=message):
        diff(first, other)


def test_what_is_no_finished_run_is_refused(runs: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere: found no run.json; give the directory of a run"):
        diff(runs[0], tmp_path / "nowhere")
    (runs[0] / "run.json").write_text(
        '{"signatures": [], "settings": {"tasks": [], "data": 1}, "hashes": {"tasks": {}}}'
    )
    with pytest.raises(StorageError, match="found no finished run; run its command again"):
        diff(*runs)
    (runs[0] / "run.json").write_text((runs[1] / "run.json").read_text().replace('"title"', '"name"'))
    with pytest.raises(StorageError, match="found no finished run"):
        diff(*runs)
    (runs[0] / "run.json").write_text("[]")
    with pytest.raises(StorageError, match="cannot be read, or damaged"):
        diff(*runs)


def test_a_broken_line_is_named(runs: tuple[Path, Path]) -> None:
    path = runs[1] / "samples.jsonl"
    path.write_text(path.read_text() + '{"task": 1}\n')
    with pytest.raises(DataError, match=r"samples.jsonl:61: not a sample"):
        diff(*runs)
    path.write_bytes(b"\xff\n")
    with pytest.raises(DataError, match=r"samples.jsonl: not UTF-8; run"):
        diff(*runs)
    path.unlink()
    with pytest.raises(StorageError, match=r"samples.jsonl: cannot be read \(No such file"):
        diff(*runs)

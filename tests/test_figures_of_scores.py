"""Scores against shots and against model size, and the loss of a training."""

from functools import cache
from pathlib import Path

import pytest

from evalkit.records import Estimate, Table
from evalkit.report import published
from evalkit.report.content import Figure
from evalkit.report.figures import loss, shots, sizes
from tests.test_figures import result

TASK = "arithmetic/3-digit-addition"
HALF = Estimate(0.5, 0.4, 0.6, 100)


def column(table: Table, name: str) -> list[object]:
    return [row[table.columns.index(name)] for row in table.rows]


def test_every_score_of_a_task_at_several_shots_is_drawn() -> None:
    results = [
        result(f"task {number}", at, HALF, model=model) for model in "ab" for number in range(4) for at in (0, 5)
    ]
    found = shots.by_shots([*results, result("once", 0, HALF), result("none", 0, None), result("none", 1, None)])
    assert found is not None
    assert len(found.data.rows) == len(results)
    assert set(column(found.data, "score")) == {Estimate(50.0, 40.0, 60.0, 100)}
    assert set(column(found.data, "model")) == {"a", "b"}


def test_subsets_and_scores_that_are_no_number_are_not_drawn() -> None:
    broken = Estimate(float("inf"), 0.0, float("inf"), 3)
    results = [
        result("a", 0, HALF, subset="withheld=true"),
        result("a", 1, HALF, subset="withheld=true"),
        *(result("b", at, broken, is_proportion=False, metric="perplexity") for at in (0, 1)),
    ]
    assert shots.by_shots(results) is None
    assert shots.by_shots([]) is None


@cache
def mixed() -> Figure:
    words = Estimate(25.0, 24.0, 26.0, 10)
    results = [result("a", at, HALF, shots_used=min(at, 26.25)) for at in (0, 64, 0, 64)]
    results += [result("b", at, words, metric="BLEU", is_proportion=False, spec="bleu") for at in (0, 1)]
    found = shots.by_shots(results)
    assert found is not None
    return found


def test_a_second_run_of_a_model_has_its_own_line() -> None:
    assert column(mixed().data, "model")[:4] == ["nano", "nano", "nano (run 2)", "nano (run 2)"]


def test_demonstrations_that_did_not_fit_are_named() -> None:
    assert "a at 64 shots 26.2" in mixed().caption
    assert "n = 10 to 100" in mixed().caption


def test_each_score_is_in_its_own_unit() -> None:
    assert column(mixed().data, "unit") == ["%"] * 4 + [None] * 2
    assert column(mixed().data, "score")[3:5] == [Estimate(50.0, 40.0, 60.0, 100), Estimate(25.0, 24.0, 26.0, 10)]
    assert "Wilson" in mixed().caption
    assert "BCa" in mixed().caption


@cache
def sized() -> Figure:
    results = [result(TASK, at, HALF) for at in (0, 50)]
    results += [result("own", 0, HALF, model=model) for model in ("nano", "other")]
    found = sizes.by_size([*results, result(TASK, 0, HALF, model="stranger")], parameters={"nano": 2e7, "other": 1e9})
    assert found is not None
    return found


def test_gpt3s_curve_stands_beside_a_models_scores() -> None:
    figures = published.published(TASK, "exact_match")
    assert figures is not None
    own = [Estimate(50.0, 40.0, 60.0, 100)] * 2
    assert column(sized().data, "score")[:18] == [*own, *figures.scores["zero"], *figures.scores["few"]]
    assert column(sized().data, "parameters")[2:10] == [round(count) for count in sizes.PARAMETERS.values()]
    assert "stranger" in sized().caption
    assert sizes.PARAMETERS.keys() == published.SIZES.keys()


def test_a_task_without_published_scores_needs_two_sizes() -> None:
    own = [result("own", 0, HALF, model=model) for model in "ab"]
    assert sizes.by_size(own, parameters={"a": 1e6}) is None
    assert sizes.by_size(own, parameters={"a": 1e6, "b": 1e6}) is None
    assert column(sized().data, "parameters")[18:] == [20_000_000, 1_000_000_000]


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [(999, "999"), (356e6, "356M"), (1.3157e9, "1.32B"), (999.9e6, "1B"), (1.746e11, "175B")],
)
def test_sizes_are_written_short(parameters: float, expected: str) -> None:
    assert sizes.size_name(parameters) == expected


def test_every_step_is_beside_the_loss_curve(tmp_path: Path) -> None:
    table = tmp_path / "loss.csv"
    steps = [f"{step},{1000 * step},0.1,{5 / step}\n" for step in range(1, 401)]
    table.write_text("step,tokens,learning_rate,loss\n" + "".join(steps) + "401,401000,0.1,nan\n")
    found = loss.loss_curve(table)
    assert found.data.rows[1] == (2, 2000, 2.5, 3.75)
    assert len(found.data.rows) == 400
    assert "1 step whose loss was not finite" in found.caption


def test_the_curve_lies_beside_its_table_even_of_no_step(tmp_path: Path) -> None:
    table = tmp_path / "loss.csv"
    table.write_text("step,tokens,learning_rate,loss\n")
    path = loss.draw(table)
    assert path == tmp_path / "loss.png"
    assert path.read_bytes().startswith(b"\x89PNG")


def test_a_running_mean_looks_back() -> None:
    assert loss.running_mean([1.0, 2.0, 3.0, 4.0], width=2) == [1.0, 1.5, 2.5, 3.5]

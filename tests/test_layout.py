"""Results as tables: what stands where, in which order, and what is marked."""

import pytest

from evalkit import registry
from evalkit.records import Estimate, Marked, Result, Table
from evalkit.report import direction, layout
from evalkit.report.layout import Axis, Layout, Marks, Order
from tests.test_report import result


def score(task: str, shots: int, model: str, value: float, **changes: object) -> Result:
    return result(task, shots, Estimate(value, value, value, n=10), model=model, **changes)


def grid(*models: str) -> list[Result]:
    """Tasks b and a at 0 and 5 shots; the score is a hundredth for each place in that order."""
    places = [(task, shots, model) for model in models for task in ("b", "a") for shots in (0, 5)]
    return [score(task, shots, model, at / 100) for at, (task, shots, model) in enumerate(places)]


def numbers(table: Table) -> list[list[object]]:
    return [[cell.value if isinstance(cell, Estimate) else cell for cell in row] for row in table.rows]


def build(results: list[Result], rows: Axis, columns: Axis, order: Order = "given") -> Table:
    return layout.build(results, layout=Layout(rows, columns, order))


def test_tasks_by_shots_is_the_usual_layout() -> None:
    built = layout.build(grid("nano"))
    assert built.columns == ("task", "n", "0 shots, %", "5 shots, %")
    assert numbers(built) == [["B", 10, 0.0, 1.0], ["A", 10, 2.0, 3.0]]


def test_models_by_tasks_have_shots_beside() -> None:
    built = build(grid("one", "two"), "models", "tasks")
    assert built.columns == ("model", "shots", "n", "B, %", "A, %")
    assert numbers(built) == [
        ["one", 0, 10, 0.0, 2.0],
        ["one", 5, 10, 1.0, 3.0],
        ["two", 0, 10, 4.0, 6.0],
        ["two", 5, 10, 5.0, 7.0],
    ]


def test_tasks_by_models_at_one_number_of_shots_name_it_in_the_caption() -> None:
    built = build([each for each in grid("one", "two") if each.shots == 5], "tasks", "models")
    assert built.columns == ("task", "n", "one, %", "two, %")
    assert numbers(built) == [["B", 10, 1.0, 5.0], ["A", 10, 3.0, 7.0]]
    assert built.caption == "Exact match in % of one, two at 5 shots, with 95 % intervals"


def test_models_by_shots_of_one_task_name_it_in_the_caption() -> None:
    built = build([each for each in grid("one", "two") if each.task == "a"], "models", "shots")
    assert built.columns == ("model", "n", "0 shots, %", "5 shots, %")
    assert built.caption == "Exact match in % of one, two on A, with 95 % intervals"


def test_shots_down_are_in_their_order() -> None:
    built = build([score("a", shots, "one", 0.5) for shots in (10, 0, 1)], "shots", "models")
    assert [row[0] for row in built.rows] == [0, 1, 10]


def test_what_varies_otherwise_is_a_label() -> None:
    built = build(grid("one", "two"), "tasks", "shots")
    assert built.columns[:2] == ("task", "model")
    assert [row[:2] for row in built.rows] == [("B", "one"), ("B", "two"), ("A", "one"), ("A", "two")]


@pytest.mark.parametrize(("order", "expected"), [("given", ["B", "A"]), ("name", ["A", "B"]), ("score", ["A", "B"])])
def test_rows_come_in_the_order_asked_for(order: Order, expected: list[str]) -> None:
    assert [row[0] for row in build(grid("one"), "tasks", "shots", order).rows] == expected


def test_the_lowest_score_is_first_where_lower_is_better() -> None:
    given = {"metric": "perplexity", "spec": "word_perplexity", "is_proportion": False}
    results = [score("a", 0, model, value, **given) for model, value in (("x", 20.0), ("y", 10.0))]
    assert [row[0] for row in build(results, "models", "shots", "score").rows] == ["y", "x"]


def test_rows_without_a_score_are_last_by_score() -> None:
    results = [result("a", 0, None), score("b", 0, "nano", 0.0)]
    assert [row[0] for row in build(results, "tasks", "shots", "score").rows] == ["B", "A"]


def test_metrics_of_tasks_across_have_columns_of_their_own() -> None:
    other = {"metric": "BLEU", "spec": "bleu", "is_proportion": False}
    built = build([score("a", 0, "one", 0.5), score("a", 0, "one", 30.0, **other)], "models", "tasks")
    assert built.columns == ("model", "n", "A, exact match, %", "A, BLEU")
    assert numbers(built) == [["one", 10, 50.0, 30.0]]


def test_examples_of_tasks_across_are_a_note_where_they_differ() -> None:
    results = [
        result(task, 0, Estimate(0.5, 0.4, 0.6, n=number), model="one") for task, number in (("a", 1200), ("b", 9))
    ]
    built = build(results, "models", "tasks")
    assert built.columns == ("model", "A, %", "B, %")
    assert built.notes == ("n: 1,200 for A; 9 for B.",)


def test_results_that_are_not_there_are_absent() -> None:
    built = build([score("a", 0, "one", 0.5), score("b", 0, "two", 0.5)], "models", "tasks")
    assert numbers(built) == [["one", 10, 50.0, None], ["two", 10, None, 50.0]]


def test_marks_are_on_the_results_they_are_of() -> None:
    first, second = score("a", 0, "one", 0.5), score("a", 0, "two", 0.25)
    marks = Marks(best=frozenset([first]), signs={second: ("†", "‡")})
    [row] = layout.build([first, second], layout=Layout("tasks", "models"), marks=marks).rows
    assert row[2] == Marked(Estimate(50.0, 50.0, 50.0, 10), is_best=True)
    assert row[3] == Marked(Estimate(25.0, 25.0, 25.0, 10), signs=("†", "‡"))


def test_demonstrations_that_were_left_stand_beside_scores_where_they_are_fewer() -> None:
    fewer = score("a", 5, "one", 0.5, shots_used=4.5)
    assert layout.build([fewer], shows_used=True).columns[-1] == "shots used, 5 shots"
    assert layout.build([fewer], shows_used=True).rows[0][-1] == 4.5
    assert len(layout.build([score("a", 5, "one", 0.5)], shows_used=True).columns) == 3


def test_every_metric_has_a_direction_or_none() -> None:
    assert direction.DIRECTIONS.keys() == registry.METRICS.keys()


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("bleu(tokenize=intl)", "higher"),
        ("exact_match@strict", "higher"),
        ("ter", "lower"),
        ("words", None),
        ("x", None),
    ],
)
def test_directions_are_those_of_the_metric_whatever_its_settings(spec: str, expected: str | None) -> None:
    assert direction.of(spec) == expected

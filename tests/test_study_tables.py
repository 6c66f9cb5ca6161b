"""The tables of an analysis: what stands in them, and what is said under them."""

import math

import pytest

from evalkit.articles.analysis.accuracy_tables import clustered as clustered_table
from evalkit.articles.analysis.accuracy_tables import exclusion_rules, p_text, paper
from evalkit.articles.analysis.analyse import analyse
from evalkit.articles.analysis.answer_tables import choices as choices_table
from evalkit.articles.analysis.answer_tables import extremes
from evalkit.articles.analysis.plan_tables import plan as plan_table
from evalkit.articles.analysis.plan_tables import power_law
from evalkit.articles.analysis.tables import participants as participants_table
from evalkit.articles.analysis.tables import tables
from evalkit.articles.records import Exclusions
from evalkit.records import Estimate, Table
from tests import studies
from tests.test_study_analysis import RIGHT_IN_A, SIZES, ZANZIBAR, person, simulated


def column(table: Table, name: str) -> list[object]:
    return [row[table.columns.index(name)] for row in table.rows]


def test_the_first_table_has_the_papers_layout() -> None:
    found = simulated()
    table = paper(found)
    assert column(table, "model") == list(SIZES)
    assert column(table, "t (p)")[0] is None
    test = found.groups[3].against
    assert test is not None
    assert test.pooled is not None
    assert column(table, "t (p)")[3] == f"{test.pooled.t:.1f} ({p_text(test.pooled.p)})"
    assert isinstance(column(table, "accuracy, %")[3], Estimate)


def test_deviations_are_in_points_of_100() -> None:
    found = simulated()
    parts = found.groups[2].components
    assert parts is not None
    assert column(clustered_table(found), "sd answers")[2] == pytest.approx(100 * math.sqrt(parts.residual))


def test_the_hardest_texts_are_models_and_come_first() -> None:
    table = extremes(simulated())
    values = [each.value for each in column(table, "accuracy, %") if isinstance(each, Estimate)]
    assert len(values) == 10
    assert values == sorted(values)
    assert {"control", "a person"}.isdisjoint(column(table, "written by"))


def test_shares_of_the_five_answers_add_up() -> None:
    rows = choices_table(simulated()).rows
    assert len(rows) == 2 * len(SIZES)
    assert all(sum(row[3:]) == pytest.approx(100) for row in rows)  # type: ignore[arg-type]


def test_the_plan_and_the_power_law_are_in_points_of_100() -> None:
    found = simulated()
    assert found.plan is not None
    assert found.law is not None
    assert column(plan_table(found), "t-test") == [each.simple for each in found.plan.planned]
    assert column(plan_table(found), "difference, points of 100")[2] == 5
    (row,) = power_law(found).rows
    kept = row[1]
    assert isinstance(kept, Estimate)
    assert kept.low < kept.value < kept.high
    assert kept.value == pytest.approx(100 * found.law.at(10**9) / found.law.at(10**8))


@pytest.mark.parametrize(("p", "expected"), [(2.1e-4, "2e-4"), (1e-34, "1e-34"), (0.0312, "0.031"), (1.0, "1.000")])
def test_p_values_are_written_as_in_the_paper(p: float, expected: str) -> None:
    assert p_text(p) == expected


def test_the_rules_are_said_under_the_table() -> None:
    assert "less than 5 seconds" in exclusion_rules(Exclusions(least_seconds=5.0))
    assert "Nobody" in exclusion_rules(Exclusions(must_finish=False, must_attend=False))


def test_every_table_names_what_it_rests_on() -> None:
    found = simulated()
    own = [table for table in tables(found) if "GPT-3" not in table.caption]
    assert len(own) == len(tables(found)) - 1
    assert all(found.signature in table.sources for table in own)
    assert {group.signature for group in found.groups} <= set(own[0].sources)


def test_participants_have_a_row_each_the_excluded_too() -> None:
    study = studies.study()
    people = [person(study, RIGHT_IN_A), person(study, RIGHT_IN_A, id="p2", has_attended=False)]
    rows = participants_table(analyse(study, people)).rows
    assert rows == (
        ("p1", ZANZIBAR, "A", 4, 0, 4, 1.0, 60.0, None),
        ("p2", ZANZIBAR, "A", 4, 0, 4, 1.0, 60.0, "attention check"),
    )

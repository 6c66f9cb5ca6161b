"""People's accuracy against model size."""

from dataclasses import replace
from functools import cache

import pytest

from evalkit.articles.analysis import published
from evalkit.articles.analysis.analyse import Analysis, analyse
from evalkit.articles.analysis.simulation import Effects, simulate
from evalkit.articles.records import Study
from evalkit.records import Estimate, Table
from evalkit.report import table as tables
from evalkit.report.content import Figure
from evalkit.report.figures import articles
from tests import studies

MODELS = {"control": 0.85, "small": 0.8, "middle": 0.7, "large": 0.6, "unsized": 0.7}
SIZES = {"control": 10**8, "small": 10**8, "middle": 10**9, "large": 10**10}


def study() -> Study:
    made = studies.study(8)
    ids = [article.id for article in made.articles]
    conditions = [
        studies.condition(name, ids, parameters=SIZES.get(name), is_control=name == "control") for name in MODELS
    ]
    return replace(made, conditions=tuple(conditions))


@cache
def analysed() -> Analysis:
    return analyse(study(), simulate(study(), MODELS, Effects(participant=0.05), participants=10, seed=1))


@cache
def drawn() -> Figure:
    found = articles.figure(analysed())
    assert found is not None
    return found


def column(table: Table, name: str) -> list[object]:
    return [row[table.columns.index(name)] for row in table.rows]


def percent(name: str) -> Estimate:
    found = next(group.accuracy for group in analysed().groups if group.name == name)
    assert found is not None
    return tables.percent(found)


def test_every_point_stands_in_the_data() -> None:
    own = [percent(name) for name in ("small", "middle", "large")]
    theirs = [tables.percent(each.accuracy) for each in published.load() if each.words == 200 and not each.is_control]
    assert column(drawn().data, "accuracy, %") == [*own, *theirs, percent("control")]
    assert column(drawn().data, "parameters")[:3] == [10**8, 10**9, 10**10]


def test_intervals_with_articles_that_vary_stand_beside() -> None:
    robust = analysed().groups[1].robust
    assert robust is not None
    assert column(drawn().data, "accuracy, articles vary, %")[0] == tables.percent(robust.estimate)


def test_the_caption_says_what_is_drawn() -> None:
    caption = drawn().caption
    assert analysed().law is not None
    assert f"b = {analysed().law.exponent.value:.3f}" in caption  # type: ignore[union-attr]
    assert "n = 10 a model" in caption
    assert "Left out, since parameters or an interval are missing: unsized." in caption
    assert "the control, n = 10" in caption


def test_a_study_without_a_control_or_a_law_is_drawn_nevertheless() -> None:
    two = replace(analysed(), groups=analysed().groups[1:3], law=None)
    found = articles.figure(two)
    assert found is not None
    assert "control" not in column(found.data, "model")
    assert "Curve" not in found.caption


@pytest.mark.parametrize("missing", ["parameters", "accuracy"])
def test_nothing_is_drawn_without_a_size_or_an_interval(missing: str) -> None:
    groups = tuple(replace(group, **{missing: None}) for group in analysed().groups)
    assert articles.figure(replace(analysed(), groups=groups)) is None


def test_equal_points_are_equal_bytes() -> None:
    again = articles.figure(analysed())
    assert again is not None
    assert again.svg == drawn().svg

"""The published study: its figures as printed, and how far t follows from them."""

import math

import numpy as np
import pytest
from scipy import stats as scipy_stats

from evalkit.articles.analysis import published
from evalkit.articles.analysis.accuracy_tables import published_table
from evalkit.articles.analysis.published import PublishedGroup
from evalkit.report.figures.sizes import PARAMETERS

COMPARED = [group for group in published.load() if not group.is_control]
FROM_ROUNDED = (3.7, 10.1, 6.8, 10.3, 9.7, 10.5, 13.4, 15.8, 12.6)  # t from printed means, half widths and n


def name(group: PublishedGroup) -> str:
    return published.label(group)


def test_all_rows_are_there() -> None:
    short = [group for group in published.load() if group.words == 200]
    assert (len(short), len(published.load())) == (9, 11)
    # Table 3.11: 713 recruited, though the text says 718; 97 excluded.
    assert (sum(group.recruited for group in short), sum(group.excluded for group in short)) == (713, 97)


def test_parameters_are_those_of_the_models() -> None:
    short = [group.parameters for group in COMPARED if group.words == 200]
    assert short == [round(each) for each in PARAMETERS.values()]


@pytest.mark.parametrize("group", published.load(), ids=name)
def test_intervals_lie_around_their_means_as_evenly_as_rounding_allows(group: PublishedGroup) -> None:
    middle = (group.accuracy.low + group.accuracy.high) / 2
    assert abs(middle - group.accuracy.value) <= 2 * published.ROUNDING + 1e-9


@pytest.mark.parametrize(("group", "expected"), list(zip(COMPARED, FROM_ROUNDED, strict=True)), ids=str)
def test_t_is_computed_again_from_rounded_figures(group: PublishedGroup, expected: float) -> None:
    found = published.rebuild(group)
    assert found is not None
    assert round(found.t, 1) == expected


@pytest.mark.parametrize("group", COMPARED, ids=name)
def test_every_printed_t_lies_within_what_rounding_allows(group: PublishedGroup) -> None:
    found = published.rebuild(group)
    assert found is not None
    assert group.t is not None
    assert found.low <= group.t <= found.high


@pytest.mark.parametrize("group", COMPARED, ids=name)
def test_printed_t_values_are_above_those_of_rounded_figures_by_up_to_an_eighth(group: PublishedGroup) -> None:
    found = published.rebuild(group)
    assert found is not None
    assert group.t is not None
    assert 1 < group.t / found.t < 1.15


def test_no_figures_that_round_to_the_printed_ones_leave_the_bounds() -> None:
    # Means and half widths drawn around the printed ones, kept where they print alike.
    group = COMPARED[-2]  # 175B, 200 words
    control = published.control(group)
    generator = np.random.default_rng(5)
    found = published.rebuild(group)
    assert found is not None
    values = []
    for _ in range(8_000):
        sides = []
        for each in (control.accuracy, group.accuracy):
            mean, half = each.value + generator.uniform(-0.006, 0.006), (each.high - each.low) / 2
            half += generator.uniform(-0.006, 0.006)
            bounds = (mean, mean - half, mean + half)
            if [round(100 * bound) for bound in bounds] == [round(100 * x) for x in (each.value, each.low, each.high)]:
                deviation = half / scipy_stats.t.ppf(0.975, each.n - 1) * math.sqrt(each.n)
                sides.append((mean, deviation, each.n))
        if len(sides) == 2:
            values.append(scipy_stats.ttest_ind_from_stats(*sides[0], *sides[1]).statistic)
    assert len(values) > 200
    assert found.low <= min(values) <= max(values) <= found.high
    # The bounds are not wide for nothing.
    assert max(values) - min(values) > 0.5 * (found.high - found.low)


def test_four_printed_p_values_do_not_follow_from_their_t() -> None:
    # t = 10.3 with 140 degrees of freedom is 7e-19; the paper prints 7e-21.
    doubtful = [
        name(each) for each in COMPARED if (found := published.rebuild(each)) and not published.is_p_of_t(each, found)
    ]
    assert doubtful == ["Medium (200 words)", "13B (200 words)", "175B (200 words)", "175B (500 words)"]


def test_the_control_is_compared_with_nothing() -> None:
    assert [published.rebuild(group) for group in published.load() if group.is_control] == [None, None]


def test_the_table_shows_every_row_beside_its_t_computed_again() -> None:
    table = published_table()
    assert len(table.rows) == 11
    assert table.rows[8][5:9] == ("16.9 (1e-34)", 7.8, pytest.approx(15.84, abs=0.01), "13.6 to 19.5")
    assert "Printed t outside of the bounds: none." in table.notes

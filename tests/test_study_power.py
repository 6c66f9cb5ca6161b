"""How many participants a difference takes, against statsmodels and the limits that articles set."""

import itertools
import math

import pytest
from statsmodels.stats.power import TTestIndPower, TTestPower

from evalkit.articles.analysis import power
from evalkit.articles.analysis.power import Variances

PARTS = Variances(participant=0.004, text=0.005, residual=0.2)


@pytest.mark.parametrize(("difference", "participants"), [(0.02, 40), (0.05, 70), (0.1, 12), (0.3, 5)])
def test_the_power_of_the_t_test_is_that_of_statsmodels(difference: float, participants: int) -> None:
    expected = TTestIndPower().power(difference / 0.11, participants, 0.05)  # statsmodels 0.15
    assert power.simple_power(difference, deviation=0.11, participants=participants) == pytest.approx(
        expected, abs=1e-8
    )


@pytest.mark.parametrize("difference", [0.01, 0.03, 0.08])
def test_the_participants_needed_are_those_of_statsmodels(difference: float) -> None:
    expected = TTestIndPower().solve_power(difference / 0.11, alpha=0.05, power=0.8)
    found = power.needed(lambda n: power.simple_power(difference, deviation=0.11, participants=n))
    assert found == math.ceil(expected)


def test_a_difference_that_two_participants_find_takes_two() -> None:
    assert power.needed(lambda _: 1.0) == 2
    assert power.needed(lambda n: float(n >= 3)) == 3
    assert power.needed(lambda _: 0.79) is None


def test_a_large_difference_is_certain_to_be_found() -> None:
    assert power.simple_power(0.9, deviation=0.01, participants=500) == pytest.approx(1)
    assert power.simple_power(0.9, deviation=0.0, participants=5) == 1


@pytest.mark.parametrize("participants", [2, 3, 5, 40, 5000])
def test_the_power_rises_with_the_difference_up_to_1(participants: int) -> None:
    found = [power.simple_power(at / 100, deviation=0.02, participants=participants) for at in range(100)]
    assert all(one <= other + 1e-9 for one, other in itertools.pairwise(found))
    assert found[-1] == pytest.approx(1)


def test_no_difference_is_found_as_often_as_the_level() -> None:
    assert power.simple_power(0.0, deviation=0.11, participants=30) == pytest.approx(0.05)
    assert power.crossed_power(0.0, PARTS, participants=30, articles=25, decided=23) == pytest.approx(0.05)


def test_articles_that_do_not_vary_leave_nearly_the_t_test() -> None:
    # A participant's accuracy then has the variance of the participant and of the mean of the answers; that articles do
    # not vary has to be found from 25 of them, which costs degrees of freedom.
    parts = Variances(participant=0.004, text=0.0, residual=0.2)
    deviation = math.sqrt(0.004 + 0.2 / 23)
    simple = power.simple_power(0.05, deviation=deviation, participants=70)
    crossed = power.crossed_power(0.05, parts, participants=70, articles=25, decided=23)
    assert simple - 0.03 < crossed < simple


def test_endless_participants_are_as_good_as_a_test_of_the_articles() -> None:
    # What is left is a paired t-test of 25 articles.
    expected = TTestPower().solve_power(nobs=25, alpha=0.05, power=0.8) * math.sqrt(PARTS.text)
    assert power.limit(PARTS, articles=25) == pytest.approx(expected, abs=1e-4)


def test_the_power_comes_as_near_to_the_limit_as_participants_are_many() -> None:
    limit = power.limit(PARTS, articles=8)
    assert limit is not None
    found = power.crossed_power(limit, PARTS, participants=10**6, articles=8, decided=8)
    assert found == pytest.approx(0.8, abs=0.005)


def test_what_lies_below_the_limit_no_number_of_participants_finds() -> None:
    limit = power.limit(PARTS, articles=25)
    assert limit is not None

    def needed(difference: float) -> int | None:
        return power.needed(lambda n: power.crossed_power(difference, PARTS, participants=n, articles=25, decided=23))

    assert needed(0.95 * limit) is None
    assert needed(1.05 * limit) is not None


def test_articles_that_do_not_vary_set_no_limit() -> None:
    assert power.limit(Variances(0.01, 0.0, 0.2), articles=25) == 0


def test_a_difference_above_1_is_none() -> None:
    assert power.detectable(lambda _: 0.5) is None
    assert power.limit(Variances(0.0, 1.0, 0.0), articles=2) is None


def test_the_smallest_difference_is_found_in_four_of_five_studies() -> None:
    found = power.detectable(lambda each: power.simple_power(each, deviation=0.11, participants=70))
    expected = TTestIndPower().solve_power(nobs1=70, alpha=0.05, power=0.8) * 0.11
    assert found == pytest.approx(expected, abs=1e-4)


def test_a_plan_takes_more_participants_for_smaller_differences_and_fewer_articles() -> None:
    found = power.plan(0.11, PARTS, articles=25, decided=23)
    for each in found.planned:
        counts = [math.inf if count is None else count for count in (each.doubled, each.crossed)]
        assert counts[0] <= counts[1]
    simple = [each.simple for each in found.planned]
    assert simple == sorted(simple, reverse=True)
    assert found.planned[0].crossed is None  # 2 points, below the limit of 4.1


def test_a_plan_without_a_control_has_the_t_test_alone() -> None:
    found = power.plan(0.11, None, articles=25, decided=23)
    assert all(each.simple and each.crossed is None for each in found.planned)

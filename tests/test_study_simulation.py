"""Participants with known effects: what intervals cover, how often tests reject, and that an analysis finds them.

Tolerances are four standard errors of a share of so many repetitions, beside what is known of the method.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import pytest

from evalkit.articles.analysis import accuracy, clustered, components, power
from evalkit.articles.analysis.analyse import analyse
from evalkit.articles.analysis.check import check
from evalkit.articles.analysis.clustered import Crossed
from evalkit.articles.analysis.components import Components
from evalkit.articles.analysis.power import Variances
from evalkit.articles.analysis.simulation import Effects, draw, simulate
from evalkit.articles.records import Exclusions, Study
from tests import studies

PEOPLE, ARTICLES, REPETITIONS = 70, 25, 300
NEUTRAL = 0.07  # as in the published study
BASE = 0.6


@dataclass(frozen=True, slots=True)
class Rates:
    """Shares of repetitions."""

    covered: float  # by the t interval of the first condition's accuracy
    covered_clustered: float
    rejected: float  # by the t-test of both conditions
    rejected_clustered: float


@cache
def repeated(effects: Effects, *, difference: float = 0.0, participants: int = PEOPLE, seed: int = 1) -> Rates:
    """Repeat a study of two conditions."""
    draws = draw(
        (BASE + difference, BASE),
        effects,
        participants=participants,
        articles=ARTICLES,
        repetitions=REPETITIONS,
        generator=np.random.default_rng(seed),
    )
    found: list[tuple[bool, ...]] = []
    for right, neutral in zip(draws.is_right, draws.is_neutral, strict=True):
        rows = [
            ((one & ~none).sum(axis=1) / (~none).sum(axis=1)).tolist() for one, none in zip(right, neutral, strict=True)
        ]
        sides = [crossed(one, none) for one, none in zip(right, neutral, strict=True)]
        simple, robust = accuracy.mean(rows[0]), clustered.mean(sides[0])
        test, both = accuracy.compare(*rows, pooled=True), clustered.compare(*sides)
        assert simple is not None
        assert robust is not None
        assert test is not None
        assert both is not None
        truth = BASE + difference
        found.append(
            (
                simple.low <= truth <= simple.high,
                robust.estimate.low <= truth <= robust.estimate.high,
                test.p < 0.05,
                both.test.p < 0.05,
            )
        )
    return Rates(*(float(share) for share in np.mean(found, axis=0)))


def crossed(is_right: np.ndarray, is_neutral: np.ndarray) -> Crossed:
    who, what = np.nonzero(~is_neutral)
    return Crossed(is_right[who, what].astype(float), who, what)


def tolerance(rate: float) -> float:
    return 4 * math.sqrt(rate * (1 - rate) / REPETITIONS)


ALONE = Effects(participant=0.06, neutral=NEUTRAL)
CROSSED = Effects(participant=0.06, text=0.1, neutral=NEUTRAL)
SHARED = Effects(participant=0.06, article=0.1, neutral=NEUTRAL)


def test_the_t_interval_covers_where_participants_alone_vary() -> None:
    assert repeated(ALONE).covered == pytest.approx(0.95, abs=tolerance(0.95))


def test_the_t_interval_misses_where_articles_vary() -> None:
    # The mean varies by participants, (0.06^2 + 0.23 / 23) / 70, and by articles, 0.1^2 / 25, which it does not see.
    people, articles = (CROSSED.participant**2 + 0.23 / 23) / PEOPLE, CROSSED.text**2 / ARTICLES
    expected = math.erf(1.96 * math.sqrt(people / (people + articles)) / math.sqrt(2))
    assert expected < 0.75
    assert repeated(CROSSED).covered == pytest.approx(expected, abs=tolerance(expected))


def test_the_clustered_interval_covers_where_articles_vary() -> None:
    # Its variance is right for many clusters; with 25 it may be a little short.
    assert 0.92 - tolerance(0.92) <= repeated(CROSSED).covered_clustered <= 0.95 + tolerance(0.95)


def test_the_clustered_interval_loses_little_where_articles_do_not_vary() -> None:
    assert 0.95 - tolerance(0.95) <= repeated(ALONE).covered_clustered <= 0.99


def test_the_t_test_has_its_size_where_articles_do_not_differ_between_conditions() -> None:
    assert repeated(ALONE).rejected == pytest.approx(0.05, abs=tolerance(0.05))
    assert repeated(SHARED).rejected == pytest.approx(0.05, abs=tolerance(0.05))


def test_the_t_test_finds_differences_that_are_not_there_where_articles_differ_between_conditions() -> None:
    assert repeated(CROSSED).rejected > 0.15


@pytest.mark.parametrize("effects", [ALONE, SHARED, CROSSED], ids=("alone", "shared", "crossed"))
def test_the_clustered_test_keeps_its_size(effects: Effects) -> None:
    assert 0.01 <= repeated(effects).rejected_clustered <= 0.05 + tolerance(0.05)


def test_the_t_test_has_the_power_of_its_formula() -> None:
    # An accuracy varies by the participant and by 23 answers, p (1 - p) each, less what the participant's effect is.
    def variance(rate: float) -> float:
        return ALONE.participant**2 + (rate * (1 - rate) - ALONE.participant**2) / (ARTICLES * (1 - NEUTRAL))

    deviation = math.sqrt((variance(BASE) + variance(BASE + 0.05)) / 2)
    expected = power.simple_power(0.05, deviation=deviation, participants=PEOPLE)
    assert repeated(ALONE, difference=0.05).rejected == pytest.approx(expected, abs=tolerance(expected))


def test_the_clustered_test_has_the_power_of_its_formula() -> None:
    rate = BASE + 0.04
    variances = Variances(
        participant=CROSSED.participant**2,
        text=2 * CROSSED.text**2,
        residual=rate * (1 - rate) - CROSSED.participant**2 - CROSSED.text**2,
    )
    decided = ARTICLES * (1 - NEUTRAL)
    expected = power.crossed_power(0.08, variances, participants=PEOPLE, articles=ARTICLES, decided=decided)
    assert 0.6 < expected < 0.9
    found = repeated(CROSSED, difference=0.08).rejected_clustered
    assert found == pytest.approx(expected, abs=tolerance(expected) + 0.03)  # its degrees of freedom are others


def test_components_are_right_on_average() -> None:
    draws = draw(
        (BASE,),
        replace(CROSSED, participant=0.08),
        participants=PEOPLE,
        articles=ARTICLES,
        repetitions=REPETITIONS,
        generator=np.random.default_rng(2),
    )
    found = [
        components.components(crossed(right[0], neutral[0]))
        for right, neutral in zip(draws.is_right, draws.is_neutral, strict=True)
    ]
    rows = np.array([(each.participant, each.article, each.residual) for each in found if isinstance(each, Components)])
    error = rows.std(axis=0) / math.sqrt(REPETITIONS)
    truth = np.array([0.08**2, 0.1**2, BASE * (1 - BASE) - 0.08**2 - 0.1**2])
    assert (np.abs(rows.mean(axis=0) - truth) < 4 * error).all()


def study() -> Study:
    made = studies.study(20)
    ids = [article.id for article in made.articles]
    conditions = [studies.condition(name, ids, is_control=name == "control") for name in ACCURACIES]
    return replace(made, conditions=tuple(conditions), exclusions=Exclusions(least_seconds=10.0))


ACCURACIES: Mapping[str, float] = {"control": 0.85, "model": 0.6}
EVERYDAY = Effects(0.04, 0.02, 0.02, neutral=0.1, inattentive=0.15, unfinished=0.1)


def test_an_analysis_finds_what_was_put_in() -> None:
    people = simulate(study(), ACCURACIES, EVERYDAY, participants=300, seed=4)
    found = analyse(study(), people)
    for group in found.groups:
        assert group.robust is not None
        assert group.dont_know is not None
        assert abs(group.robust.estimate.value - ACCURACIES[group.name]) < 4 * group.robust.error
        assert group.dont_know.value == pytest.approx(0.1, abs=0.02)
        assert group.excluded["not finished"] / 300 == pytest.approx(0.1, abs=0.07)
        # Of the others 15 % fail the check; all of them hurry too, but that is not asked any more.
        assert group.excluded["attention check"] / 300 == pytest.approx(0.9 * 0.15, abs=0.08)
        assert group.excluded["too fast"] == 0


def test_simulated_participants_are_those_of_the_study() -> None:
    people = simulate(study(), ACCURACIES, EVERYDAY, participants=20, seed=4)
    check(study(), people)
    assert len({each.id for each in people}) == len(people) == 40
    assert sum(each.quiz == "A" for each in people) == 20
    assert all([answer.position for answer in each.answers] == list(range(len(each.answers))) for each in people)


def test_the_same_seed_gives_the_same_participants() -> None:
    one, same, other = (simulate(study(), ACCURACIES, EVERYDAY, participants=5, seed=seed) for seed in (1, 1, 2))
    assert one == same != other


def test_effects_that_do_not_fit_beside_an_accuracy_are_refused() -> None:
    with pytest.raises(ValueError, match=r"reach 0\.173"):
        simulate(study(), {"control": 0.9}, Effects(participant=0.1), participants=2, seed=1)

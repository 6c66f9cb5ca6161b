"""Accuracy where participants and articles both vary, against statsmodels; components of variance."""

import math

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from numpy.typing import NDArray

from evalkit.articles.analysis import accuracy, clustered, components
from evalkit.articles.analysis.clustered import Crossed
from evalkit.articles.analysis.simulation import Draws, Effects, draw
from evalkit.articles.records import Answer, Participant


def drawn(effects: Effects, *, seed: int, participants: int = 40, articles: int = 15) -> tuple[Crossed, Crossed]:
    """Draw the answers of two conditions, 75 % and 60 % right."""
    found = draw(
        (0.75, 0.6),
        effects,
        participants=participants,
        articles=articles,
        repetitions=1,
        generator=np.random.default_rng(seed),
    )
    return crossed(found, 0, 0), crossed(found, 0, 1)


def crossed(found: Draws, repetition: int, condition: int) -> Crossed:
    who, what = np.nonzero(~found.is_neutral[repetition, condition])
    return Crossed(found.is_right[repetition, condition][who, what].astype(float), who, what)


def accuracies(answers: Crossed) -> list[float]:
    return [float(answers.right[answers.participant == each].mean()) for each in range(answers.participant.max() + 1)]


def weights(answers: Crossed) -> NDArray[np.float64]:
    return np.asarray(1 / np.bincount(answers.participant)[answers.participant])


SPREAD = Effects(participant=0.07, article=0.0, text=0.07, neutral=0.1)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_error_of_the_mean_is_that_of_statsmodels(seed: int) -> None:
    answers, _ = drawn(SPREAD, seed=seed, articles=40)
    model = sm.WLS(answers.right, np.ones(len(answers.right)), weights=weights(answers))
    groups = np.stack([answers.participant, answers.article], axis=1)
    expected = model.fit(cov_type="cluster", cov_kwds={"groups": groups})  # statsmodels 0.15
    found = clustered.mean(answers)
    assert found is not None
    assert (found.estimate.value, found.error) == pytest.approx((expected.params[0], expected.bse[0]))


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_error_of_the_difference_is_that_of_statsmodels(seed: int) -> None:
    control, model = drawn(SPREAD, seed=seed, articles=40)
    is_control = np.repeat([1.0, 0.0], [len(control.right), len(model.right)])
    # Participants weigh the same within a condition; the scale of a condition's weights does not matter.
    regression = sm.WLS(
        np.concatenate([control.right, model.right]),
        sm.add_constant(is_control),
        weights=np.concatenate([weights(control), weights(model)]),
    )
    people = np.concatenate([control.participant, model.participant + 1000])
    groups = np.stack([people, np.concatenate([control.article, model.article])], axis=1)
    expected = regression.fit(cov_type="cluster", cov_kwds={"groups": groups})
    n = len(is_control)
    found = clustered.compare(control, model)
    assert found is not None
    assert found.test.difference.value == pytest.approx(expected.params[1])
    # statsmodels corrects for two coefficients, (n - 1) / (n - 2), which a difference of means does not.
    assert found.robust.error * math.sqrt((n - 1) / (n - 2)) == pytest.approx(expected.bse[1])


def test_the_value_is_the_plain_mean_over_participants() -> None:
    answers, _ = drawn(SPREAD, seed=4)
    found, simple = clustered.mean(answers), accuracy.mean(accuracies(answers))
    assert found is not None
    assert simple is not None
    assert (found.estimate.value, found.estimate.n) == pytest.approx((simple.value, simple.n))


def test_the_design_effect_is_over_the_variance_of_the_simple_interval() -> None:
    answers, _ = drawn(SPREAD, seed=4)
    found = clustered.mean(answers)
    assert found is not None
    simple = accuracy.variance(accuracies(answers)) / found.estimate.n
    assert found.design_effect == pytest.approx(found.error**2 / simple)
    assert found.design_effect > 1


def test_degrees_of_freedom_are_those_of_the_fewer_clusters() -> None:
    few_articles, _ = drawn(SPREAD, seed=4)
    few_people, _ = drawn(SPREAD, seed=4, participants=6)
    assert [found.freedom for each in (few_articles, few_people) if (found := clustered.mean(each))] == [14, 5]


def test_articles_that_vary_less_than_chance_never_make_the_mean_surer() -> None:
    # Each participant is right about all articles or none: articles have equal accuracies.
    right = np.repeat([1.0, 0.0, 1.0, 0.0], 5)
    answers = Crossed(right, np.repeat(np.arange(4), 5), np.tile(np.arange(5), 4))
    found = clustered.mean(answers)
    assert found is not None
    assert found.error**2 == pytest.approx(accuracy.variance([1.0, 0.0, 1.0, 0.0]) / 4)
    assert found.design_effect == pytest.approx(1)


def test_what_is_hard_in_both_conditions_cancels() -> None:
    same = clustered.compare(*drawn(Effects(article=0.12), seed=7, participants=200))
    apart = clustered.compare(*drawn(Effects(text=0.12), seed=7, participants=200))
    assert same is not None
    assert apart is not None
    assert same.robust.error < 0.6 * apart.robust.error


@pytest.mark.parametrize(("people", "articles"), [(1, 5), (5, 1), (0, 0)])
def test_one_participant_or_article_has_no_interval(people: int, articles: int) -> None:
    answers = Crossed(
        np.ones(people * articles), np.repeat(np.arange(people), articles), np.tile(np.arange(articles), people)
    )
    assert clustered.mean(answers) is None
    assert clustered.compare(answers, answers) is None


def test_answers_that_name_no_writer_are_left_out() -> None:
    def one(name: str, *choices: int) -> Participant:
        answers = tuple(Answer(f"n{at}", at, "human", choice, 1.0) for at, choice in enumerate(choices))
        return Participant(name, "nano", "A", True, True, answers)

    found = clustered.crossed([one("a", 1, 3, 5), one("b", 3, 3, 3), one("c", 3, 2, 3)], ("n0", "n1", "n2"))
    assert found.right.tolist() == [1, 0, 1]
    assert found.participant.tolist() == [0, 0, 1]
    assert found.article.tolist() == [0, 2, 1]


def complete() -> Crossed:
    """Draw numbers, which show components more clearly than answers, of 20 participants on 12 articles."""
    generator = np.random.default_rng(9)
    numbers = generator.normal(0, 1, (20, 1)) + generator.normal(0, 0.7, (1, 12)) + generator.normal(0, 1, (20, 12))
    return Crossed(numbers.ravel(), np.repeat(np.arange(20), 12), np.tile(np.arange(12), 20))


def test_components_of_complete_answers_are_those_of_the_analysis_of_variance() -> None:
    answers = complete()
    table = answers.right.reshape(20, 12)
    people, articles = table.mean(axis=1), table.mean(axis=0)
    between = 12 * people.var(ddof=1), 20 * articles.var(ddof=1)
    rest = table - people[:, None] - articles + table.mean()
    residual = (rest**2).sum() / (19 * 11)
    found = components.components(answers)
    assert found is not None
    assert (found.participant, found.article, found.residual) == pytest.approx(
        ((between[0] - residual) / 12, (between[1] - residual) / 20, residual)
    )


def test_components_of_complete_answers_are_those_of_restricted_maximum_likelihood() -> None:
    answers = complete()
    data = pd.DataFrame({"right": answers.right, "who": answers.participant, "what": answers.article, "all": 1})
    model = sm.MixedLM.from_formula(
        "right ~ 1", data, groups="all", re_formula="0", vc_formula={"who": "0 + C(who)", "what": "0 + C(what)"}
    )
    expected = model.fit(reml=True)  # statsmodels 0.15; equal to the moments where data are complete
    found = components.components(answers)
    assert found is not None
    what, who = expected.vcomp  # by name
    assert (found.participant, found.article, found.residual) == pytest.approx((who, what, expected.scale), rel=0.01)


def test_components_that_do_not_show_are_0() -> None:
    right = np.repeat([1.0, 0.0], 4)
    found = components.components(Crossed(right, np.repeat(np.arange(2), 4), np.tile(np.arange(4), 2)))
    assert found is not None
    assert (found.participant, found.article, found.residual) == pytest.approx((0.5, 0, 0))


def test_components_need_several_participants_and_articles() -> None:
    one = Crossed(np.ones(5), np.zeros(5, dtype=np.intp), np.arange(5))
    assert components.components(one) is None
    apart = Crossed(np.ones(5), np.arange(5), np.arange(5))  # each participant answered another article
    assert components.components(apart) is None


def test_the_variance_of_differences_leaves_chance_out() -> None:
    control, model = drawn(Effects(text=0.06), seed=3, participants=30, articles=10)
    means = [side.right.reshape(30, 10).mean(axis=0) for side in (control, model)]
    found = components.of_difference(control, model, control_residual=0.18, model_residual=0.21)
    assert found == pytest.approx(max(0.0, np.var(means[0] - means[1], ddof=1) - 0.39 / 30))
    assert components.of_difference(control, model, control_residual=9.0, model_residual=9.0) == 0

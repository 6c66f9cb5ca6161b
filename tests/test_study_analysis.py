"""From participants' answers to figures and tables: who is left out, accuracy, texts, agreement, the power law."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
import pytest
from scipy import optimize
from scipy import stats as scipy_stats
from statsmodels.stats.weightstats import CompareMeans, DescrStatsW

from evalkit.articles.analysis import accuracy, exclusions, fit, texts
from evalkit.articles.analysis.agreement import alpha
from evalkit.articles.analysis.analyse import Analysis, analyse
from evalkit.articles.analysis.simulation import Effects, simulate
from evalkit.articles.analysis.tables import participants as participants_table
from evalkit.articles.analysis.tables import tables
from evalkit.articles.analysis.tables import texts as texts_table
from evalkit.articles.records import Answer, Exclusions, Participant, Quiz, Study
from evalkit.errors import DataError
from evalkit.report import csv, latex, markdown
from tests import studies

ZANZIBAR = "zanzibar"
RIGHT_IN_A = (1, 5, 2, 4)  # quiz A of a small study shows texts by human, model, human, model
USUAL = Effects(participant=0.05, neutral=0.1)
SIZES = {"control": 10**7, "small": 10**8, "middle": 10**9, "large": 10**10}


def person(study: Study, choices: Sequence[int], **changes: object) -> Participant:
    """Answer a quiz with these choices, in the study's order of articles."""
    quiz: Quiz = changes.pop("quiz", "A")  # type: ignore[assignment]
    seconds = changes.pop("seconds", 60.0)
    answers = tuple(
        Answer(article.id, place, study.writer(article.id, quiz), choice, float(seconds))  # type: ignore[arg-type]
        for place, (article, choice) in enumerate(zip(study.articles, choices, strict=False))
    )
    fields: dict[str, object] = {
        "id": "p1",
        "condition": ZANZIBAR,
        "quiz": quiz,
        "has_finished": True,
        "has_attended": True,
        "answers": answers,
    }
    return Participant(**(fields | changes))  # type: ignore[arg-type]


def sized(articles: int = 8) -> Study:
    """Make a study with a control and models of three sizes."""
    made = studies.study(articles)
    ids = [article.id for article in made.articles]
    conditions = tuple(
        studies.condition(name, ids, parameters=size, is_control=name == "control") for name, size in SIZES.items()
    )
    return replace(made, conditions=conditions)


def simulated(participants: int = 12, effects: Effects = USUAL) -> Analysis:
    study = sized()
    accuracies = dict(zip(SIZES, (0.85, 0.8, 0.7, 0.6), strict=True))
    return analyse(study, simulate(study, accuracies, effects, participants=participants, seed=3))


def of(study: Study, participant: Participant) -> accuracy.Tally:
    (judged,) = exclusions.judge(study.exclusions, [participant], articles=len(study.articles))
    return accuracy.tally(judged)


def test_accuracy_is_the_share_of_right_answers_that_are_not_neutral() -> None:
    study = studies.study()
    found = of(study, person(study, (2, 4, 5, 3)))  # right, right, wrong, neutral
    assert (found.answered, found.neutral, found.correct, found.accuracy) == (4, 1, 2, 2 / 3)


def test_the_other_quiz_turns_the_answers_round() -> None:
    study = studies.study()
    assert of(study, person(study, RIGHT_IN_A)).accuracy == 1
    assert of(study, person(study, RIGHT_IN_A, quiz="B")).accuracy == 0


def test_who_is_neutral_throughout_has_no_accuracy_and_is_counted() -> None:
    study = studies.study()
    people = [person(study, choices, id=str(at)) for at, choices in enumerate([(3,) * 4, RIGHT_IN_A, (1,) * 4])]
    found = analyse(study, people)
    assert (found.groups[0].undecided, found.groups[0].accuracies) == (1, (1.0, 0.5))
    assert found.groups[0].accuracy is not None
    assert found.groups[0].accuracy.n == 2


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, None),
        ({"has_finished": False}, "not finished"),
        ({"has_attended": False}, "attention check"),
        ({"has_attended": None}, "attention check"),
        ({"seconds": 4.9}, "too fast"),
        ({"seconds": 5.0}, None),
        ({"has_finished": False, "has_attended": False, "seconds": 1.0}, "not finished"),
        ({"has_attended": False, "seconds": 1.0}, "attention check"),
    ],
)
def test_the_first_rule_that_applies_is_the_reason(changes: Mapping[str, object], reason: str | None) -> None:
    study = replace(studies.study(), exclusions=Exclusions(least_seconds=5.0))
    assert of(study, person(study, RIGHT_IN_A, **changes)).reason == reason


def test_who_left_an_article_out_has_not_finished() -> None:
    study = studies.study()
    assert of(study, person(study, RIGHT_IN_A[:3])).reason == "not finished"


def test_a_rule_that_was_not_declared_leaves_nobody_out() -> None:
    study = replace(studies.study(), exclusions=Exclusions(must_finish=False, must_attend=False))
    assert of(study, person(study, (), has_finished=False, has_attended=False)).reason is None


def test_the_time_is_the_median_of_articles() -> None:
    study = replace(studies.study(), exclusions=Exclusions(least_seconds=10.0))
    quick = person(study, RIGHT_IN_A)
    times = (1.0, 1.0, 18.0, 500.0)  # median 9.5, mean 130
    answers = tuple(replace(each, seconds=at) for each, at in zip(quick.answers, times, strict=True))
    assert of(study, replace(quick, answers=answers)).reason == "too fast"


def test_everybody_is_left_or_excluded_once() -> None:
    found = simulated(40, Effects(inattentive=0.3, unfinished=0.3))
    group = found.groups[1]
    assert group.recruited == 40
    assert group.left == sum(each.reason is None for each in found.tallies if each.condition == group.name)
    assert all(group.excluded[reason] > 0 for reason in ("not finished", "attention check"))


def test_the_mean_has_the_t_interval() -> None:
    values = [0.5, 0.75, 0.6, 0.8, 0.44]
    low, high = scipy_stats.t.interval(0.95, 4, loc=np.mean(values), scale=scipy_stats.sem(values))  # scipy 1.17
    found = accuracy.mean(values)
    assert found is not None
    assert (found.value, found.low, found.high, found.n) == pytest.approx((0.618, low, high, 5))


@pytest.mark.parametrize(("pooled", "name"), [(True, "pooled"), (False, "unequal")])
def test_the_test_against_the_control_is_the_two_sample_t_test(pooled: bool, name: str) -> None:
    control, model = [0.9, 0.8, 0.85, 0.95, 0.7], [0.6, 0.5, 0.75, 0.4]
    expected = CompareMeans(DescrStatsW(control), DescrStatsW(model))  # statsmodels 0.15
    t, p, freedom = expected.ttest_ind(usevar=name)
    low, high = expected.tconfint_diff(usevar=name)
    found = accuracy.compare(control, model, pooled=pooled)
    assert found is not None
    assert (found.t, found.p, found.freedom) == pytest.approx((t, p, freedom))
    assert (found.difference.low, found.difference.high, found.difference.n) == pytest.approx((low, high, 9))
    assert found.t > 0  # the control is told more often


def test_nothing_is_tested_where_nobody_differs() -> None:
    assert accuracy.compare([0.5] * 3, [0.7] * 3, pooled=True) is None
    assert accuracy.compare([0.5], [0.7, 0.8], pooled=True) is None


def test_the_order_of_participants_changes_nothing() -> None:
    study = sized()
    people = simulate(study, {"control": 0.8, "small": 0.7}, Effects(neutral=0.1), participants=6, seed=1)
    ahead, back = (analyse(study, each) for each in (people, people[::-1]))
    for one, other in zip(ahead.groups, back.groups, strict=True):
        assert (one.dont_know, one.agreement, one.choices, one.excluded) == (
            (other.dont_know, other.agreement, other.choices, other.excluded)
        )
        assert sorted(one.accuracies) == sorted(other.accuracies)
    assert (ahead.law, ahead.texts) == (back.law, back.texts)


def test_words_are_means_over_articles() -> None:
    study = studies.study()
    group = analyse(study, []).groups[0]
    assert group.words_human == len(study.articles[0].text.split())
    assert group.words_model == len(study.conditions[0].written["n00"].text.split())


def test_a_power_law_is_found_again() -> None:
    sizes = (10**8, 10**9, 10**10, 10**11)
    found = fit.fit([(size, [2.5 * size**-0.06] * 5) for size in sizes])
    assert found is not None
    assert (found.factor, found.exponent.value) == pytest.approx((2.5, 0.06))
    assert found.at(10**9) == pytest.approx(2.5 * 10**-0.54)


def test_the_power_law_is_that_of_scipy() -> None:
    sizes, means = np.array([1.25e8, 3.56e8, 7.6e8, 1.3e9, 1.746e11]), np.array([0.76, 0.61, 0.68, 0.62, 0.52])
    (factor, exponent), _ = optimize.curve_fit(lambda x, a, b: a * x**-b, sizes, means, p0=(2, 0.05))  # scipy 1.17
    factors, exponents, is_inside = fit.least_squares(sizes, means[None])
    assert is_inside[0]
    assert (factors[0], exponents[0]) == pytest.approx((factor, exponent), rel=1e-4)


def test_the_exponents_interval_has_the_width_of_its_error() -> None:
    # Independent normal accuracies: by the delta method, from the curve's derivative by its two parameters.
    generator = np.random.default_rng(4)
    sizes = np.array([1e8, 1e9, 1e10, 1e11])
    groups = [(int(size), list(2.5 * size**-0.06 + generator.normal(0, 0.1, 200))) for size in sizes]
    found = fit.fit(groups)
    assert found is not None
    slopes = np.stack([sizes**-0.06, -2.5 * sizes**-0.06 * np.log(sizes)], axis=1)
    error = math.sqrt(np.linalg.inv(slopes.T @ slopes)[1, 1] * 0.1**2 / 200)
    assert (found.exponent.high - found.exponent.low) / (2 * 1.96 * error) == pytest.approx(1, abs=0.1)
    assert found.exponent.n == 800


def test_the_control_is_not_part_of_the_power_law() -> None:
    found = simulated()
    assert found.law is not None
    assert found.law.sizes == (10**8, 10**9, 10**10)
    assert found.law.exponent.n == sum(len(group.accuracies) for group in found.groups[1:])


def test_a_power_law_takes_three_sizes() -> None:
    assert fit.fit([(10**8, [0.7, 0.8]), (10**9, [0.6]), (10**9, [0.5])]) is None
    assert fit.fit([(10**8, [0.7]), (10**9, [0.6]), (10**10, [])]) is None
    assert fit.fit([(10**size, [0.0]) for size in (8, 9, 10)]) is None


KRIPPENDORFF = (  # 2011, Computing Krippendorff's Alpha-Reliability, sections C and D: 4 observers, 12 units
    (0, 1, 2, 2, 1, 0, 3, 0, 1, None, None, None),
    (0, 1, 2, 2, 1, 1, 3, 0, 1, 4, None, 2),
    (None, 2, 2, 2, 1, 2, 3, 1, 1, 4, 0, None),
    (0, 1, 2, 2, 1, 3, 3, 0, 1, 4, 0, None),
)


@pytest.mark.parametrize(("scale", "expected"), [("nominal", 0.743), ("ordinal", 0.815)])
def test_alpha_is_that_of_krippendorffs_example(scale: Literal["nominal", "ordinal"], expected: float) -> None:
    units = [[given for given in unit if given is not None] for unit in zip(*KRIPPENDORFF, strict=True)]
    found = alpha(units, categories=5, scale=scale)
    assert found is not None
    assert round(found.value, 3) == expected
    assert found.n == 11  # one unit has a single value
    assert found.low < found.value < found.high


def test_alpha_of_answers_that_are_all_alike_within_texts_is_1() -> None:
    found = alpha([[0, 0, 0], [4, 4], [2, 2]], categories=5, scale="ordinal")
    assert found is not None
    assert found.value == 1


def test_alpha_needs_two_kinds_of_answer() -> None:
    assert alpha([[1, 1], [1, 1, 1], [0]], categories=2, scale="nominal") is None
    assert alpha([], categories=2, scale="nominal") is None


def test_texts_are_scored_by_those_who_saw_them() -> None:
    study = studies.study()
    people = [
        person(study, (1, 5, 2, 3), id="a"),
        person(study, (5, 1, 2, 4), id="b"),
        person(study, (1, 2, 5, 3), id="c", quiz="B"),
        person(study, (1, 1, 1, 1), id="d", condition="timbuktu"),
    ]
    found = {(each.condition, each.article): each for each in texts.scores(study, people)}
    human = found[None, "n00"]  # a right, b wrong, d right; c saw the model's
    assert (human.accuracy.value, human.accuracy.n, human.neutral) == (2 / 3, 3, 0)
    model = found[ZANZIBAR, "n03"]  # a neutral, b right; c saw the human one
    assert (model.accuracy.value, model.accuracy.n, model.neutral) == (1, 1, 1)
    assert ("timbuktu", "n00") not in found


def test_answers_are_counted_by_writer() -> None:
    study = studies.study()
    human, model = texts.choices(ZANZIBAR, [person(study, RIGHT_IN_A), person(study, (1, 3, 1, 4))])
    assert (human.counts, model.counts) == ((3, 1, 0, 0, 0), (0, 0, 1, 2, 1))


def test_confidence_parts_very_likely_from_more_likely() -> None:
    study = studies.study()
    found = texts.confidence(ZANZIBAR, [person(study, (1, 1, 2, 3)), person(study, (5, 5, 4, 4), id="p2")])
    assert found.very_likely is not None
    assert found.more_likely is not None
    assert (found.very_likely.value, found.very_likely.n) == (0.5, 4)
    assert (found.more_likely.value, found.more_likely.n) == (2 / 3, 3)


def poor(kind: str) -> tuple[Study, tuple[Participant, ...]]:
    """Make a study and participants of whom little can be said."""
    study = sized()
    many = simulate(study, {"control": 0.8, "small": 0.7}, Effects(), participants=4, seed=2)
    single = replace(study, articles=study.articles[:1])
    alike = replace(many[0], condition="small"), replace(many[0], id="other", condition="small")
    return {
        "nobody": (study, ()),
        "all excluded": (study, tuple(replace(each, has_attended=False) for each in many)),
        "no attention check": (study, tuple(replace(each, has_attended=None) for each in many)),
        "no control": (replace(study, conditions=study.conditions[1:]), many[4:]),
        "one participant": (study, many[:1]),
        "no parameters": (
            replace(study, conditions=tuple(replace(each, parameters=None) for each in study.conditions)),
            many,
        ),
        "all alike": (study, alike),
        "neutral alone": (study, (person(study, (3,) * 8, condition="small"),)),
        "one article": (single, simulate(single, {"control": 0.8, "small": 0.7}, Effects(), participants=9, seed=2)),
    }[kind]


NOTES = {
    "nobody": "No participants",
    "all excluded": "small: nobody is left of 4 participants",
    "no attention check": "No participant came to an attention check",
    "no control": "no control",
    "one participant": "control: one participant is left",
    "no parameters": "Parameters are not known of small, middle, large",
    "all alike": "the same accuracy",
    "neutral alone": "small: nobody answered anything but",
    "one article": "A power law needs",
}


@pytest.mark.parametrize("kind", NOTES)
def test_what_cannot_be_said_is_left_out_with_a_note(kind: str) -> None:
    found = analyse(*poor(kind))
    assert any(NOTES[kind] in note for note in found.notes)
    for table in (*tables(found), participants_table(found), texts_table(found)):
        for render in (markdown.render, csv.render, latex.render):
            assert not {"nan", "None", "inf"} & set(render(table).replace(",", " ").replace("|", " ").split())


def test_two_sizes_are_said_to_be_too_few() -> None:
    study = sized()
    people = simulate(study, {"small": 0.8, "large": 0.7}, Effects(), participants=4, seed=2)
    found = analyse(study, people)
    assert found.law is None
    assert "A power law needs accuracies of 3 model sizes; found 2." in found.notes


def answered(change: str) -> tuple[Study, tuple[Participant, ...]]:
    """Make participants that the study cannot have."""
    study = studies.study()
    one = person(study, RIGHT_IN_A)
    first = one.answers[0]
    return {
        "article": (study, (replace(one, answers=(replace(first, article="n99"),)),)),
        "condition": (study, (replace(one, condition="zanzibat"),)),
        "writer": (study, (replace(one, answers=(replace(first, writer="model"),)),)),
        "choice": (study, (replace(one, answers=(replace(first, choice=6),)),)),
        "seconds": (study, (replace(one, answers=(replace(first, seconds=math.nan),)),)),
        "two answers": (study, (replace(one, answers=(first, first)),)),
        "twice": (study, (one, one)),
        "controls": (
            replace(study, conditions=tuple(replace(each, is_control=True) for each in study.conditions)),
            (one,),
        ),
    }[change]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("article", "participant 'p1', article 'n99': found no such article, expected one of the study's 4"),
        ("condition", "did you mean 'zanzibar'"),
        ("writer", "found writer 'model', expected 'human'"),
        ("choice", "found choice 6, expected 1 to 5"),
        ("seconds", "found nan seconds"),
        ("two answers", "found two answers"),
        ("twice", "participant 'p1': found twice"),
        ("controls", "found 2 controls"),
    ],
)
def test_answers_that_the_study_cannot_have_are_refused(change: str, message: str) -> None:
    with pytest.raises(DataError) as raised:
        analyse(*answered(change))
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)

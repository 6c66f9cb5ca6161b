from collections import Counter

import pytest

from evalkit.articles import quizzes
from evalkit.articles.records import CHOICES, NEUTRAL
from evalkit.errors import UsageError
from tests.studies import HUMAN, WRITTEN, article, study


@pytest.mark.parametrize("number", [2, 3, 24, 25])
def test_half_of_the_articles_are_by_people_in_either_quiz(number: int) -> None:
    human = quizzes.assign([article(f"n{place}") for place in range(number)], 0)
    assert len(human) in {number // 2, (number + 1) // 2}


def test_an_odd_number_gives_either_quiz_the_larger_half() -> None:
    articles = [article(f"n{place}") for place in range(25)]
    assert {len(quizzes.assign(articles, seed)) for seed in range(20)} == {12, 13}


def test_every_article_is_as_likely_as_any_other_to_be_by_people() -> None:
    articles = [article(f"n{place}") for place in range(4)]
    counts = Counter(name for seed in range(400) for name in quizzes.assign(articles, seed))
    assert all(150 < count < 250 for count in counts.values())  # 200 each; the standard deviation is 10


def test_the_seed_alone_decides_the_quizzes() -> None:
    articles = [article(f"n{place}") for place in range(25)]
    assert quizzes.assign(articles, 3) == quizzes.assign(articles, 3) != quizzes.assign(articles, 4)


def test_one_article_makes_no_quiz() -> None:
    with pytest.raises(UsageError, match="found 1 articles, expected at least 2"):
        quizzes.assign([article("n0")], 0)


def test_a_participant_sees_every_article_once() -> None:
    small = study(25)
    assert sorted(quizzes.order(small, "anna")) == [each.id for each in small.articles]


def test_participants_have_orders_of_their_own() -> None:
    small = study(25)
    assert quizzes.order(small, "anna") == quizzes.order(small, "anna") != quizzes.order(small, "bert")


def test_what_one_quiz_shows_by_people_the_other_shows_by_the_model() -> None:
    small = study(4)
    for each in small.articles:
        texts = [quizzes.shown(small, "zanzibar", quiz=quiz, article=each.id) for quiz in ("A", "B")]
        assert sorted(text.startswith(HUMAN) for text in texts) == [False, True]
        assert sorted(text.startswith(WRITTEN) for text in texts) == [False, True]


def test_a_quiz_shows_the_texts_of_its_condition() -> None:
    small = study(4)
    text = quizzes.shown(small, "timbuktu", quiz="B", article="n00")
    assert text == small.conditions[1].written["n00"].text


@pytest.mark.parametrize(("condition", "name"), [("zanzibat", "n00"), ("zanzibar", "m00")])
def test_what_a_study_has_not_is_named(condition: str, name: str) -> None:
    with pytest.raises(UsageError, match="did you mean"):
        quizzes.shown(study(4), condition, quiz="A", article=name)


def test_the_attention_check_asks_for_every_choice_but_the_neutral_one() -> None:
    asked = {quizzes.asked(study(4), f"p{number}", before=None) for number in range(100)}
    assert asked == {*range(1, len(CHOICES) + 1)} - {NEUTRAL}


@pytest.mark.parametrize("before", range(1, len(CHOICES) + 1))
def test_the_attention_check_never_asks_for_the_choice_before(before: int) -> None:
    asked = Counter(quizzes.asked(study(4), f"p{number}", before=before) for number in range(600))
    allowed = {*range(1, len(CHOICES) + 1)} - {NEUTRAL, before}
    assert asked.keys() == allowed
    assert min(asked.values()) > 0.7 * 600 / len(allowed)  # 4 standard deviations below their share

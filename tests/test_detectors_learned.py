"""Detectors that learn: what they may see, what they find, and that equal seeds learn alike."""

import random

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from evalkit.articles.detectors.learned import PARTS, likelihood_features, probabilities
from evalkit.articles.detectors.scores import DETECTORS
from evalkit.records import TokenScores
from evalkit.text import digest

COUNT = 30
WORDS = ["river", "mayor", "bridge", "storm", "harbour", "council", "market", "winter", "train", "school", "garden"]

Features = list[list[float | None]]


def texts(*, habit: str = "", seed: int = 0) -> tuple[list[str], list[str]]:
    """Draw two texts an article of the same words, the model's with a habit; each article has a word of its own."""
    draws = random.Random(seed)

    def text(article: int) -> str:
        return " ".join([f"place{article}", *draws.choices(WORDS, k=30)])

    return [text(at) for at in range(COUNT)], [f"{text(at)} {habit}".strip() for at in range(COUNT)]


def features(*, shift: float = 0.0, seed: int = 0) -> tuple[Features, Features]:
    generator = np.random.default_rng(seed)
    human, model = generator.normal(size=(2, COUNT, 2)) + np.array([0.0, shift])[:, None, None]
    return human.tolist(), model.tolist()


def tell(
    both: tuple[list[str], list[str]], known: tuple[Features, Features], *, parts: tuple[str, ...], seed: int = 0
) -> tuple[list[float], list[float]]:
    """Tell what one detector that learns from these parts does."""
    return probabilities(*both, known, detectors={"it": parts}, seed=seed)["it"]


def area(told: tuple[list[float], list[float]]) -> float:
    human, model = told
    assert all(0 <= value <= 1 for value in (*human, *model))
    return float(roc_auc_score([0] * len(human) + [1] * len(model), human + model))


@pytest.mark.parametrize(
    ("name", "habit", "shift"),
    [
        ("learned, TF-IDF", "moreover", 0.0),
        ("learned, likelihood", "", 3.0),
        ("learned, TF-IDF and likelihood", "moreover", 0.0),
        ("learned, TF-IDF and likelihood", "", 3.0),
    ],
)
def test_a_difference_is_learned_from_the_parts_that_show_it(name: str, habit: str, shift: float) -> None:
    assert area(tell(texts(habit=habit), features(shift=shift), parts=PARTS[name])) > 0.9


@pytest.mark.parametrize(
    ("name", "habit", "shift"), [("learned, TF-IDF", "", 3.0), ("learned, likelihood", "moreover", 0.0)]
)
def test_what_a_part_does_not_show_is_not_learned(name: str, habit: str, shift: float) -> None:
    assert 0.3 < area(tell(texts(habit=habit), features(shift=shift), parts=PARTS[name])) < 0.7


def test_an_article_is_never_learned_from_before_it_is_told() -> None:
    # A mark that one text alone has tells nothing of others, and all to whoever has learned from it.
    human, model = texts()
    human = [f"{text} {digest(at, 'human')} " * 5 for at, text in enumerate(human)]
    model = [f"{text} {digest(at, 'model')} " * 5 for at, text in enumerate(model)]
    told = tell((human, model), features(), parts=("tf-idf",))
    assert 0.3 < area(told) < 0.7


def test_both_texts_of_an_article_are_left_out_together() -> None:
    # Who has learned from one of them knows what both are about, and that a text about it has the other writer.
    human, model = ([f"{text} {f'{digest(at)} ' * 20}" for at, text in enumerate(each)] for each in texts())
    assert 0.3 < area(tell((human, model), features(), parts=("tf-idf",))) < 0.7


@pytest.mark.parametrize("parts", PARTS.values())
def test_where_there_is_nothing_to_learn_probabilities_stay_even(parts: tuple[str, ...]) -> None:
    human, model = tell(texts(seed=1), features(seed=1), parts=parts)
    # A coin has 0.25. Calibrated on the texts that were learned from, TF-IDF has 0.38.
    assert np.mean(np.square([*human, *(1 - value for value in model)])) < 0.28


def test_equal_seeds_learn_alike() -> None:
    parts = ("likelihood",)
    first = tell(texts(), features(), parts=parts)
    assert tell(texts(), features(), parts=parts) == first
    assert tell(texts(), features(), parts=parts, seed=1) != first


def test_detectors_that_share_parts_tell_what_each_tells_alone() -> None:
    both, known = texts(habit="moreover"), features(shift=1.0)
    together = probabilities(*both, known, seed=0)
    assert together == {name: tell(both, known, parts=parts) for name, parts in PARTS.items()}


def test_texts_without_features_are_told_all_the_same() -> None:
    human, model = features(shift=3.0)
    human[0] = [None, None]
    assert area(tell(texts(), (human, model), parts=("likelihood",))) > 0.9
    nothing: Features = [[None, None] for _ in range(COUNT)]
    assert area(tell(texts(), (nothing, nothing), parts=("likelihood",))) == 0.5


def test_few_articles_are_refused() -> None:
    with pytest.raises(ValueError, match="found 9 articles, expected at least 10"):
        probabilities(["a"] * 9, ["b"] * 9, ([[1.0]] * 9, [[1.0]] * 9), seed=0)


def test_likelihood_features_are_all_scores_the_histogram_and_the_spread() -> None:
    found = TokenScores(("a", "b", "c"), (-1.0, -2.0, -4.0), (1, 2, 30), (1.0, 1.0, 1.0), (1.0, 1.0, 1.0))
    made = likelihood_features(found)
    assert made[: len(DETECTORS)] == tuple(detector(found) for detector in DETECTORS.values())
    assert made[len(DETECTORS) :] == (0.5, 0.5, 0.0, 0.0, 1.0)


def test_a_text_without_tokens_has_as_many_features_all_missing() -> None:
    found = TokenScores(("a", "b"), (-1.0, -2.0), (1, 2), (1.0, 1.0), (1.0, 1.0))
    assert likelihood_features(TokenScores((), (), (), (), ())) == (None,) * len(likelihood_features(found))

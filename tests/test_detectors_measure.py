"""What detectors' scores come to: against scikit-learn, on weighted articles, and where there is little to measure."""

import numpy as np
import pytest
from scipy.stats import bootstrap
from sklearn.metrics import brier_score_loss, roc_auc_score, roc_curve

from evalkit.articles.detectors.measure import Pairs, allowed, best_threshold, calibrate, folds, measure
from evalkit.stats import bootstrap_mean, wilson

COUNT = 250


def drawn(count: int = COUNT, *, seed: int = 0, shift: float = 1.0) -> tuple[list[float], list[float]]:
    """Draw scores of which some are equal, of articles whose two texts are alike."""
    generator = np.random.default_rng(seed)
    topic = generator.normal(size=count)
    human, model = (np.round(topic + generator.normal(size=count) + by, 1) for by in (0.0, shift))
    return human.tolist(), model.tolist()


def area(human: list[float], model: list[float]) -> float:
    return float(roc_auc_score([0] * len(human) + [1] * len(model), human + model))


def hits(human: list[float], model: list[float]) -> float:
    truth = [0] * len(human) + [1] * len(model)
    false, true, _ = roc_curve(truth, human + model, drop_intermediate=False)
    return float(true[false <= 0.01].max())


def test_the_area_and_the_hits_are_scikit_learns() -> None:
    human, model = drawn()
    found = measure(human, model, seed=0)
    assert found.auroc.value == pytest.approx(area(human, model), rel=1e-12)
    assert found.true_positives.value == pytest.approx(hits(human, model), rel=1e-12)
    assert found.auroc.low < found.auroc.value < found.auroc.high


@pytest.mark.parametrize("seed", range(5))
def test_weights_of_articles_are_copies_of_both_texts(seed: int) -> None:
    human, model = drawn(seed=seed)
    weights = np.random.default_rng(seed).multinomial(COUNT, [1 / COUNT] * COUNT)
    copies = np.repeat(human, weights).tolist(), np.repeat(model, weights).tolist()
    pairs = Pairs(human, model)
    assert pairs.auroc(weights[None].astype(float))[0] == pytest.approx(area(*copies), rel=1e-12)
    assert pairs.true_positives(weights[None].astype(float))[0] == pytest.approx(hits(*copies), rel=1e-12)


def test_pairs_are_told_apart_where_the_model_scores_higher_and_half_where_equal() -> None:
    found = measure([0.0, 1.0, 2.0, 3.0], [1.0, 1.0, 1.0, 9.0], seed=0).told_apart
    assert (found.value, found.n) == (0.625, 4)


def test_the_best_threshold_has_the_most_texts_on_their_sides() -> None:
    # 2.5 leaves 1, 2 | 3 on the right side of human and model; every other threshold fewer.
    assert best_threshold(np.array([1.0, 2.0, 9.0]), np.array([0.0, 3.0, 4.0])) == 2.5


def test_accuracy_does_not_choose_its_threshold_on_the_article_it_judges() -> None:
    # Of scores that tell nothing the best threshold of all texts is right more often than not, one of others is not.
    generator = np.random.default_rng(3)
    found = []
    for _ in range(100):
        human, model = generator.normal(size=(2, 20))
        best = best_threshold(human, model)
        found.append((np.mean([*(human <= best), *(model > best)]), np.mean(Pairs(human, model).right(seed=0))))
    seen, unseen = np.mean(found, axis=0)
    assert seen > 0.57
    assert unseen < 0.52


def test_thresholds_are_found_wherever_the_scores_lie() -> None:
    human, model = (np.array(each) for each in drawn(60, shift=4.0))
    right = Pairs(human, model).right(seed=0)
    assert np.mean(right) > 0.9
    assert Pairs(human - 1000.0, model - 1000.0).right(seed=0) == right


def test_a_given_threshold_is_taken() -> None:
    found = measure([0.1, 0.6, 0.2], [0.9, 0.4, 0.8], seed=0, threshold=0.5).accuracy
    assert (found.value, found.n) == (pytest.approx(4 / 6), 6)


def test_scores_that_separate_everything_have_an_interval_all_the_same() -> None:
    found = measure([0.0] * 25, [1.0] * 25, seed=0)
    assert found.auroc == found.true_positives == wilson(25, n=25)
    assert found.accuracy.value == 1.0


def test_scores_the_wrong_way_round_are_not_turned() -> None:
    human, model = drawn(shift=-2.0)
    found = measure(human, model, seed=0)
    assert found.auroc.high < 0.5
    assert found.told_apart.high < 0.5


@pytest.mark.parametrize(("count", "shift"), [(25, 2.5), (60, 1.0)])
def test_the_interval_of_the_area_is_that_of_scipy_with_both_texts_of_an_article_drawn_together(
    count: int, shift: float
) -> None:
    human, model = drawn(count, seed=2, shift=shift)

    def share(human: np.ndarray, model: np.ndarray) -> float:
        return float(((model[:, None] > human) + (model[:, None] == human) / 2).mean())

    generator = np.random.default_rng(1)
    expected = bootstrap(
        (human, model), share, paired=True, method="BCa", n_resamples=10_000, random_state=generator
    ).confidence_interval
    found = measure(human, model, seed=0).auroc
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=0.005)


def test_texts_of_an_article_that_are_right_together_count_once() -> None:
    # Of 25 articles both texts are right or both wrong: 50 texts tell no more than 25.
    human, model = [0.1] * 15 + [0.9] * 10, [0.9] * 15 + [0.1] * 10
    found, singles = measure(human, model, seed=0, threshold=0.5).accuracy, wilson(15, n=25)
    assert found.value == singles.value
    assert found.low <= singles.low
    assert found.high >= singles.high
    brier = calibrate(human, model, seed=0).brier
    of_articles = bootstrap_mean([0.01] * 15 + [0.81] * 10)
    assert brier.high - brier.low == pytest.approx(of_articles.high - of_articles.low, rel=0.05)


def test_equal_scores_tell_nothing() -> None:
    found = measure([1.0] * 10, [1.0] * 10, seed=0)
    assert (found.auroc.value, found.told_apart.value, found.accuracy.value) == (0.5, 0.5, 0.5)


@pytest.mark.parametrize(("texts", "expected"), [(2, 0), (99, 0), (100, 1), (199, 1), (300, 3), (700, 7)])
def test_one_percent_of_false_alarms_is_rounded_down(texts: int, expected: int) -> None:
    assert allowed(texts) == expected


@pytest.mark.parametrize("hundreds", [1, 3])
def test_of_a_hundred_human_texts_one_may_score_above_the_bound(hundreds: int) -> None:
    # The bound lies at the highest human score but one for each hundred, and half of the model's texts just above it.
    count = 100 * hundreds
    bound = count - 1.0 - hundreds
    human, model = [*np.arange(float(count))], [bound, bound + 0.5] * (count // 2)
    assert measure(human, model, seed=0).true_positives.value == 0.5


def test_of_few_texts_none_may_be_a_false_alarm() -> None:
    human, model = [*np.arange(50.0)], [48.5, 49.0, *([50.0] * 48)]
    found = measure(human, model, seed=0)
    assert (found.allowed, found.true_positives.value) == (0, pytest.approx(48 / 50))


def test_equal_seeds_give_equal_intervals() -> None:
    assert measure(*drawn(40), seed=5) == measure(*drawn(40), seed=5)
    assert measure(*drawn(40), seed=5).auroc != measure(*drawn(40), seed=6).auroc


def test_folds_are_even_and_hold_every_article_once() -> None:
    found = folds(23, number=5, seed=0)
    assert sorted(np.bincount(found)) == [4, 4, 5, 5, 5]
    assert found.tolist() != sorted(found)


def test_the_brier_score_is_scikit_learns() -> None:
    generator = np.random.default_rng(0)
    human, model = generator.random((2, 60)).tolist()
    found = calibrate(human, model, seed=0)
    assert found.brier.value == pytest.approx(brier_score_loss([0] * 60 + [1] * 60, human + model))


def test_the_calibration_error_is_the_distance_of_shares_from_probabilities() -> None:
    # Between 0.2 and 0.3 one text of four is a model's, as the probabilities say. From 0.9 on it is three of four, and
    # the probabilities add up to 3.9: 0.9 too many, over eight texts.
    found = calibrate([0.25, 0.25, 0.25, 0.95], [0.25, 0.95, 1.0, 1.0], seed=0)
    assert found.error == pytest.approx(0.1125)


def test_scores_that_do_not_pair_are_refused() -> None:
    with pytest.raises(ValueError, match="found 2 human and 1 model scores"):
        measure([1.0, 2.0], [1.0], seed=0)

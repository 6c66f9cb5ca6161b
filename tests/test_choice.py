import pytest

from evalkit.metrics.choice import Accuracy, AccuracyOfSums
from evalkit.records import Completion, Example, LogProb

METRICS = (Accuracy(), AccuracyOfSums())


def answer(total: float, tokens: int = 1) -> LogProb:
    return LogProb(total=total, tokens=tokens, bytes=4, is_greedy=False, boundary_merged=False)


def example(*targets: str) -> Example:
    return Example("e", {}, targets or (" yes",), choices=(" no", " yes", " perhaps so"))


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(("totals", "statistic"), [((-2.0, -1.0, -9.0), 1.0), ((-1.0, -2.0, -9.0), 0.0)])
def test_the_likeliest_choice_is_the_answer(
    metric: Accuracy, totals: tuple[float, float, float], statistic: float
) -> None:
    assert metric.statistics(example(), [answer(total) for total in totals]) == (statistic,)


def test_likelihoods_are_compared_per_token_or_as_a_whole() -> None:
    # Per token -2.0, -3.0 and -1.0; as a whole -2.0, -3.0 and -4.0.
    responses = [answer(-2.0), answer(-3.0), answer(-4.0, tokens=4)]
    assert Accuracy().statistics(example(" perhaps so"), responses) == (1.0,)
    assert AccuracyOfSums().statistics(example(" perhaps so"), responses) == (0.0,)
    assert AccuracyOfSums().statistics(example(" no"), responses) == (1.0,)


@pytest.mark.parametrize("metric", METRICS)
def test_any_right_choice_will_do(metric: Accuracy) -> None:
    assert metric.statistics(example(" yes", " no"), [answer(-1.0), answer(-2.0), answer(-3.0)]) == (1.0,)


@pytest.mark.parametrize("metric", METRICS)
def test_the_first_of_equals_counts(metric: Accuracy) -> None:
    responses = [answer(-9.0), answer(-1.0), answer(-1.0)]
    assert metric.statistics(example(" yes"), responses) == (1.0,)
    assert metric.statistics(example(" perhaps so"), responses) == (0.0,)


@pytest.mark.parametrize("metric", METRICS)
def test_the_score_is_a_proportion_with_wilsons_interval(metric: Accuracy) -> None:
    estimate = metric.aggregate([(1.0,)] * 7 + [(0.0,)] * 3)
    assert (estimate.value, estimate.n) == (0.7, 10)
    # Wilson 1927: (7 + z^2 / 2) / (10 + z^2) -+ z / (10 + z^2) * sqrt(7 * 3 / 10 + z^2 / 4), z = 1.959964
    assert estimate.low == pytest.approx(0.396778, abs=1e-6)
    assert estimate.high == pytest.approx(0.892209, abs=1e-6)


@pytest.mark.parametrize("metric", METRICS)
def test_other_responses_are_refused(metric: Accuracy) -> None:
    with pytest.raises(TypeError, match="found a completion"):
        metric.statistics(example(), [Completion(text=" yes", tokens=1, finish="stop")] * 3)
    with pytest.raises(ValueError, match="found 1 responses to 3 choices"):
        metric.statistics(example(), [answer(-1.0)])

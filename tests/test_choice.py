import pytest

from evalkit.interfaces import Metric
from evalkit.metrics.choice import Accuracy, PartialAccuracy
from evalkit.records import Completion, Example, LogProb

METRICS = (Accuracy(), Accuracy(by="sum"), Accuracy(by="byte"), Accuracy(by="character"))
PARTIAL = (PartialAccuracy(), PartialAccuracy(by="sum"))


def answer(total: float, tokens: int = 1) -> LogProb:
    return LogProb(total=total, tokens=tokens, bytes=4, is_greedy=False, boundary_merged=False)


def example(*targets: str) -> Example:
    return Example("e", {}, targets or (" one",), choices=(" two", " one", " six"))


@pytest.mark.parametrize("metric", [*METRICS, *PARTIAL])
@pytest.mark.parametrize(("totals", "statistic"), [((-2.0, -1.0, -9.0), 1.0), ((-1.0, -2.0, -9.0), 0.0)])
def test_the_likeliest_choice_is_the_answer(
    metric: Metric, totals: tuple[float, float, float], statistic: float
) -> None:
    assert metric.statistics(example(), [answer(total) for total in totals]) == (statistic,)


def test_likelihoods_are_compared_per_token_or_as_a_whole() -> None:
    # Per token -2.0, -3.0 and -1.0; as a whole -2.0, -3.0 and -4.0.
    responses = [answer(-2.0), answer(-3.0), answer(-4.0, tokens=4)]
    for per_token, whole in ((Accuracy(), Accuracy(by="sum")), PARTIAL):
        assert per_token.statistics(example(" six"), responses) == (1.0,)
        assert whole.statistics(example(" six"), responses) == (0.0,)
        assert whole.statistics(example(" two"), responses) == (1.0,)


def test_lengths_are_counted_in_characters_or_bytes_without_the_delimiter() -> None:
    # Characters 2 and 3, bytes of UTF-8 6 and 3: per character -3.0 and -2.5, per byte -1.0 and -2.5.
    # With the space in front it would be 3 and 4 characters: -2.0 and -1.875; 7 and 4 bytes.
    choices = Example("e", {}, (" abc",), choices=(" 京都", " abc"))
    responses = [answer(-6.0), answer(-7.5)]
    assert Accuracy(by="character").statistics(choices, responses) == (1.0,)
    assert Accuracy(by="byte").statistics(choices, responses) == (0.0,)


def test_another_delimiter_leaves_the_space_in_the_length() -> None:
    # With the space 2 and 4 characters: -1.5 and -1.75; without it 1 and 4: -3.0 and -1.75.
    choices = Example("e", {}, ("aaaa",), choices=(" a", "aaaa"))
    responses = [answer(-3.0), answer(-7.0)]
    assert Accuracy(by="character", delimiter="").statistics(choices, responses) == (0.0,)
    assert Accuracy(by="character").statistics(choices, responses) == (1.0,)


def test_a_choice_of_no_length_never_wins() -> None:
    choices = Example("e", {}, (" a",), choices=(" ", " a"))
    assert Accuracy(by="character").statistics(choices, [answer(0.0), answer(-9.0)]) == (1.0,)


def test_likelihoods_are_divided_by_those_of_the_choices_on_their_own() -> None:
    # -2 + 1 = -1, -3 + 4 = 1, -4 + 4.5 = 0.5
    responses = [answer(total) for total in (-2.0, -3.0, -4.0, -1.0, -4.0, -4.5)]
    metric = Accuracy(by="unconditional")
    assert metric.needs == ("choice", "unconditional")
    assert metric.statistics(example(" one"), responses) == (1.0,)
    assert metric.statistics(example(" two"), responses) == (0.0,)


@pytest.mark.parametrize("metric", [*METRICS, *PARTIAL])
def test_any_right_choice_will_do(metric: Metric) -> None:
    assert metric.statistics(example(" one", " two"), [answer(-1.0), answer(-2.0), answer(-3.0)]) == (1.0,)


@pytest.mark.parametrize("metric", [*METRICS, *PARTIAL])
def test_the_first_of_equals_counts(metric: Metric) -> None:
    responses = [answer(-9.0), answer(-1.0), answer(-1.0)]
    assert metric.statistics(example(" one"), responses) == (1.0,)
    assert metric.statistics(example(" six"), responses) == (0.0,)


@pytest.mark.parametrize("metric", [*METRICS, *PARTIAL])
def test_the_score_is_a_proportion_with_wilsons_interval(metric: Metric) -> None:
    estimate = metric.aggregate([(1.0,)] * 7 + [(0.0,)] * 3)
    assert metric.is_proportion
    assert (estimate.value, estimate.n) == (0.7, 10)
    # Wilson 1927: (7 + z^2 / 2) / (10 + z^2) -+ z / (10 + z^2) * sqrt(7 * 3 / 10 + z^2 / 4), z = 1.959964
    assert estimate.low == pytest.approx(0.396778, abs=1e-6)
    assert estimate.high == pytest.approx(0.892209, abs=1e-6)


def test_near_duplicates_widen_the_interval() -> None:
    statistics = [(1.0,)] * 5 + [(0.0,)] * 5
    apart = Accuracy().aggregate(statistics)
    together = Accuracy().aggregate(statistics, clusters=["a"] * 5 + ["b"] * 5)
    assert together.value == apart.value
    assert together.low < apart.low


@pytest.mark.parametrize("metric", [*METRICS, *PARTIAL])
def test_other_responses_are_refused(metric: Metric) -> None:
    with pytest.raises(TypeError, match="found a completion"):
        metric.statistics(example(), [Completion(text=" one", tokens=1, finish="stop")] * 3)
    with pytest.raises(ValueError, match="found 1 responses to 3 choices, expected 3"):
        metric.statistics(example(), [answer(-1.0)])


def test_unconditional_likelihoods_must_be_there() -> None:
    with pytest.raises(ValueError, match="found 3 responses to 3 choices, expected 6"):
        Accuracy(by="unconditional").statistics(example(), [answer(-1.0)] * 3)

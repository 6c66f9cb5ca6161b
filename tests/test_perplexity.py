import math

import pytest

from evalkit.interfaces import Metric
from evalkit.metrics.rolling import BitsPerByte, byte_perplexity, token_perplexity, word_perplexity
from evalkit.metrics.target import GreedyMatch, TargetPerplexity
from evalkit.records import Completion, Example, LogProb

ROLLING = (BitsPerByte(), byte_perplexity(), word_perplexity(), token_perplexity())


def answer(total: float, *, tokens: int = 1, is_greedy: bool = False) -> LogProb:
    return LogProb(total=total, tokens=tokens, bytes=99, is_greedy=is_greedy, boundary_merged=False)


def statistics(metric: Metric, texts: dict[str, LogProb]) -> list[tuple[float, ...]]:
    return [metric.statistics(Example("e", {}, (text,)), [response]) for text, response in texts.items()]


# 4 + 10 bytes, 1 + 3 words, 2 + 5 tokens; 14 times log 8 nats in all.
TEXTS = {"œuf": answer(-4 * math.log(8), tokens=2), "a bc\n\ndefg": answer(-10 * math.log(8), tokens=5)}


@pytest.mark.parametrize(
    ("metric", "value"),
    [
        (BitsPerByte(), 3.0),  # 8 is 2 ** 3
        (byte_perplexity(), 8.0),
        (word_perplexity(), 8 ** (14 / 4)),
        (token_perplexity(), 8 ** (14 / 7)),
    ],
)
def test_log_probabilities_are_divided_by_the_length_of_all_texts(metric: Metric, value: float) -> None:
    assert metric.needs == ("rolling",)
    assert metric.aggregate(statistics(metric, TEXTS)).value == pytest.approx(value, rel=1e-12)


def test_long_texts_count_more() -> None:
    # 2 bits for 1 byte and 27 for 9: 29 / 10, not the mean of 2 and 3.
    texts = {"a": answer(-2 * math.log(2)), "b" * 9: answer(-27 * math.log(2))}
    assert BitsPerByte().aggregate(statistics(BitsPerByte(), texts)).value == pytest.approx(2.9)


def test_white_space_at_the_ends_counts_as_in_lm_eval() -> None:
    # re.split of " a b\n" gives "", "a", "b" and "".
    assert word_perplexity().statistics(Example("e", {}, (" a b\n",)), [answer(-1.0)]) == (-1.0, 4.0)


def test_no_text_at_all_has_no_bits() -> None:
    empty = statistics(BitsPerByte(), {"": answer(0.0)})
    assert BitsPerByte().aggregate(empty).value == 0.0
    assert byte_perplexity().aggregate(empty).value == 1.0


def test_target_perplexity_is_per_target() -> None:
    # exp of the mean of log 2 and log 8.
    found = statistics(TargetPerplexity(), {"a": answer(-math.log(2), tokens=3), "b": answer(-math.log(8))})
    assert TargetPerplexity().aggregate(found).value == pytest.approx(4.0)


def test_a_target_matches_where_all_its_tokens_are_the_likeliest() -> None:
    found = statistics(GreedyMatch(), {"a": answer(-1.0, is_greedy=True), "b": answer(-0.1)})
    assert found == [(1.0,), (0.0,)]
    assert GreedyMatch().aggregate(found).value == 0.5
    assert GreedyMatch().is_proportion


@pytest.mark.parametrize("metric", [*ROLLING, TargetPerplexity(), GreedyMatch()])
def test_completions_are_refused(metric: Metric) -> None:
    with pytest.raises(TypeError, match="found a completion"):
        metric.statistics(Example("e", {}, ("a",)), [Completion("a", tokens=1, finish="stop")])

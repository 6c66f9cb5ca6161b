"""Gains by threshold and Llama 2's subsets as a comparison shows them."""

import random
from collections.abc import Mapping, Sequence

import pytest

from evalkit.contamination import comparison, gain
from evalkit.contamination.gain import Curves
from evalkit.contamination.subsets import gain_curve
from evalkit.metrics.exact import ExactMatch
from evalkit.records import Comparison, Estimate, Example, Prompt, Sample, Split
from tests.test_comparison import Ratio

PROMPT = Prompt("Q:", demonstrations=(), shots_asked=0, tokens=2, window=64)
NAMES = [f"e{number}" for number in range(40)]


def sample(name: str, *numbers: float, metric: str = "exact_match", shots: int = 0) -> Sample:
    return Sample("quiz", shots, Example(name, {}, ("yes",)), PROMPT, (), {metric: numbers})


def row(samples: Sequence[Sample], metric: str = "exact_match") -> Comparison:
    names = tuple(each.example.id for each in samples)
    everything = Split("quiz", "token-coverage(n=8)", 0.5, clean=names, dirty=(), unscanned=(), signature="quiz")
    found = Ratio() if metric == "precision" else None
    return comparison.compare(samples, everything, title="Quiz", n=8, metric_name=metric, metric=found)


def curves(samples: Sequence[Sample], values: Mapping[str, float]) -> Curves:
    found = gain.curves(row(samples), samples, values, metric_name="exact_match", metric=ExactMatch())
    assert found is not None
    return found


def drawn(seed: int) -> tuple[list[Sample], dict[str, float]]:
    draw = random.Random(f"gains {seed}")
    return [sample(name, float(draw.random() < 0.5)) for name in NAMES], {name: draw.random() for name in NAMES}


def test_gain_is_all_minus_those_below_the_threshold() -> None:
    # Values 0.1, 0.5, 0.5, 0.9 and scores 0, 1, 0, 1: all score 1/2; below 0.5 none is right; below 0.55 one of three.
    samples = [sample(name, right) for name, right in zip("abcd", (0.0, 1.0, 0.0, 1.0), strict=True)]
    found = curves(samples, {"a": 0.1, "b": 0.5, "c": 0.5, "d": 0.9})
    by_threshold = {each.threshold: each for each in found.gains}
    assert list(by_threshold) == [step / 20 for step in range(1, 21)]
    assert (by_threshold[0.1].share, by_threshold[0.1].gain) == (1.0, None)
    for threshold, share, expected in ((0.5, 0.75, 0.5), (0.55, 0.25, 1 / 2 - 1 / 3), (1.0, 0.0, 0.0)):
        estimate = by_threshold[threshold].gain
        assert estimate is not None
        assert by_threshold[threshold].share == share
        assert estimate.value == pytest.approx(expected)
        assert estimate.low <= estimate.value <= estimate.high


@pytest.mark.parametrize("seed", range(5))
def test_gains_lie_on_contams_curve(seed: int) -> None:
    samples, values = drawn(seed)
    found = curves(samples, values)
    exact = gain_curve([values[name] for name in NAMES], [each.statistics["exact_match"][0] for each in samples])
    assert found.curve == exact
    for each in found.gains:
        above = [point for point in exact if point.threshold >= each.threshold]
        assert each.share == pytest.approx(above[0].share if above else 0.0)
        expected = above[0].gain if above else 0.0
        assert (each.gain is None) == (expected is None)
        if each.gain is not None:
            assert each.gain.value == pytest.approx(expected)


def test_gains_are_the_comparisons_difference_turned_round() -> None:
    samples, values = drawn(7)
    [at_half] = [each.gain for each in curves(samples, values).gains if each.threshold == 0.5]
    clean = [name for name in NAMES if values[name] < 0.5]
    half = Split("quiz", "x", 0.5, tuple(clean), tuple(name for name in NAMES if name not in clean), (), "quiz")
    difference = comparison.compare(samples, half, title="Quiz", n=8, metric_name="exact_match").difference
    assert difference is not None
    assert at_half is not None
    assert at_half.value == -difference.value
    # 1,000 resamples instead of 10,000
    assert at_half.low == pytest.approx(-difference.high, abs=0.02)
    assert at_half.high == pytest.approx(-difference.low, abs=0.02)


def test_a_measure_of_zeros_and_ones_has_one_threshold() -> None:
    samples, values = drawn(0)
    found = curves(samples, {name: float(value > 0.5) for name, value in values.items()})
    assert [each.threshold for each in found.gains] == [1.0]


def test_unscanned_examples_are_left_out() -> None:
    samples = [sample("a", 1.0), sample("b", 0.0), sample("c", 1.0)]
    found = curves(samples, {"a": 1.0, "b": 0.0})
    assert found.examples == 2
    assert found.gains[0].gain is not None
    assert found.gains[0].gain.value == 0.5
    assert gain.curves(row(samples), samples, {}, metric_name="exact_match", metric=ExactMatch()) is None


def test_a_score_that_is_no_mean_has_gains_and_no_subsets() -> None:
    samples = [sample(name, right, 4.0, metric="precision") for name, right in (("a", 1.0), ("b", 2.0), ("c", 3.0))]
    values = {"a": 0.0, "b": 0.4, "c": 0.9}
    found = gain.curves(row(samples, "precision"), samples, values, metric_name="precision", metric=Ratio())
    assert found is not None
    assert (found.curve, found.subsets) == (None, None)
    [last] = [each.gain for each in found.gains if each.threshold == 0.9]
    assert last is not None
    assert last.value == pytest.approx(6 / 12 - 3 / 8)
    assert gain.subset_table([found], measure="llama2") is None


def test_the_table_lists_the_rows_by_threshold() -> None:
    samples, values = drawn(1)
    more_shots = [sample(each.example.id, *each.statistics["exact_match"], shots=5) for each in samples[:30]]
    table = gain.gain_table([curves(more_shots, values), curves(samples, values)], measure="token-coverage(n=8)")
    assert table.columns == ("task", "metric", "shots", "threshold", "dirty, %", "gain")
    assert table.caption == "Estimated performance gain by threshold of token-coverage(n=8) (ConTAM)"
    [half] = [line for line in table.rows if line[2:4] == (0, 0.5)]
    assert half[4] == pytest.approx(100 * sum(value >= 0.5 for value in values.values()) / 40)
    assert {line[2]: line[5].n for line in table.rows if isinstance(line[5], Estimate)} == {5: 30, 0: 40}


def test_thresholds_without_an_example_between_them_are_listed_once() -> None:
    samples = [sample(name, 1.0) for name in "ab"]
    table = gain.gain_table([curves(samples, {"a": 0.3, "b": 0.8})], measure="token-coverage(n=8)")
    assert [(line[3], line[4]) for line in table.rows] == [(0.05, 100), (0.35, 50), (0.85, 0)]


def test_llama2s_subsets_stand_in_percent_with_a_verdict() -> None:
    # 30 clean examples of which 5 are right, 30 dirty ones of which 25 are.
    names = [f"e{number}" for number in range(60)]
    samples = [sample(name, float(place % 6 == 0 if place < 30 else place % 6 > 0)) for place, name in enumerate(names)]
    values = {name: 0.0 if place < 30 else 1.0 for place, name in enumerate(names)}
    table = gain.subset_table([curves(samples, values)], measure="llama2(n=10,skip=4)")
    assert table is not None
    assert [line[3:6] for line in table.rows] == [
        ("clean", 30, 0.0),
        ("not clean", 30, 100.0),
        ("not dirty", 30, 0.0),
        ("dirty", 30, 100.0),
    ]
    for line, mean in zip(table.rows, (100 / 6, 500 / 6, 100 / 6, 500 / 6), strict=True):
        assert line[6] == pytest.approx(mean)
        assert line[7] == 50.0
    # (1/6 - 1/2) / (1/2 / sqrt 30)
    assert table.rows[0][8] == pytest.approx(-3.651, abs=0.001)
    assert table.notes[-1].startswith("Quiz, exact match, 0 shots: evidence of contamination by Llama 2's criterion")

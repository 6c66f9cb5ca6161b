import math
import random

import pytest
from scipy import stats as scipy_stats

from evalkit import stats
from evalkit.records import Estimate


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [  # Newcombe 1998, Statistics in Medicine 17:857, Table I, method 3
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_gives_newcombes_published_intervals(successes: int, n: int, low: float, high: float) -> None:
    estimate = stats.wilson(successes, n=n)
    assert (round(estimate.low, 4), round(estimate.high, 4)) == (low, high)


@pytest.mark.parametrize(("successes", "n"), [(0, 1), (1, 1), (3, 7), (1949, 2000), (2000, 2000)])
def test_wilson_equals_scipy(successes: int, n: int) -> None:
    expected = scipy_stats.binomtest(successes, n).proportion_ci(method="wilson")  # scipy 1.17
    estimate = stats.wilson(successes, n=n)
    assert estimate.low == pytest.approx(expected.low, abs=1e-12)
    assert estimate.high == pytest.approx(expected.high, abs=1e-12)


@pytest.mark.parametrize(("successes", "n"), [(-1, 5), (6, 5), (0, 0)])
def test_wilson_refuses_impossible_counts(successes: int, n: int) -> None:
    with pytest.raises(ValueError, match="expected"):
        stats.wilson(successes, n=n)


def test_bootstrap_agrees_with_scipy() -> None:
    draws = random.Random(0)
    values = [draws.expovariate(1.0) for _ in range(200)]
    expected = scipy_stats.bootstrap(
        (values,), lambda x, axis: x.mean(axis=axis), method="percentile", n_resamples=10_000, rng=1
    ).confidence_interval
    estimate = stats.bootstrap_mean(values)
    assert estimate.value == pytest.approx(math.fsum(values) / 200)
    assert estimate.low == pytest.approx(expected.low, abs=0.01)
    assert estimate.high == pytest.approx(expected.high, abs=0.01)


def test_bootstrap_gives_the_same_interval_for_the_same_seed() -> None:
    values = [0.1, 0.5, 0.9, 0.3]
    assert stats.bootstrap_mean(values, seed=3) == stats.bootstrap_mean(values, seed=3)


def test_bootstrap_by_cluster_is_wider_where_near_duplicates_agree() -> None:
    values = [float(i % 2) for i in range(20) for _ in range(10)]
    clusters = [f"c{i}" for i in range(20) for _ in range(10)]
    alone, together = stats.bootstrap_mean(values), stats.bootstrap_mean(values, clusters=clusters)
    # Ten copies of everything are worth a tenth of the examples: the interval is sqrt(10) times as wide.
    ratio = (together.high - together.low) / (alone.high - alone.low)
    assert ratio == pytest.approx(math.sqrt(10), rel=0.1)


def test_bootstrap_of_equal_values_has_no_width() -> None:
    estimate = stats.bootstrap_mean([0.1] * 7)
    assert estimate.low <= estimate.value <= estimate.high
    assert (estimate.low, estimate.high) == pytest.approx((0.1, 0.1), abs=1e-12)


def test_mean_of_one_proportion_is_the_plus_four_interval() -> None:
    # Agresti and Coull 1998: 2 successes and 2 failures added to 8 of 10, so 10/14 +- 1.96 * sqrt(10/14 * 4/14 / 14).
    margin = stats.Z * math.sqrt(10 / 14 * 4 / 14 / 14)
    estimate = stats.mean_of_proportions([stats.wilson(8, n=10)])
    assert estimate.value == 0.8
    assert (estimate.low, estimate.high) == pytest.approx((10 / 14 - margin, 10 / 14 + margin))


def test_mean_of_equal_tasks_is_as_sure_as_one_task_of_all_examples() -> None:
    apart = stats.mean_of_proportions([stats.wilson(48, n=50)] * 10)
    pooled = stats.mean_of_proportions([stats.wilson(480, n=500)])
    assert apart.n == pooled.n == 500
    assert (apart.value, apart.low, apart.high) == pytest.approx((pooled.value, pooled.low, pooled.high))


@pytest.mark.parametrize("truth", [[0.98] * 10, [0.5] * 10, [1, 1, 0.99, 0.9, 0.5, 0.3, 0.05, 0.01, 0, 0]])
def test_mean_of_proportions_covers_the_truth_in_19_of_20_runs(truth: list[float]) -> None:
    draws = random.Random(1)
    covered = 0
    for _ in range(1000):
        tasks = [stats.wilson(sum(draws.random() < p for _ in range(100)), n=100) for p in truth]
        estimate = stats.mean_of_proportions(tasks)
        covered += estimate.low <= sum(truth) / len(truth) <= estimate.high
    assert 930 <= covered <= 985


def test_mean_of_estimates_adds_variances_as_newcombe() -> None:
    # Newcombe 1998, Statistics in Medicine 17:873, Table II, method 10: 56/70 - 48/80 is 0.0524 to 0.3339. The
    # difference is twice the mean of the one and the negative of the other.
    first, second = stats.wilson(56, n=70), stats.wilson(48, n=80)
    negative = Estimate(value=-second.value, low=-second.high, high=-second.low, n=second.n)
    mean = stats.mean_of_estimates([first, negative])
    assert (round(2 * mean.low, 4), round(2 * mean.high, 4)) == (0.0524, 0.3339)
    assert mean.n == 150


def test_part_minus_whole_is_the_difference_of_two_means() -> None:
    # Part: 1, 1, 0, 0 is 0.5; whole: 7 of 10.
    values, part = [1, 1, 0, 0, 1, 1, 1, 1, 0, 1], [True] * 4 + [False] * 6
    estimate = stats.part_minus_whole(values, part, is_proportion=True)
    assert estimate.value == pytest.approx(-0.2)
    assert estimate.low < -0.2 < estimate.high
    assert estimate.n == 10


def test_part_minus_whole_knows_the_width_of_a_large_sample() -> None:
    # part - whole = share (part - rest), so with 4,000 in each half, p = 0.5: 0.5 * 1.96 * sqrt(0.25 / 4000 * 2).
    values, part = [float(i % 2) for i in range(8000)], [i < 4000 for i in range(8000)]
    estimate = stats.part_minus_whole(values, part, is_proportion=True)
    margin = 0.5 * stats.Z * math.sqrt(0.25 / 4000 * 2)
    assert (estimate.low, estimate.high) == pytest.approx((-margin, margin), rel=0.05)


@pytest.mark.parametrize("is_proportion", [True, False])
def test_a_part_that_is_the_whole_differs_by_exactly_nothing(is_proportion: bool) -> None:
    estimate = stats.part_minus_whole([0.1, 0.7, 0.4], [True] * 3, is_proportion=is_proportion)
    assert estimate == Estimate(value=0.0, low=0.0, high=0.0, n=3)
    assert stats.part_minus_whole_of(lambda drawn: float(drawn.sum()), [True] * 3) == estimate


def test_part_minus_whole_does_not_depend_on_order() -> None:
    draws = random.Random(2)
    pairs = [(draws.random(), draws.random() < 0.3) for _ in range(100)]
    ahead = stats.part_minus_whole(*zip(*pairs, strict=True), is_proportion=False)
    back = stats.part_minus_whole(*zip(*reversed(pairs), strict=True), is_proportion=False)
    assert ahead == back


def test_part_minus_whole_by_cluster_is_wider_where_near_duplicates_agree() -> None:
    values = [float(i % 2) for i in range(40) for _ in range(10)]
    part = [i % 4 < 2 for i in range(40) for _ in range(10)]
    clusters = [f"c{i}" for i in range(40) for _ in range(10)]
    alone = stats.part_minus_whole(values, part, is_proportion=False)
    together = stats.part_minus_whole(values, part, is_proportion=False, clusters=clusters)
    # Ten copies of everything are worth a tenth of the examples.
    assert (together.high - together.low) / (alone.high - alone.low) == pytest.approx(math.sqrt(10), rel=0.1)


@pytest.mark.parametrize(
    ("inside", "outside", "size", "share"),
    [(0.5, 0.5, 200, 0.3), (0.5, 0.8, 200, 0.3), (0.6, 0.6, 60, 0.2), (0.02, 0.02, 600, 0.1), (0.3, 0.3, 1000, 0.01)],
)
def test_part_minus_whole_covers_the_truth_in_19_of_20_samples(
    inside: float, outside: float, size: int, share: float
) -> None:
    draws = random.Random(3)
    truth, covered = (1 - share) * (inside - outside), 0
    for run in range(400):
        part = [draws.random() < share for _ in range(size)]
        part[0] = True
        values = [float(draws.random() < (inside if each else outside)) for each in part]
        estimate = stats.part_minus_whole(values, part, is_proportion=True, seed=run, resamples=1000)
        covered += estimate.low <= truth <= estimate.high
    # 0.95 of 400 is 380, with a standard deviation of 4.4; where successes are rare, intervals are on the wide side.
    assert 366 <= covered <= 396


def test_part_minus_whole_of_means_agrees_with_part_minus_whole() -> None:
    draws = random.Random(4)
    values = [draws.random() for _ in range(300)]
    part = [i % 3 == 0 for i in range(300)]
    exact = stats.part_minus_whole(values, part, is_proportion=False)
    called = stats.part_minus_whole_of(lambda drawn: float(drawn @ values / drawn.sum()), part)
    assert called.value == pytest.approx(exact.value)
    assert (called.low, called.high) == pytest.approx((exact.low, exact.high), abs=0.01)


def test_part_minus_whole_refuses_an_empty_part() -> None:
    with pytest.raises(ValueError, match="at least one"):
        stats.part_minus_whole([1.0], [False], is_proportion=True)
    with pytest.raises(ValueError, match="at least one"):
        stats.part_minus_whole_of(lambda drawn: float(drawn.sum()), [False])


def test_variance_of_a_mean_is_that_of_the_textbook() -> None:
    # 1, 2, 3, 4: s squared is 5/3, over n is 5/12.
    assert stats.variance_of_mean([1, 2, 3, 4]) == pytest.approx(5 / 12)
    # Two clusters with deviations -2 and 2: 2/1 * (4 + 4) / 16.
    assert stats.variance_of_mean([1, 2, 3, 4], clusters=["a", "a", "b", "b"]) == pytest.approx(1.0)
    assert stats.variance_of_mean([1]) is None


def test_detectable_difference_has_80_percent_power() -> None:
    draws = random.Random(5)
    size, base = 392, 0.45
    shift = stats.detectable_difference(0.5 * 0.5 * 2 / size)
    assert shift == pytest.approx(0.1, abs=0.001)  # the textbook's 10 points with 392 examples on each side
    found = 0
    for _ in range(1000):
        first = sum(draws.random() < base for _ in range(size)) / size
        second = sum(draws.random() < base + shift for _ in range(size)) / size
        pooled = (first + second) / 2
        found += abs(second - first) > stats.Z * math.sqrt(pooled * (1 - pooled) * 2 / size)
    assert 760 <= found <= 840

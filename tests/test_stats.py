import math
import random
import warnings
from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats as scipy_stats
from statsmodels.stats.proportion import proportion_confint

from evalkit import stats
from evalkit.records import Estimate

Numbers: TypeAlias = NDArray[np.float64]


def ratio(totals: Numbers, _: Numbers) -> Numbers:
    """Score sums of matches and words, shape (R, 2)."""
    return totals[:, 0] / totals[:, 1]


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


@pytest.mark.parametrize(("successes", "n"), [(0, 20), (1, 29), (150, 300), (300, 300)])
def test_a_proportion_has_wilsons_interval(successes: int, n: int) -> None:
    low, high = proportion_confint(successes, n, method="wilson")  # statsmodels 0.15
    estimate = stats.proportion([1.0] * successes + [0.0] * (n - successes))
    assert (estimate.low, estimate.high) == pytest.approx((low, high), abs=1e-12)
    assert (estimate.value, estimate.n) == (successes / n, n)


def test_a_proportion_of_copies_is_that_of_the_originals() -> None:
    # Three copies of each of 200: the design effect is 3, up to the correction for 199 degrees of freedom.
    originals = [float(at % 5 == 0) for at in range(200)]
    copies = stats.proportion(originals * 3, clusters=[str(at) for at in range(200)] * 3, n=200)
    low, high = proportion_confint(40, 200, method="wilson")
    assert copies.n == 200
    assert (copies.low, copies.high) == pytest.approx((low, high), abs=0.002)


def test_clusters_of_one_change_nothing() -> None:
    values = [1.0, 0.0, 1.0, 1.0, 0.0, 0.0, 1.0]
    alone, clustered = (stats.proportion(values, clusters=clusters) for clusters in (None, "abcdefg"))
    assert (clustered.low, clustered.high) == pytest.approx((alone.low, alone.high))
    assert stats.bootstrap_mean(values, clusters="abcdefg") == stats.bootstrap_mean(values)


def test_clusters_never_make_a_proportion_surer() -> None:
    # Each pair has one right and one wrong: the clusters' means do not vary at all.
    pairs = stats.proportion([1.0, 0.0] * 20, clusters=[str(at // 2) for at in range(40)])
    assert pairs == stats.proportion([1.0, 0.0] * 20)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_a_proportion_of_equal_values_is_as_sure_as_its_clusters_are_many(value: float) -> None:
    clustered = stats.proportion([value] * 60, clusters=[str(at // 6) for at in range(60)])
    few = stats.proportion([value] * 10)
    assert (clustered.value, clustered.low, clustered.high, clustered.n) == (value, few.low, few.high, 60)


def test_one_cluster_is_worth_one_example() -> None:
    assert stats.effective_size([0.0, 1.0, 1.0], clusters="aaa") == 1.0


@pytest.mark.parametrize("freedom", [1, 2, 3, 5, 20, 1000])
def test_students_quantile_is_scipys(freedom: int) -> None:
    assert stats._student(freedom) == pytest.approx(scipy_stats.t.ppf(0.975, freedom), rel=0.002)


@pytest.mark.parametrize(("clusters", "size", "rate"), [(10, 10, 0.8), (30, 5, 0.5), (100, 3, 0.95)])
def test_a_clustered_proportion_covers_the_truth_in_19_of_20_samples(clusters: int, size: int, rate: float) -> None:
    generator = np.random.default_rng(6)
    names = [str(at) for at in range(clusters) for _ in range(size)]
    covered = 0
    for _ in range(400):
        # Clusters with a correlation of 0.3: rates from a beta distribution with parameters that add up to 7 / 3.
        rates = generator.beta(rate * 7 / 3, (1 - rate) * 7 / 3, clusters)
        values = (generator.random((clusters, size)) < rates[:, None]).astype(float).ravel()
        estimate = stats.proportion(values.tolist(), clusters=names)
        covered += estimate.low <= rate <= estimate.high
    assert 364 <= covered <= 396  # of 380 expected


def test_bootstrap_of_a_mean_agrees_with_scipy() -> None:
    draws = random.Random(0)
    values = [draws.expovariate(1.0) for _ in range(200)]
    expected = scipy_stats.bootstrap(  # scipy 1.17
        (values,), lambda x, axis: x.mean(axis=axis), method="BCa", n_resamples=100_000, rng=1
    ).confidence_interval
    estimate = stats.bootstrap_mean(values)
    assert estimate.value == pytest.approx(math.fsum(values) / 200)
    # A bound of 10,000 resamples varies by sqrt(p (1 - p) / R) / density: 0.003 here.
    assert (estimate.low, estimate.high) == pytest.approx((expected.low, expected.high), abs=0.01)


def test_bootstrap_of_a_ratio_agrees_with_scipy() -> None:
    generator = np.random.default_rng(7)
    words = generator.integers(5, 40, size=100)
    matches = generator.binomial(words, generator.beta(1, 9, size=100))
    expected = scipy_stats.bootstrap(  # scipy 1.17
        (matches, words),
        lambda x, y, axis: x.sum(axis=axis) / y.sum(axis=axis),
        paired=True,
        method="BCa",
        n_resamples=100_000,
        rng=1,
    ).confidence_interval
    estimate = stats.bootstrap(list(zip(matches, words, strict=True)), ratio)
    assert estimate.value == pytest.approx(matches.sum() / words.sum())
    assert (estimate.low, estimate.high) == pytest.approx((expected.low, expected.high), abs=0.001)


def test_bootstrap_gives_the_same_interval_for_the_same_seed() -> None:
    values = [0.1, 0.5, 0.9, 0.3]
    assert stats.bootstrap_mean(values, seed=3) == stats.bootstrap_mean(values, seed=3)


def test_bootstrap_does_not_depend_on_order() -> None:
    draws = random.Random(8)
    rows = [((draws.random(), draws.random()), str(draws.randrange(20))) for _ in range(100)]
    for named in (True, False):
        ahead, back = (
            stats.bootstrap([row for row, _ in each], ratio, clusters=[name for _, name in each] if named else None)
            for each in (rows, rows[::-1])
        )
        assert ahead == back


def test_bootstrap_by_cluster_is_wider_where_near_duplicates_agree() -> None:
    values = [float(i % 2) for i in range(20) for _ in range(10)]
    clusters = [f"c{i}" for i in range(20) for _ in range(10)]
    alone, together = stats.bootstrap_mean(values), stats.bootstrap_mean(values, clusters=clusters)
    # Ten copies of everything are worth a tenth of the examples: the interval is sqrt(10) times as wide.
    ratio_of_widths = (together.high - together.low) / (alone.high - alone.low)
    assert ratio_of_widths == pytest.approx(math.sqrt(10), rel=0.1)


def test_bootstrap_reports_the_number_of_examples_it_is_given() -> None:
    assert stats.bootstrap_mean([0.1, 0.2, 0.3, 0.4]).n == 4
    assert stats.bootstrap_mean([0.1, 0.2, 0.3, 0.4], clusters="abab", n=2).n == 2


@pytest.mark.parametrize(
    ("rows", "low", "high"),
    [
        ([(0.1, 1)] * 7, 0.1, 0.1),  # equal examples
        ([(3, 4)], 0.75, 0.75),  # a single one
        ([(0, 0), (1, 2), (0, 0)], 0.5, 0.5),  # one that alone has a score: the others divide by nothing
        ([(0, 1), (1, 1)], 0.0, 1.0),
        ([(0, 1)] * 50 + [(50, 1)], 0.0, 50.0),
    ],
)
def test_bootstrap_is_finite_and_silent_where_little_is_known(
    rows: Sequence[tuple[float, float]], low: float, high: float
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        estimate = stats.bootstrap(rows, ratio)
    assert low - 1e-12 <= estimate.low <= estimate.value <= estimate.high <= high + 1e-12


def test_bootstrap_of_equal_values_has_no_width() -> None:
    estimate = stats.bootstrap_mean([0.1] * 7)
    assert estimate.low == estimate.value == estimate.high == pytest.approx(0.1)


def test_bootstrap_of_a_score_that_no_resample_reaches_takes_plain_percentiles() -> None:
    # How many of 40 examples were drawn at all: 40 (1 - 1 / e) = 25 on average, and never 40.
    estimate = stats.bootstrap(np.eye(40), lambda totals, _: (totals > 0).sum(axis=1))
    assert (estimate.value, estimate.high) == (40, 40)
    assert 20 <= estimate.low <= 25


def test_bootstrap_refuses_what_has_no_score() -> None:
    with pytest.raises(ValueError, match="found a score of nan for all 2 examples"):
        stats.bootstrap([(0.0, 0.0), (0.0, 0.0)], ratio)
    with pytest.raises(ValueError, match="found no examples"):
        stats.bootstrap(np.empty((0, 2)), ratio)


def test_bootstrap_covers_a_skewed_mean() -> None:
    # The mean of 50 from an exponential distribution, whose mean is 1.
    generator = np.random.default_rng(9)
    covered = 0
    for run in range(400):
        estimate = stats.bootstrap(generator.exponential(size=(50, 1)), stats.mean_of_totals, seed=run, resamples=1000)
        covered += estimate.low <= 1 <= estimate.high
    assert 360 <= covered <= 392  # BCa is short of 95 % by order 1 / n: 93 to 94 % here


class Named:
    name = "nats"
    is_proportion = False

    def __init__(self, score: Callable[[float], float]) -> None:
        self.score = score

    def aggregate(self, statistics: Sequence[tuple[float, ...]], **_: object) -> Estimate:
        value = self.score(math.fsum(number for (number,) in statistics) / len(statistics))
        return Estimate(value, value, value, n=len(statistics))


def test_a_mean_needs_no_rule_of_its_own() -> None:
    assert stats.score_rule(Named(lambda mean: mean), [(1.0,), (2.0,)]) is stats.mean_of_totals
    with pytest.raises(TypeError, match=r"metric 'nats': .* needs score_totals"):
        stats.score_rule(Named(math.exp), [(1.0,), (2.0,)])


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
    assert stats.part_minus_whole_of([(0.1,), (0.7,), (0.4,)], stats.mean_of_totals, [True] * 3) == estimate


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
    rescored = stats.part_minus_whole_of([(value,) for value in values], stats.mean_of_totals, part)
    assert rescored.value == pytest.approx(exact.value)
    assert (rescored.low, rescored.high) == pytest.approx((exact.low, exact.high), abs=0.01)


def test_part_minus_whole_of_a_ratio_does_not_depend_on_order() -> None:
    draws = random.Random(10)
    rows = [((draws.random(), 1 + draws.random()), draws.random() < 0.3) for _ in range(60)]
    ahead, back = (
        stats.part_minus_whole_of([row for row, _ in each], ratio, [part for _, part in each])
        for each in (rows, rows[::-1])
    )
    assert ahead == back


@pytest.mark.parametrize(("size", "share"), [(60, 0.5), (300, 0.1)])
def test_part_minus_whole_of_a_ratio_covers_the_truth_in_19_of_20_samples(size: int, share: float) -> None:
    generator = np.random.default_rng(11)
    truth = 0.3 - (share * 0.3 + (1 - share) * 0.5)  # of matches in the part, less those in all
    covered = 0
    for run in range(400):
        part = generator.random(size) < share
        part[0] = True
        words = generator.integers(5, 30, size)
        rows = np.stack([generator.binomial(words, np.where(part, 0.3, 0.5)), words], axis=1).astype(float)
        estimate = stats.part_minus_whole_of(rows, ratio, part, seed=run, resamples=1000)
        covered += estimate.low <= truth <= estimate.high
    assert 364 <= covered <= 396  # of 380 expected


def test_part_minus_whole_refuses_an_empty_part() -> None:
    with pytest.raises(ValueError, match="at least one"):
        stats.part_minus_whole([1.0], [False], is_proportion=True)
    with pytest.raises(ValueError, match="at least one"):
        stats.part_minus_whole_of([(1.0,)], stats.mean_of_totals, [False])


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

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import pytest
from numpy.typing import NDArray
from sacrebleu.metrics import BLEU
from sacrebleu.significance import PairedTest
from scipy import stats as scipy_stats
from statsmodels.stats.contingency_tables import mcnemar as statsmodels_mcnemar

from evalkit import paired, stats
from evalkit.records import Estimate
from evalkit.resample import resample

Numbers: TypeAlias = NDArray[np.float64]
Rows: TypeAlias = list[tuple[float, ...]]


@dataclass(frozen=True)
class Mean:
    name: str = "F1"
    is_proportion: bool = False

    def aggregate(self, statistics: Sequence[tuple[float, ...]], **_: object) -> Estimate:
        value = math.fsum(number for (number,) in statistics) / len(statistics)
        return Estimate(value, value, value, n=len(statistics))


EXACT_MATCH = Mean("exact match", is_proportion=True)


@dataclass(frozen=True)
class CorpusBleu:
    """BLEU without smoothing from sacrebleu's statistics: lengths of answer and reference, matches, n-grams."""

    name: str = "BLEU"
    is_proportion: bool = False

    def aggregate(self, statistics: Sequence[tuple[float, ...]], **_: object) -> Estimate:
        return stats.bootstrap(statistics, self.score_totals)

    def score_totals(self, totals: Numbers, _: Numbers) -> Numbers:
        precisions = totals[:, 2:6] / totals[:, 6:10]
        penalty = np.exp(np.minimum(0, 1 - totals[:, 1] / totals[:, 0]))
        return 100 * penalty * np.exp(np.log(precisions).mean(axis=1))


def right(*numbers: float) -> Rows:
    return [(float(number),) for number in numbers]


def table(both: int, first: int, second: int, neither: int) -> tuple[Rows, Rows]:
    """Make two runs with so many right answers of both, of one alone, and of neither."""
    pairs = [(1, 1)] * both + [(1, 0)] * first + [(0, 1)] * second + [(0, 0)] * neither
    return right(*(one for one, _ in pairs)), right(*(other for _, other in pairs))


@pytest.mark.parametrize(
    ("wins", "losses", "n", "low", "high"),
    [  # Fagerland, Lydersen and Laake 2014, Statistics in Medicine 33:2850; R's contingencytables 3.0
        (1, 7, 21, -0.517, -0.026),
        (6, 16, 161, -0.124, -0.005),
    ],
)
def test_tango_gives_published_intervals(wins: int, losses: int, n: int, low: float, high: float) -> None:
    bounds = paired.tango(wins, losses, n)
    assert (round(bounds[0], 3), round(bounds[1], 3)) == (low, high)


@pytest.mark.parametrize(("wins", "losses", "n"), [(3, 9, 20), (0, 0, 10), (10, 0, 10), (40, 2, 1000)])
def test_tango_of_the_other_direction_is_the_negative(wins: int, losses: int, n: int) -> None:
    low, high = paired.tango(wins, losses, n)
    assert paired.tango(losses, wins, n) == pytest.approx((-high, -low), abs=1e-12)
    assert -1 <= low <= (wins - losses) / n <= high <= 1


def test_tango_without_a_change_is_wilson_of_none() -> None:
    # The score test of 0 of n against a difference d: n d <= Z^2 (1 - d), which is Wilson's bound for 0 of n.
    assert paired.tango(0, 0, 50)[1] == pytest.approx(stats.wilson(0, n=50).high)


def test_tango_leaves_out_zero_where_the_score_test_rejects() -> None:
    for wins in range(30):
        for losses in range(30):
            low, high = paired.tango(wins, losses, 100)
            rejects = (wins - losses) ** 2 > stats.Z**2 * (wins + losses)
            assert (low > 0 or high < 0) == rejects


@pytest.mark.parametrize("rates", [(0.1, 0.1), (0.2, 0.05), (0.02, 0.02), (0.3, 0.1)])
def test_tango_covers_the_truth_in_19_of_20_samples(rates: tuple[float, float]) -> None:
    n, covered = 40, 0.0
    for wins in range(n + 1):
        for losses in range(n + 1 - wins):
            low, high = paired.tango(wins, losses, n)
            chance = scipy_stats.multinomial.pmf((wins, losses, n - wins - losses), n, (*rates, 1 - sum(rates)))
            covered += chance * (low <= rates[0] - rates[1] <= high)
    assert 0.93 <= covered <= 0.995


def test_mcnemar_equals_statsmodels() -> None:
    for wins in range(16):
        for losses in range(16):
            expected = statsmodels_mcnemar([[5, losses], [wins, 5]], exact=True).pvalue  # statsmodels 0.15
            assert paired.mcnemar(wins, losses) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize(("wins", "losses"), [(6, 16), (5000, 5200), (400, 0), (20_000, 21_000)])
def test_mcnemar_of_many_pairs_equals_scipy(wins: int, losses: int) -> None:
    expected = scipy_stats.binomtest(wins, wins + losses).pvalue  # scipy 1.17
    assert paired.mcnemar(wins, losses) == pytest.approx(expected, rel=1e-6)


def test_right_and_wrong_answers_are_compared_as_paired_proportions() -> None:
    found = paired.compare(*table(59, 16, 6, 80), metric=EXACT_MATCH)
    low, high = paired.tango(6, 16, 161)
    assert found.difference == Estimate(value=-10 / 161, low=low, high=high, n=161)
    assert round(found.p_value, 6) == 0.052479  # R's contingencytables 3.0, McNemar_exact_cond_test_paired_2x2
    assert (found.test, found.wins, found.losses, found.ties) == (paired.EXACT, 6, 16, 139)


def test_the_second_run_is_measured_against_the_first() -> None:
    first, second = table(10, 2, 9, 10)
    ahead, back = (paired.compare(*runs, metric=EXACT_MATCH) for runs in ((first, second), (second, first)))
    assert ahead.difference.value > 0
    assert back.difference.value == -ahead.difference.value
    assert (back.wins, back.losses, back.p_value) == (ahead.losses, ahead.wins, ahead.p_value)


@pytest.mark.parametrize("metric", [EXACT_MATCH, Mean()])
def test_equal_runs_do_not_differ(metric: Mean) -> None:
    run = right(*[1, 0, 1, 1] * 10)
    found = paired.compare(run, run, metric=metric)
    assert (found.difference.value, found.p_value, found.detectable) == (0.0, 1.0, None)
    assert (found.wins, found.losses, found.ties) == (0, 0, 40)


@pytest.mark.parametrize("metric", [EXACT_MATCH, Mean()])
def test_copies_of_examples_add_nothing(metric: Mean) -> None:
    first, second = table(100, 20, 35, 45)
    names = [str(at) for at in range(200)]
    once = paired.compare(first, second, metric=metric, clusters=names)
    thrice = paired.compare(first * 3, second * 3, metric=metric, clusters=names * 3, n=200)
    assert thrice.difference.n == once.difference.n == 200
    assert (thrice.difference.low, thrice.difference.high) == pytest.approx(
        (once.difference.low, once.difference.high), abs=0.005
    )
    assert thrice.p_value == pytest.approx(once.p_value, abs=0.02)  # of one copy the test is exact
    assert thrice.detectable == pytest.approx(once.detectable, rel=0.05)


def test_clusters_of_one_change_nothing() -> None:
    first, second = table(10, 2, 9, 10)
    names = [str(at) for at in range(31)]
    assert paired.compare(first, second, metric=EXACT_MATCH, clusters=names) == paired.compare(
        first, second, metric=EXACT_MATCH
    )


def test_the_order_of_examples_changes_nothing() -> None:
    draws = random.Random(0)
    rows = [((draws.random(),), (draws.random(),), str(draws.randrange(30))) for _ in range(90)]
    ahead, back = (
        paired.compare(*zip(*((one, other) for one, other, _ in each), strict=True), metric=Mean(), clusters=names)
        for each in (rows, rows[::-1])
        for names in [[name for _, _, name in each]]
    )
    assert ahead == back


@pytest.mark.parametrize("is_clustered", [False, True])
def test_p_is_below_5_percent_where_the_bootstraps_interval_leaves_out_zero(is_clustered: bool) -> None:
    generator = np.random.default_rng(1)
    verdicts = set()
    for run in range(60):
        changes = generator.exponential(size=40) - 0.7
        clusters = [str(at // 2) for at in range(40)] if is_clustered else None
        first, second = right(*[0.0] * 40), right(*changes)
        found = paired.compare(first, second, metric=Mean(), clusters=clusters, seed=run, resamples=2000)
        if 0.045 < found.p_value < 0.055:  # of one resample more or less
            continue
        assert (found.p_value < 0.05) == (not found.difference.low <= 0 <= found.difference.high)
        verdicts.add(found.p_value < 0.05)
    assert verdicts == {True, False}


@pytest.mark.parametrize("metric", [EXACT_MATCH, Mean()])
def test_runs_that_do_not_differ_are_told_apart_in_1_of_20_cases(metric: Mean) -> None:
    generator = np.random.default_rng(2)
    names = [str(at // 3) for at in range(150)]
    found = 0
    for run in range(200):
        rates = np.repeat(generator.beta(0.5, 0.5, size=50), 3)  # of three questions to one passage
        first, second = (right(*(generator.random(150) < rates)) for _ in range(2))
        found += paired.compare(first, second, metric=metric, clusters=names, seed=run, resamples=500).p_value < 0.05
    assert found <= 20  # 10 expected, with a standard deviation of 3.1


def test_clustered_proportions_cover_the_truth_in_19_of_20_samples() -> None:
    generator = np.random.default_rng(3)
    names, covered = [str(at // 5) for at in range(100)], 0
    for _ in range(400):
        rates = np.repeat(generator.beta(2, 2, size=20), 5)
        shifted = np.clip(rates + np.repeat(generator.choice((-0.2, 0.2), size=20), 5), 0, 1)
        first, second = right(*(generator.random(100) < rates)), right(*(generator.random(100) < shifted))
        difference = paired.compare(first, second, metric=EXACT_MATCH, clusters=names).difference
        covered += difference.low <= 0 <= difference.high
    assert 368 <= covered <= 398


def test_a_detectable_difference_is_found_in_80_percent_of_cases() -> None:
    # 1,000 examples of which 20 % change: 2.8016 * sqrt(0.2 / 1000) = 0.0396.
    detectable = paired.compare(*table(400, 100, 100, 400), metric=EXACT_MATCH).detectable
    assert detectable == pytest.approx(0.0396, abs=0.0001)
    generator = np.random.default_rng(4)
    rates = (0.1 + detectable / 2, 0.1 - detectable / 2, 0.8)
    found = sum(
        paired.mcnemar(wins, losses) < 0.05 for wins, losses, _ in generator.multinomial(1000, rates, size=1000)
    )
    assert 750 <= found <= 830  # the exact test is on the careful side


def test_the_bootstraps_detectable_difference_is_that_of_the_paired_variance() -> None:
    draws = random.Random(5)
    first = [draws.random() for _ in range(400)]
    second = [value + draws.gauss(0.02, 0.1) for value in first]
    changes = [after - before for before, after in zip(first, second, strict=True)]
    variance = stats.variance_of_mean(changes)
    assert variance is not None
    found = paired.compare(right(*first), right(*second), metric=Mean())
    assert found.detectable == pytest.approx(stats.detectable_difference(variance), rel=0.03)


def test_runs_of_other_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="found 2 and 1 examples"):
        paired.compare(right(1, 0), right(1), metric=EXACT_MATCH)
    with pytest.raises(ValueError, match="found 0 and 0 examples"):
        paired.compare([], [], metric=EXACT_MATCH)


WORDS = ("the", "a", "cat", "dog", "bird", "sat", "ran", "flew", "on", "over", "under", "mat", "tree", "house", "old")


def translations(seed: int) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    """References, and two systems that get a word wrong now and then, the second a little less often."""
    draws = random.Random(seed)
    references = [[draws.choice(WORDS) for _ in range(draws.randint(6, 18))] for _ in range(150)]

    def system(share: float) -> tuple[str, ...]:
        return tuple(
            " ".join(draws.choice(WORDS) if draws.random() < share else word for word in words) for words in references
        )

    return tuple(map(" ".join, references)), system(0.24), system(0.21)


def bleu_rows(answers: Sequence[str], references: Sequence[str]) -> Rows:
    return [tuple(row) for row in BLEU()._extract_corpus_statistics(answers, [references])]


@pytest.mark.parametrize("seed", [3, 4])
def test_paired_bootstrap_agrees_with_sacrebleus(seed: int) -> None:
    references, first, second = translations(seed)
    before, after = bleu_rows(first, references), bleu_rows(second, references)
    systems = [("first", first), ("second", second)]
    _, scores = PairedTest(systems, {"BLEU": BLEU()}, [references], test_type="bs", n_samples=2000)()  # sacrebleu 2.6.0
    _, theirs = scores["BLEU"]

    found = paired.compare(before, after, metric=CorpusBleu())
    assert found.test == paired.BOOTSTRAP
    assert found.difference.value == pytest.approx(scores["BLEU"][1].score - scores["BLEU"][0].score)

    def minus(totals: Numbers, n: Numbers) -> Numbers:
        return CorpusBleu().score_totals(totals[:, 10:], n) - CorpusBleu().score_totals(totals[:, :10], n)

    # sacrebleu's p on our resamples: how often |difference| exceeds its mean by the one observed.
    sizes = np.abs(resample(np.hstack([before, after]), minus, seed=0, resamples=10_000).scores)
    same_rule = np.mean(sizes - sizes.mean() > abs(found.difference.value))
    error = math.sqrt(theirs.p_value / 2000)
    assert 0.01 < theirs.p_value < 0.1
    assert same_rule == pytest.approx(theirs.p_value, abs=3 * error)
    # Ours is two-sided, theirs is one-sided where differences are not around 0.
    assert found.p_value == pytest.approx(2 * theirs.p_value, abs=6 * error)


def test_wins_of_a_corpus_score_are_those_of_single_examples() -> None:
    references = ("the cat sat on the mat", "a dog ran over a tree", "a bird flew")
    better = bleu_rows(references, references)
    worse = bleu_rows(("the cat sat on a mat", "a dog ran over a tree", "a bird flew"), references)
    found = paired.compare(worse, better, metric=CorpusBleu())
    assert (found.wins, found.losses, found.ties) == (1, 0, 2)
    assert found.difference.value > 0

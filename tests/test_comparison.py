import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
import pytest
from numpy.typing import NDArray

from evalkit import stats
from evalkit.contamination import comparison as comparing
from evalkit.contamination import comparison_table, published
from evalkit.contamination.comparison import compare
from evalkit.contamination.comparison_table import gpt3_table, relative_difference
from evalkit.contamination.lm_eval_samples import logged_mean
from evalkit.errors import DataError
from evalkit.records import Comparison, Estimate, Example, Prompt, Sample, Split, Table
from evalkit.report import csv, latex, markdown
from evalkit.report.content import Page
from evalkit.report.page import page

Statistics: TypeAlias = Sequence[tuple[float, ...]]
Numbers: TypeAlias = NDArray[np.float64]

PROMPT = Prompt("Q:", demonstrations=(), shots_asked=0, tokens=2, window=64)


@dataclass(frozen=True)
class Ratio:
    """Matches over words of the whole set: a score that is no mean, such as BLEU's precision."""

    name: str = "precision"
    is_proportion: bool = False

    def aggregate(self, statistics: Statistics, **_: object) -> Estimate:
        value = sum(matches for matches, _ in statistics) / sum(words for _, words in statistics)
        return Estimate(value, value - 0.1, value + 0.1, n=len(statistics))

    def score_totals(self, totals: Numbers, _: Numbers) -> Numbers:
        return totals[:, 0] / totals[:, 1]


@dataclass(frozen=True)
class SlowPerplexity:
    """One number an example, but the score is not their mean, and nothing says how it follows from sums."""

    name: str = "perplexity"
    is_proportion: bool = False

    def aggregate(self, statistics: Statistics, **_: object) -> Estimate:
        value = math.exp(math.fsum(nats for (nats,) in statistics) / len(statistics))
        return Estimate(value, value, value, n=len(statistics))


@dataclass(frozen=True)
class Perplexity(SlowPerplexity):
    def score_totals(self, totals: Numbers, n: Numbers) -> Numbers:
        return np.exp(totals[:, 0] / n)


def sample(name: str, *numbers: float, cluster: str | None = None, metric: str = "exact_match") -> Sample:
    return Sample("quiz", 5, Example(name, {}, ("yes",), cluster=cluster), PROMPT, (), {metric: numbers})


def split(clean: Sequence[str], dirty: Sequence[str] = (), unscanned: Sequence[str] = ()) -> Split:
    return Split("quiz", "gpt3", 1.0, tuple(clean), tuple(dirty), tuple(unscanned), "quiz|gpt3")


def compared(samples: Sequence[Sample], parts_of_corpus: Split, **given: object) -> Comparison:
    settings = {"title": "Quiz", "n": 13, "metric_name": "exact_match"} | given
    return compare(samples, parts_of_corpus, **settings)  # type: ignore[arg-type]


# clean: 2 of 4; dirty: 4 of 5; unscanned: 1 of 1; all: 7 of 10
TEN = [sample(name, float(right)) for name, right in zip("abcdefghij", [1, 1, 0, 0, 1, 1, 1, 1, 0, 1], strict=True)]
TEN_SPLIT = split("abcd", "efghi", "j")


def many(clean_right: int, clean: int, dirty_right: int, dirty: int) -> tuple[list[Sample], Split]:
    """Samples of which the first of each side are right."""
    samples = [sample(f"c{i}", float(i < clean_right)) for i in range(clean)]
    samples += [sample(f"d{i}", float(i < dirty_right)) for i in range(dirty)]
    return samples, split([f"c{i}" for i in range(clean)], [f"d{i}" for i in range(dirty)])


def test_every_subset_is_scored_by_the_metric_itself() -> None:
    found = compared(TEN, TEN_SPLIT)
    assert (found.all, found.clean) == (stats.wilson(7, n=10), stats.wilson(2, n=4))
    assert (found.dirty, found.unscanned) == (stats.wilson(4, n=5), stats.wilson(1, n=1))
    assert (found.metric, found.shots, found.n, found.title) == ("exact match", 5, 13, "Quiz")


def test_the_difference_is_clean_minus_all() -> None:
    difference = compared(TEN, TEN_SPLIT).difference
    assert difference is not None
    assert difference.value == pytest.approx(0.5 - 0.7)
    assert difference.low < -0.2 < difference.high


def test_subsets_add_up_to_all() -> None:
    found = compared(TEN, TEN_SPLIT)
    subsets = [found.clean, found.dirty, found.unscanned]
    assert found.all is not None
    assert sum(each.n for each in subsets if each) == found.all.n
    assert sum(each.n * each.value for each in subsets if each) == pytest.approx(found.all.n * found.all.value)


def test_the_order_of_samples_changes_nothing() -> None:
    draws = random.Random(0)
    clusters = {each.example.id: draws.choice(["x", "y", None]) for each in TEN}
    samples = [replace(each, example=replace(each.example, cluster=clusters[each.example.id])) for each in TEN]
    shuffled = random.Random(1).sample(samples, k=len(samples))
    assert compared(shuffled, TEN_SPLIT) == compared(samples, TEN_SPLIT)


def test_a_clean_task_has_no_difference() -> None:
    found = compared(TEN, split("abcdefghij"))
    assert found.difference == Estimate(0.0, 0.0, 0.0, n=10)
    assert found.clean == found.all
    assert found.dirty is found.unscanned is found.detectable is None


def test_a_dirty_task_has_no_clean_score() -> None:
    found = compared(TEN, split("", "abcdefghij"))
    assert found.clean is found.difference is found.detectable is None
    assert found.flags == (comparing.TOO_SMALL,)


def test_samples_without_a_prompt_are_not_scored() -> None:
    unasked = replace(sample("a"), prompt=None, statistics={})
    assert compared([unasked, *TEN[1:]], TEN_SPLIT).clean == stats.wilson(1, n=3)


def test_a_run_may_have_fewer_examples_than_the_scan() -> None:
    assert compared(TEN[:6], TEN_SPLIT).dirty == stats.wilson(2, n=2)


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        ([*TEN, sample("k", 1.0)], "found sample 'k', which the scan does not have, expected one of its 10 examples"),
        ([*TEN, TEN[0]], "found two samples of example 'a' with seed 0"),
        (
            [*TEN[1:], replace(TEN[0], shots=1)],
            "found samples of quiz at 1 shot, quiz at 5 shots, expected quiz at one",
        ),
        ([replace(each, task="other") for each in TEN], "found samples of other at 5 shots, expected quiz"),
        ([], "found no samples"),
        ([*TEN[1:], sample("a", 1.0, metric="f1")], "found no metric 'exact_match' in sample 'a', expected one of f1"),
    ],
)
def test_samples_of_another_scan_are_refused(samples: Sequence[Sample], message: str) -> None:
    with pytest.raises(DataError, match=message):
        compared(samples, TEN_SPLIT)


def test_detectable_is_the_pooled_two_proportion_formula() -> None:
    # 6 of 9 right: 2/3 * 1/3 * (1/4 + 1/5) = 0.1; (1.959964 + 0.841621) * sqrt(0.1) = 0.885939
    assert compared(TEN, TEN_SPLIT).detectable == pytest.approx(0.885939, abs=1e-6)


def test_detectable_of_means_takes_the_variances_of_the_samples() -> None:
    # 1, 2 | 3, 5: variances of the means 0.5 / 2 and 2 / 2
    samples = [sample(name, value, metric="chrf") for name, value in zip("abcd", (1.0, 2.0, 3.0, 5.0), strict=True)]
    metric = logged_mean(samples, "chrf")
    found = compared(samples, split("ab", "cd"), metric_name="chrf", metric=metric)
    assert found.detectable == pytest.approx((stats.Z + stats.Z_POWER) * math.sqrt(1.25))


def test_examples_without_spread_have_no_detectable_difference() -> None:
    assert compared(*many(20, 20, 5, 5)).detectable is None


def test_near_duplicates_widen_the_difference() -> None:
    samples, sides = many(100, 200, 150, 200)
    copies = [replace(each, example=replace(each.example, cluster=str(at // 10))) for at, each in enumerate(samples)]
    alone, together = compared(samples, sides).difference, compared(copies, sides).difference
    assert alone is not None
    assert together is not None
    assert together.high - together.low > 2 * (alone.high - alone.low)


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ((500, 1000, 500, 1000), ()),
        ((500, 1000, 800, 1000), (comparing.WORSE,)),
        ((800, 1000, 500, 1000), (comparing.BETTER,)),
        ((190, 199, 950, 1000), (comparing.TOO_SMALL,)),  # too few
        ((100, 200, 500, 1000), (comparing.TOO_SMALL,)),  # Wilson's interval is 13.7 points wide
        ((196, 200, 980, 1000), ()),
        ((0, 9, 1000, 1000), (comparing.TOO_SMALL,)),  # so few clean ones show nothing
        ((0, 300, 20, 9700), ()),  # 0.6 right expected if all were alike: none right is no evidence
    ],
)
def test_flags_follow_from_the_numbers(counts: tuple[int, int, int, int], expected: tuple[str, ...]) -> None:
    assert compared(*many(*counts)).flags == expected


@pytest.mark.parametrize(("elsewhere", "flagged"), [(0, True), (5, True), (6, False)])
def test_matches_in_contexts_alone_are_flagged(elsewhere: int, flagged: bool) -> None:
    samples, sides = many(500, 1000, 50, 100)
    parts = {name: ("context", "answer") if at < elsewhere else ("context",) for at, name in enumerate(sides.dirty)}
    assert (comparing.ONLY_CONTEXTS in compared(samples, sides, parts=parts).flags) is flagged


def test_a_score_that_is_no_mean_is_resampled_from_its_totals() -> None:
    draws = random.Random(2)
    samples = [sample(str(i), draws.randint(0, 5), draws.randint(5, 20), metric="precision") for i in range(200)]
    sides = split([str(i) for i in range(50)], [str(i) for i in range(50, 200)])
    found = compared(samples, sides, metric_name="precision", metric=Ratio())
    assert found.difference is not None
    rows = [each.statistics["precision"] for each in samples]
    clean, whole = (Ratio().aggregate(chosen).value for chosen in (rows[:50], rows))
    assert found.difference.value == pytest.approx(clean - whole)
    # Delta method: clean - all by (m - clean w) / W of the clean examples less (m - all w) / W of all.
    words_clean, words = sum(w for _, w in rows[:50]), sum(w for _, w in rows)
    influence = [(i < 50) * (m - clean * w) / words_clean - (m - whole * w) / words for i, (m, w) in enumerate(rows)]
    width = 2 * stats.Z * math.sqrt(sum(each * each for each in influence))
    assert found.difference.high - found.difference.low == pytest.approx(width, rel=0.1)
    # Both scores have an interval of +- 0.1.
    assert found.detectable == pytest.approx((stats.Z + stats.Z_POWER) * math.sqrt(2) * 0.1 / stats.Z)


def test_one_number_an_example_is_no_mean_by_itself() -> None:
    samples = [sample(name, value, metric="nats") for name, value in zip("abcd", (1.0, 2.0, 3.0, 4.0), strict=True)]
    difference = compared(samples, split("ab", "cd"), metric_name="nats", metric=Perplexity()).difference
    assert difference is not None
    assert difference.value == pytest.approx(math.exp(1.5) - math.exp(2.5))


def test_a_score_that_neither_is_a_mean_nor_follows_from_totals_is_refused() -> None:
    samples = [sample(name, value, metric="nats") for name, value in zip("abcd", (1.0, 2.0, 3.0, 4.0), strict=True)]
    with pytest.raises(TypeError, match=r"metric 'perplexity': .* needs score_totals"):
        compared(samples, split("ab", "cd"), metric_name="nats", metric=SlowPerplexity())


def test_samples_of_several_seeds_count_as_one_example_each() -> None:
    again = [replace(each, seed=1) for each in TEN]
    found, once = compared([*TEN, *again], TEN_SPLIT), compared(TEN, TEN_SPLIT)
    subsets = [(each.all, each.clean, each.dirty, each.unscanned) for each in (found, once)]
    assert [estimate.n for estimate in subsets[0] if estimate] == [10, 4, 5, 1]
    # Asked the same again, an example tells nothing new: the intervals are those of one seed, or little wider.
    for twice, alone in zip(*subsets, strict=True):
        assert twice is not None
        assert alone is not None
        assert twice.value == alone.value
        assert 0.95 < (twice.high - twice.low) / (alone.high - alone.low) < 1.25
    assert found.difference is not None
    assert found.difference.n == 10


def test_a_filter_stands_beside_the_metrics_name() -> None:
    samples = [sample(name, 1.0, metric="exact_match@strict") for name in "ab"]
    assert compared(samples, split("ab"), metric_name="exact_match@strict").metric == "exact match, strict"


def test_relative_differences_by_hand() -> None:
    assert relative_difference(0.6, 0.5) == pytest.approx(0.2)
    assert gpt3_table(0.6, 0.4) == pytest.approx(0.4)
    assert relative_difference(0.5, 0.0) is None
    assert gpt3_table(0.0, 0.0) is None


def explains(row: published.PublishedRow, formula: Callable[[float, float], float | None]) -> bool:
    """Whether some scores that round to the printed ones give a percentage that rounds to the printed one.

    Scores are printed with one decimal, so each lies within 0.05; both formulas grow with clean and fall with all, so
    the extremes are at two corners. Percentages are printed without decimals: within 0.5.
    """
    least, most = formula(row.clean - 0.05, row.all + 0.05), formula(row.clean + 0.05, row.all - 0.05)
    assert least is not None
    assert most is not None
    return 100 * least - 0.5 <= row.relative_percent <= 100 * most + 0.5


def test_published_relative_differences_are_those_of_gpt3_table() -> None:
    rows = published.load()
    assert len(rows) == 42
    assert [row.name for row in rows if not explains(row, gpt3_table)] == []
    assert [row.name for row in rows if not explains(row, relative_difference)] == ["Quac", "DROP"]


def test_published_counts_add_up_to_the_printed_percentages() -> None:
    for row in published.load():
        assert row.clean_count + row.dirty_count == row.total
        assert abs(100 * row.clean_count / row.total - row.clean_percent) <= 0.5


def test_published_proportions_are_those_of_their_parts() -> None:
    # all is the mean of dirty and clean by their counts; each of the three is printed within 0.05. BLEU is no mean.
    for row in published.load():
        if row.metric != "bleu-sb":
            parts = row.clean * row.clean_count + (row.dirty or 0.0) * row.dirty_count
            assert parts / row.total == pytest.approx(row.all, abs=0.1 + 1e-9), row.name


def test_published_table_is_in_the_papers_order_and_layout() -> None:
    rows = published.load()
    table = comparison_table.published_table(rows)
    assert [row[0] for row in table.rows] == [row.name for row in rows]
    drop = dict(zip(table.columns, table.rows[2], strict=True))
    assert list(drop.items())[:10] == [
        ("task", "DROP"),
        ("split", "dev"),
        ("metric", "f1"),
        ("N", 13),
        ("all", 36.5),
        ("n, all", 9536),
        ("dirty", 37.0),
        ("n, dirty", 8898),
        ("clean", 29.5),
        ("n, clean", 638),
    ]
    assert drop["clean, %"] == pytest.approx(6.690, abs=0.001)  # 638 / 9536
    assert drop["relative difference, %"] == pytest.approx(-21.212, abs=0.001)  # 200 * -7 / 66
    assert [row[6] for row in table.rows if row[0] == "Winogrande"] == [None]


def test_our_table_has_the_dirtiest_first_with_differences_and_flags() -> None:
    cleaner = replace(compared(*many(500, 1000, 80, 100)), title="Cleaner")
    dirtier = replace(compared(*many(100, 200, 800, 1000)), title="Dirtier")
    table = comparison_table.table([cleaner, dirtier], partitions={"quiz": "test"}, signatures=["quiz|v1"])
    first = dict(zip(table.columns, table.rows[0], strict=True))
    assert [row[0] for row in table.rows] == ["Dirtier", "Cleaner"]
    assert (first["split"], first["metric"], first["N"], first["shots"]) == ("test", "exact match, %", 13, 5)
    assert first["all"] == Estimate(75.0, *bounds(900, 1200), n=1200)
    assert (first["n, all"], first["n, dirty"], first["n, clean"]) == (1200, 1000, 200)
    assert first["clean, %"] == pytest.approx(100 * 200 / 1200)
    assert first["relative difference, %"] == pytest.approx(100 * (50 - 75) / 75)
    assert [row[-1] for row in table.rows] == ["†‡", "‡"]
    assert table.notes[0] == "Relative difference: 100 (clean - all) / all."
    assert [note for note in table.notes if note.startswith("† clean subset too small:")]
    assert table.notes[-1] == "quiz|v1"


def test_differences_stand_in_the_same_order_with_flags_in_words() -> None:
    cleaner = replace(compared(*many(500, 1000, 80, 100)), title="Cleaner")
    dirtier = replace(compared(*many(100, 200, 800, 1000)), title="Dirtier")
    table = comparison_table.difference_table([cleaner, dirtier])
    assert [row[0] for row in table.rows] == ["Dirtier", "Cleaner"]
    first = dict(zip(table.columns, table.rows[0], strict=True))
    difference = first["clean - all"]
    assert isinstance(difference, Estimate)
    assert difference.value == pytest.approx(-25)
    assert first["n, unscanned"] == 0
    assert first["flags"] == "clean subset too small; significantly worse on clean"


def bounds(successes: int, n: int) -> tuple[float, float]:
    estimate = stats.wilson(successes, n=n)
    return round(100 * estimate.low, 10), round(100 * estimate.high, 10)


def test_the_relative_difference_of_the_paper_can_be_asked_for() -> None:
    table = comparison_table.table([compared(TEN, TEN_SPLIT)], relative="gpt3_table")
    cells = dict(zip(table.columns, table.rows[0], strict=True))
    assert cells["relative difference, %"] == pytest.approx(200 * (50 - 70) / (50 + 70))
    assert "split" not in table.columns
    assert "Table C.1" in table.notes[0]


@pytest.mark.parametrize(
    "table",
    [
        comparison_table.published_table(published.load()),
        comparison_table.table([compared(TEN, TEN_SPLIT), compared(TEN, split("", "abcdefghij"))]),
    ],
)
def test_every_renderer_shows_both_tables(table: Table) -> None:
    forms = markdown.render(table), csv.render(table), latex.render(table), "".join(page.render(Page("t", (table,))))
    assert all("relative" in form for form in forms)

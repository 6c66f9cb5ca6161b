import random
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest

from evalkit.contamination import measures
from evalkit.contamination.measures import (
    Gpt3,
    HelmBinary,
    HelmJaccard,
    HelmToken,
    Llama2,
    LongestMatch,
    Measure,
    NgramRatio,
    Runs,
    TokenCoverage,
)
from evalkit.errors import UsageError

Run = tuple[int, int, int] | tuple[int, int, int, list[int]]  # start, length, document, and where it is known reach

ALL = [
    *(Gpt3(n) for n in (3, 5)),
    *(kind(n) for n in (3, 5) for kind in (NgramRatio, TokenCoverage, LongestMatch)),
    *(Llama2(n, skip) for n in (10, 12) for skip in (0, 4)),
    *(HelmBinary(n, most) for n in (3, 5) for most in (None, 2)),
    *(kind(n, weighted, most)
      for kind in (HelmJaccard, HelmToken) for n in (3, 5) for weighted in (False, True) for most in (None, 2)),
]  # fmt: skip


def make(words: int, runs: Sequence[Run], parts: Sequence[tuple[str, int]] | None = None) -> Runs:
    columns = np.array([run[:3] for run in runs], np.int64).reshape(-1, 3).T
    reach = [run[3] for run in runs if len(run) == 4]
    known = np.array(reach, np.int64).reshape(-1, 4) if len(reach) == len(runs) else None
    return Runs(words, tuple(parts or [("context", words)]), *columns, reach=known)


def reach(example: Sequence[int], document: Sequence[int], i: int, j: int) -> list[int]:
    """Follow a run word by word while 0 to 4 words may differ: words up to the last that is the same."""
    same = [a == b for a, b in zip(example[i:], document[j:], strict=False)]
    return [
        max(end for end in range(1, len(same) + 1) if same[end - 1] and same[:end].count(False) <= skip)
        for skip in range(1, 5)
    ]


def shared_runs(example: Sequence[int], documents: Sequence[Sequence[int]], least: int = 1) -> Runs:
    """Find all maximal runs by comparing every word with every word."""
    runs = []
    for number, document in enumerate(documents):
        for i in range(len(example)):
            for j in range(len(document)):
                if i and j and example[i - 1] == document[j - 1]:
                    continue
                length = 0
                while i + length < len(example) and j + length < len(document):
                    if example[i + length] != document[j + length]:
                        break
                    length += 1
                if length >= min(least, len(example)):
                    runs.append((i, length, number, reach(example, document, i, j)))
    return make(len(example), runs)


def random_corpus(seed: int) -> tuple[list[int], list[list[int]]]:
    """Draw an example of few distinct words, and documents that hold edited pieces of it."""
    draw = random.Random(f"measures {seed}")
    example = [draw.randrange(6) for _ in range(draw.randint(1, 40))]
    documents, rate = [], draw.choice((0.03, 0.08, 0.2))
    for _ in range(draw.randint(0, 4)):
        begin = draw.randrange(len(example)) // 3
        piece = example[begin : draw.randint(begin, len(example))] * draw.randint(1, 2)
        edited = [draw.randrange(6) if draw.random() < rate else word for word in piece]
        documents.append([*(draw.randrange(6) for _ in range(draw.randrange(4))), *edited])
    return example, documents


def occurrences(example: Sequence[int], documents: Sequence[Sequence[int]], n: int) -> list[int]:
    """Count each n-gram of the example in the documents, from the words alone."""
    n = min(n, len(example))
    grams = [tuple(document[j : j + n]) for document in documents for j in range(len(document) - n + 1)]
    return [grams.count(tuple(example[i : i + n])) for i in range(len(example) - n + 1)]


def naive_coverage(counts: Sequence[int], words: int) -> float:
    n = words - len(counts) + 1
    return sum(any(counts[max(0, word - n + 1) : word + 1]) for word in range(words)) / words


def naive_llama2(example: Sequence[int], documents: Sequence[Sequence[int]], *, n: int, skip: int) -> float:
    """Try every span of every diagonal against the rules of Llama 2, A.6."""
    covered: set[int] = set()
    prefix, least = min(10, len(example)), min(n, len(example))
    for document in documents:
        for diagonal in range(-len(document), len(example)):
            same = [
                0 <= i - diagonal < len(document) and example[i] == document[i - diagonal] for i in range(len(example))
            ]
            for begin in range(len(example)):
                for end in range(begin + least, len(example) + 1):
                    span = same[begin:end]
                    if all(span[:prefix]) and span[-1] and span.count(False) <= skip:
                        covered.update(range(begin, end))
    return len(covered) / len(example)


CORPORA = [shared_runs(*random_corpus(seed)) for seed in range(40)]

# 20 words, in two runs of document 0 (words 0..9 and 10..14 of places far apart) and one of document 1 (words 2..5).
TWENTY = make(20, [(0, 10, 0, [10] * 4), (10, 5, 0, [5] * 4), (2, 4, 1, [4] * 4)])


@pytest.mark.parametrize(
    ("measure", "value"),
    [
        (Gpt3(10), 1.0),
        (Gpt3(11), 0.0),
        (NgramRatio(8), 3 / 13),  # 8-grams at words 0, 1, 2 of 13
        (NgramRatio(5), 7 / 16),  # 5-grams at words 0..5 and at 10; none runs over the seam of the two runs
        (TokenCoverage(8), 10 / 20),
        (TokenCoverage(5), 15 / 20),
        (LongestMatch(8), 10 / 20),
        (LongestMatch(11), 0.0),
        (Llama2(10, 0), 10 / 20),
        (HelmBinary(5), 1.0),
        (HelmBinary(11), 0.0),
        (HelmJaccard(5), 7 / 16),
        # 4-grams: at words 0..6 (the one at 2 twice), 10, 11
        (HelmJaccard(4, weighted=True), (8 + 1 / 2) / 17),
        (HelmJaccard(4, most=1), 8 / 17),
        (HelmToken(5), 15 / 20),
    ],
    ids=lambda each: f"{each:.3f}" if isinstance(each, float) else measures.tag(each),
)
def test_measures_of_twenty_words_are_as_counted_by_hand(measure: Measure, value: float) -> None:
    assert measure.value(TWENTY) == pytest.approx(value)


def test_helm_tokens_weigh_by_the_fewest_occurrences_met_in_a_stretch() -> None:
    # 2-grams of 6 words occur 3, 3, 1, 0, 0 times: words 0 and 1 are worth 1/3 each, words 2 and 3 are worth 1.
    runs = make(6, [(0, 3, 0), (0, 3, 1), (0, 4, 2)])
    assert measures.ngram_counts(runs, 2).tolist() == [3, 3, 1, 0, 0]
    assert HelmToken(2, weighted=True).value(runs) == pytest.approx((1 / 3 + 1 / 3 + 1 + 1) / 6)


def test_helm_tokens_keep_a_stretch_once_it_is_rare_enough() -> None:
    # 2-grams occur 3, 1, 3, 3, 0 times. With at most 1, the first does not count; the second does, and carries those
    # that follow it: words 1..4 are covered, each worth 1.
    runs = make(6, [(0, 2, 0), (0, 2, 0), (0, 5, 0), (2, 3, 1), (2, 3, 2)])
    assert measures.ngram_counts(runs, 2).tolist() == [3, 1, 3, 3, 0]
    assert HelmToken(2, most=1).value(runs) == pytest.approx(4 / 6)
    assert HelmToken(2, weighted=True, most=1).value(runs) == pytest.approx(4 / 6)


def test_helm_tokens_start_anew_after_an_uncovered_word() -> None:
    # 2-grams occur 1, 0, 0, 2, 0 times: words 0 and 1 are worth 1, word 2 nothing, words 3 and 4 a half.
    runs = make(6, [(0, 2, 0), (3, 2, 1), (3, 2, 2)])
    assert HelmToken(2, weighted=True).value(runs) == pytest.approx((1 + 1 + 1 / 2 + 1 / 2) / 6)


@pytest.mark.parametrize("seed", range(60))
@pytest.mark.parametrize("n", [2, 3, 5])
def test_measures_equal_a_count_of_words(seed: int, n: int) -> None:
    example, documents = random_corpus(seed)
    runs = shared_runs(example, documents, least=2)
    counts = occurrences(example, documents, n)
    assert measures.ngram_counts(runs, n).tolist() == counts
    assert Gpt3(n).value(runs) == HelmBinary(n).value(runs) == float(any(counts))
    assert NgramRatio(n).value(runs) == HelmJaccard(n).value(runs) == sum(map(bool, counts)) / len(counts)
    assert TokenCoverage(n).value(runs) == pytest.approx(naive_coverage(counts, len(example)))
    assert HelmToken(n).value(runs) == pytest.approx(naive_coverage(counts, len(example)))
    assert HelmBinary(n, most=2).value(runs) == float(any(0 < count <= 2 for count in counts))
    rare = [1 / count for count in counts if 0 < count <= 2]
    assert HelmJaccard(n, weighted=True, most=2).value(runs) == pytest.approx(sum(rare) / len(counts))
    longest = max((k for k in range(1, len(example) + 1) if any(occurrences(example, documents, k))), default=0)
    found = longest / len(example) if longest >= min(n, len(example)) else 0.0
    assert LongestMatch(n).value(runs) == pytest.approx(found)


@pytest.mark.parametrize("seed", range(60))
@pytest.mark.parametrize(("n", "skip"), [(10, 0), (10, 4), (14, 1), (20, 4)])
def test_llama2_is_exact_where_all_runs_are_kept(seed: int, n: int, skip: int) -> None:
    example, documents = random_corpus(seed)
    runs = shared_runs(example, documents)
    assert Llama2(n, skip).value(runs) == pytest.approx(naive_llama2(example, documents, n=n, skip=skip))


@pytest.mark.parametrize("seed", range(60))
def test_llama2_needs_no_run_below_its_first_ten_words(seed: int) -> None:
    example, documents = random_corpus(seed)
    stored = Llama2(12, 4).value(shared_runs(example, documents, least=10))
    assert stored == pytest.approx(naive_llama2(example, documents, n=12, skip=4))


@pytest.mark.parametrize(
    ("skip", "covered"),
    [(0, 0), (1, 22), (2, 22), (3, 31), (4, 40)],
)
def test_llama2_spans_spend_the_budget(skip: int, covered: int) -> None:
    # Ten words, then as far as the document goes on with 1, 2, 3 and 4 words that differ; spans have 20 words or more.
    runs = make(50, [(0, 10, 0, [22, 22, 31, 40])])
    assert Llama2(20, skip).value(runs) == pytest.approx(covered / 50)


def test_llama2_spans_begin_with_ten_words_that_are_the_same() -> None:
    assert Llama2(20, 4).value(make(50, [(0, 9, 0, [40] * 4)])) == 0


def test_llama2_says_that_skipping_needs_spans_to_be_followed() -> None:
    runs = make(20, [(0, 12, 0)])
    assert Llama2(10, 0).value(runs) == 12 / 20
    with pytest.raises(UsageError, match=r"llama2\(n=10,skip=0\)"):
        Llama2(10, 4).value(runs)


@pytest.mark.parametrize("measure", ALL, ids=measures.tag)
class TestEveryMeasure:
    def test_is_0_without_runs(self, measure: Measure) -> None:
        assert measure.value(make(20, [])) == 0

    @pytest.mark.parametrize("words", [1, 4, 9, 30])
    def test_is_1_for_a_copy(self, measure: Measure, words: int) -> None:
        assert measure.value(make(words, [(0, words, 0, [words] * 4)])) == 1

    def test_of_a_short_example_ignores_what_is_less_than_all_of_it(self, measure: Measure) -> None:
        runs = make(3, [(0, 2, 0, [2] * 4), (1, 2, 1, [2] * 4)])
        assert measure.value(runs) == 0

    def test_lies_in_0_to_1_and_depends_on_no_order(self, measure: Measure) -> None:
        for runs in CORPORA:
            order = np.random.default_rng(runs.words).permutation(len(runs.start))
            value = measure.value(runs)
            assert 0 <= value <= 1
            assert measure.value(runs.choose(order)) == pytest.approx(value)

    def test_can_be_named_and_found_again(self, measure: Measure) -> None:
        assert measures.find(measures.tag(measure), ngram=13, stored=1) == measure


@pytest.mark.parametrize("kind", [Gpt3, NgramRatio, TokenCoverage, LongestMatch, HelmToken])
def test_longer_ngrams_never_find_more(kind: type[NgramRatio]) -> None:
    for runs in CORPORA:
        values = [kind(n).value(runs) for n in range(1, runs.words + 1)]
        # The share of n-grams may rise where those not found leave its denominator; the number of those found falls.
        if kind is NgramRatio:
            values = [value * (runs.words - n + 1) for n, value in enumerate(values, start=1)]
        assert all(b <= a + 1e-9 for a, b in pairwise(values))


@pytest.mark.parametrize(
    "measure", [each for each in ALL if each.mean_is_share and getattr(each, "most", None) is None], ids=measures.tag
)
def test_runs_found_again_change_nothing_where_occurrences_do_not_count(measure: Measure) -> None:
    for runs in CORPORA:
        twice = runs.choose(np.arange(len(runs.start)).repeat(2))
        assert measure.value(twice) == measure.value(runs)


@pytest.mark.parametrize(
    ("measure", "threshold"),
    [
        (NgramRatio(), 0.7),  # PaLM: 70 % of all 8-grams (Llama 2, A.6)
        (Llama2(), 0.2),  # Llama 2, A.6: clean below 20 %
        (Gpt3(13), 1.0),
        (TokenCoverage(), None),  # Llama 3, 5.1.4: chosen for each dataset
        (LongestMatch(), None),
    ],
)
def test_thresholds_are_the_published_ones(measure: Measure, threshold: float | None) -> None:
    assert measure.threshold == threshold


@pytest.mark.parametrize(
    ("text", "measure"),
    [
        ("gpt3", Gpt3(9)),  # the task's N
        ("gpt3(n=8)", Gpt3(8)),
        ("ngram-ratio", NgramRatio(8)),
        (" llama2( n=40, skip=0 ) ", Llama2(40, 0)),
        ("helm-token(n=9,weighted=true,most=10)", HelmToken(9, weighted=True, most=10)),
        ("helm-jaccard(weighted=false)", HelmJaccard()),
    ],
)
def test_find_reads_a_measure(text: str, measure: Measure) -> None:
    assert measures.find(text, ngram=9, stored=8) == measure


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ngram-rato", "did you mean 'ngram-ratio'"),
        ("ngram-ratio(m=8)", "unknown setting 'm'"),
        ("ngram-ratio(n=0)", "found n=0, expected a whole number above 0"),
        ("ngram-ratio(n=-8)", "expected a whole number"),
        ("ngram-ratio(n)", "expected a whole number"),
        ("ngram-ratio(n=1001)", "found n=1001, expected 1000 or less"),
        (f"ngram-ratio(n={'9' * 5000})", "expected a whole number above 0 of nine digits"),
        ("ngram-ratio(n=8,n=9)", "found n twice"),
        ("helm-token(most=0)", "found most=0"),
        ("helm-token(weighted=1)", "expected true or false"),
        ("llama2(n=9)", "expected 10 or more"),
        ("llama2(skip=5)", "found skip=5, expected 0 to 4"),
        ("helm-binary(n=5)", r"helm-binary\(n=5\): counts runs of 5 words, but the scan kept those of 8"),
        ("", "unknown measure"),
        ("gpt3(", "unknown measure"),
    ],
)
def test_find_says_what_is_wrong(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        measures.find(text, ngram=13, stored=8)


def test_llama2_needs_short_runs_for_skipping_alone() -> None:
    measures.check(Llama2(40, 0), stored=13)
    with pytest.raises(UsageError, match="give skip=0"):
        measures.check(Llama2(40, 4), stored=13)


@pytest.mark.parametrize(
    ("run", "parts"),
    [
        ((0, 4, 0), ("context",)),
        ((3, 2, 0), ("context", "question")),
        ((0, 10, 0), ("context", "question", "answer")),
        ((7, 3, 0), ("answer",)),
        ((6, 2, 0), ("question", "answer")),  # the passage between them has no words
    ],
)
def test_touched_parts_are_named_in_reading_order(run: Run, parts: tuple[str, ...]) -> None:
    runs = make(10, [run], [("context", 4), ("question", 3), ("passage", 0), ("answer", 3)])
    assert measures.touched_parts(runs) == parts


def test_no_run_touches_no_part() -> None:
    assert measures.touched_parts(make(10, [])) == ()


@pytest.mark.parametrize("run", [(-1, 3, 0), (8, 3, 0), (0, 0, 0)])
def test_runs_lie_inside_the_example(run: Run) -> None:
    with pytest.raises(ValueError, match="not inside"):
        make(10, [run])


def test_parts_make_up_the_example() -> None:
    with pytest.raises(ValueError, match="of an example of 10 words"):
        make(10, [], [("context", 9)])

from collections.abc import Sequence

import numpy as np
import pytest

from evalkit.contamination.boilerplate import document_counts, without_boilerplate
from evalkit.contamination.measures import Gpt3, Runs
from tests.test_measures import make, random_corpus, shared_runs

# Words 20..34 of an example of 60 words are a licence that 11 documents hold.
LICENCE = [(20, 15, document) for document in range(11)]


def left(words: int, runs: Sequence[tuple[int, int, int]], n: int = 13, cap: int = 10) -> list[tuple[int, int, int]]:
    filtered = without_boilerplate([make(words, runs)], n=n, cap=cap)
    (kept,) = filtered.runs
    assert filtered.dropped == len(runs) - len(kept.start)
    return list(zip(kept.start.tolist(), kept.length.tolist(), kept.document.tolist(), strict=True))


def test_what_many_documents_hold_is_dropped() -> None:
    assert left(60, LICENCE) == []


def test_what_as_many_documents_hold_as_the_cap_allows_stays() -> None:
    assert left(60, LICENCE[:10]) == LICENCE[:10]


def test_a_document_that_repeats_the_words_counts_once() -> None:
    runs = [(20, 15, 0)] * 30
    assert left(60, runs) == runs


@pytest.mark.parametrize(
    ("run", "is_kept"),
    [
        ((20, 16, 99), False),  # the licence and a common neighbour
        ((19, 17, 99), False),  # one at either end
        ((23, 13, 99), False),  # twelve words of it and a neighbour: a 13-gram that no other document has
        ((9, 26, 99), False),  # 11 words before all 15 of the licence
        ((5, 30, 99), True),  # 15 words before it: half the run
        ((7, 28, 99), True),  # 13 words before it: an n-gram of their own
        ((8, 27, 99), False),  # 12
        ((0, 60, 99), True),  # the whole example
        ((14, 12, 99), True),  # 6 words outside, 6 inside
        ((40, 13, 99), True),  # elsewhere
    ],
)
def test_a_run_goes_with_the_boilerplate_that_makes_it_up(run: tuple[int, int, int], is_kept: bool) -> None:
    assert (run in left(60, [*LICENCE, run])) is is_kept


def test_border_ngrams_leave_no_example_dirty() -> None:
    # 200 documents hold the licence; ten of them share one neighbour of it besides, which an n-gram cap lets pass.
    runs = make(60, [(20, 16 if document < 10 else 15, document) for document in range(200)])
    (kept,) = without_boilerplate([runs], n=13).runs
    assert Gpt3(13).value(runs) == 1
    assert Gpt3(13).value(kept) == 0


def test_a_short_example_is_one_ngram() -> None:
    assert left(9, [(0, 9, document) for document in range(11)]) == []
    assert left(9, [(0, 8, document) for document in range(11)]) != []


def test_examples_are_filtered_each_on_its_own() -> None:
    first, second = make(60, LICENCE), make(60, LICENCE[:6])
    filtered = without_boilerplate([first, second, make(60, [])], n=13)
    assert [len(runs.start) for runs in filtered.runs] == [0, 6, 0]
    assert filtered.dropped == 11


def naive_rule(runs: Runs, *, n: int, cap: int) -> list[bool]:
    """Apply the three steps of the rule word by word."""
    n = min(n, runs.words)
    spans = list(zip(runs.start.tolist(), (runs.start + runs.length).tolist(), runs.document.tolist(), strict=True))
    capped: set[int] = set()
    for gram in range(runs.words - n + 1):
        if len({document for begin, end, document in spans if begin <= gram and gram + n <= end}) > cap:
            capped.update(range(gram, gram + n))
    kept = []
    for begin, end, _ in spans:
        inside = [word in capped for word in range(begin, end)]
        has_ngram = any(not any(inside[i : i + n]) for i in range(len(inside) - n + 1))
        kept.append(has_ngram or sum(inside) <= len(inside) / 2)
    return kept


@pytest.mark.parametrize("seed", range(60))
@pytest.mark.parametrize(("n", "cap"), [(2, 0), (3, 1), (4, 2), (8, 1)])
def test_the_rule_equals_its_description(seed: int, n: int, cap: int) -> None:
    runs = shared_runs(*random_corpus(seed), least=2)
    (kept,) = without_boilerplate([runs], n=n, cap=cap).runs
    wanted = runs.choose(np.array(naive_rule(runs, n=n, cap=cap), bool))
    assert kept.start.tolist() == wanted.start.tolist()
    assert kept.document.tolist() == wanted.document.tolist()


@pytest.mark.parametrize("seed", range(60))
@pytest.mark.parametrize("n", [2, 3, 6])
def test_documents_are_counted_from_the_words(seed: int, n: int) -> None:
    example, documents = random_corpus(seed)
    size = min(n, len(example))
    grams = [{tuple(each[j : j + size]) for j in range(len(each) - size + 1)} for each in documents]
    wanted = [sum(tuple(example[i : i + size]) in each for each in grams) for i in range(len(example) - size + 1)]
    assert document_counts(shared_runs(example, documents, least=2), n).tolist() == wanted

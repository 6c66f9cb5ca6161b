"""Boilerplate: runs that lie mostly in spans of words which many documents hold, such as licences and idioms.

GPT-3's training filter ignored 13-grams in more than 10 documents (Brown 2020, Appendix C). Taken n-gram by n-gram that
leaves the borders: twelve words of boilerplate and one common neighbour are an n-gram of their own, in few documents.
So the cap is applied to spans here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evalkit.contamination.measures import Runs, covered_words

CAP = 10  # documents (Brown 2020, Appendix C)


@dataclass(frozen=True, slots=True)
class Filtered:
    """What is left of some examples' runs without boilerplate."""

    runs: tuple[Runs, ...]  # one for each example, in their order
    dropped: int  # runs, over all examples


def without_boilerplate(runs_by_example: Sequence[Runs], *, n: int, cap: int = CAP) -> Filtered:
    """Drop the runs that are boilerplate; those that are not stay whole.

    The rule, for each example on its own:
    1. An n-gram is capped if runs show it in more than `cap` distinct documents. An example shorter than n words is one
       n-gram.
    2. The capped span is every word of a capped n-gram.
    3. A run is boilerplate if more than half of its words are in capped spans, and the words outside them nowhere make
       n in a row (or, in an example shorter than n, the whole example).
    So `boilerplate + a common neighbour` is dropped, and a copy of the example around the boilerplate stays. An example
    that more than `cap` documents copy whole is dropped too, as by GPT-3's filter: the cap is for cleaning a corpus,
    and GPT-3's analysis of scores goes without. All occurrences of at least n words must be among the runs.
    """
    kept = tuple(runs.choose(~_is_boilerplate(runs, n, cap)) for runs in runs_by_example)
    before, after = (sum(len(runs.start) for runs in each) for each in (runs_by_example, kept))
    return Filtered(kept, before - after)


def document_counts(runs: Runs, n: int) -> NDArray[np.int64]:
    """Count the distinct documents that hold each of the example's n-grams, (words - n + 1,); see `ngram_counts`."""
    n = min(n, runs.words)
    grams = runs.words - n + 1
    long = runs.length >= n
    if not long.any():
        return np.zeros(grams, np.int64)
    # A line for each document, laid end to end: overlapping stretches of one document are joined, so each counts once.
    _, line = np.unique(runs.document[long], return_inverse=True)
    start = runs.start[long] + line * (grams + 1)
    end = start + runs.length[long] - n + 1
    order = np.argsort(start, kind="stable")
    start, end = start[order], np.maximum.accumulate(end[order])
    is_first = np.append(True, start[1:] > end[:-1])
    is_last = np.append(is_first[1:], True)
    begins, ends = start[is_first] % (grams + 1), end[is_last] % (grams + 1)
    edges = np.bincount(begins, minlength=grams + 1) - np.bincount(ends, minlength=grams + 1)
    return np.cumsum(edges)[:grams]


def _is_boilerplate(runs: Runs, n: int, cap: int) -> NDArray[np.bool_]:
    n = min(n, runs.words)
    capped = np.flatnonzero(document_counts(runs, n) > cap)
    is_capped = covered_words(runs.words, capped, capped + n)  # (words,)
    until = np.append(0, np.cumsum(is_capped))  # capped words before each word
    start, end = runs.start, runs.start + runs.length
    is_mostly: NDArray[np.bool_] = 2 * (until[end] - until[start]) > runs.length
    free = np.diff(np.concatenate([[0], ~is_capped, [0]]).astype(np.int64))
    longest = np.zeros(len(start), np.int64)  # words in a row outside capped spans
    for begin, stop in zip(np.flatnonzero(free == 1), np.flatnonzero(free == -1), strict=True):
        longest = np.maximum(longest, np.minimum(end, stop) - np.maximum(start, begin))
    return is_mostly & (longest < n)

"""The longest match of each example so far, and the bytes around it."""

from __future__ import annotations

import numpy as np
from numba import njit

SCORE, DOCUMENT, ROW = 0, 1, 2  # columns of `best`
UNCHANGED = -1  # as a row
NUMBERS = 7  # of a match that was taken: example, word in it, words, document, begin and end in its text, bytes of that
PIECES = 3  # before the run, the run, after it


@njit(nogil=True, cache=True)
def update(found, numbers, needed, best, changed):
    """Hold new matches (M, matches.FIELDS) against the best of each example (E, 3): gives how many have a better one.

    These are written to the front of `changed` (E,), and the row of their new match to ROW, which `take` sets back.
    Documents are places in `numbers`. Longer matches are better, of equal ones those at an earlier word, then those in
    an earlier document. What does not make its example dirty, with `needed` words (E,), is passed over.
    """
    count = 0
    for row in range(len(found)):
        example = found[row, 0]
        if found[row, 2] < needed[example]:
            continue
        score = (found[row, 2] << 32) - found[row, 1]
        document = numbers[found[row, 3]]
        before = best[example, SCORE]
        if score > before or (score == before and document < best[example, DOCUMENT]):
            if best[example, ROW] == UNCHANGED:
                changed[count] = example
                count += 1
            best[example, SCORE] = score
            best[example, DOCUMENT] = document
            best[example, ROW] = row
    return count


@njit(nogil=True, cache=True)
def narrow(data, begin, end, margin):
    """Tell how many of some bytes are enough for `margin` characters: that many where all are ASCII, else all."""
    for at in range(begin, end):
        if data[at] >= 0x80:
            return end - begin
    return min(end - begin, margin)


@njit(nogil=True, cache=True)
def take(found, texts, best, changed, margin, half):
    """Take the C matches that `changed` lists, with the bytes around them: (C, NUMBERS), where pieces end, the pieces.

    Of text before and after, four bytes for each of `margin` characters or fewer; of a run longer than 2 * `half` bytes
    the first and the last `half`.
    """
    data, offsets = texts
    numbers = np.empty((len(changed), NUMBERS), np.int64)
    spans = np.empty((len(changed), 2 * (PIECES + 1)), np.int64)
    for i in range(len(changed)):
        example = changed[i]
        row = found[best[example, ROW]]
        best[example, ROW] = UNCHANGED
        first, last = offsets[row[3]], offsets[row[3] + 1]
        begin, end = first + row[4], first + row[5]
        numbers[i, 0], numbers[i, 1], numbers[i, 2] = example, row[1], row[2]
        numbers[i, 3], numbers[i, 4], numbers[i, 5] = best[example, DOCUMENT], row[4], row[5]
        numbers[i, 6] = last - first
        is_long = end - begin > 2 * half
        spans[i, 0] = begin - narrow(data, max(first, begin - 4 * margin), begin, margin)
        spans[i, 1], spans[i, 2] = begin, begin
        spans[i, 3] = begin + half if is_long else end
        spans[i, 4] = end - half if is_long else end
        spans[i, 5], spans[i, 6] = end, end
        spans[i, 7] = end + narrow(data, end, min(last, end + 4 * margin), margin)
    total = np.int64(0)
    for i in range(len(changed)):
        for j in range(0, 8, 2):
            total += spans[i, j + 1] - spans[i, j]
    pieces = np.empty(total, np.uint8)
    edges = np.zeros(PIECES * len(changed) + 1, np.int64)
    at, edge = np.int64(0), 1
    for i in range(len(changed)):
        for j in range(0, 8, 2):
            for byte in range(spans[i, j], spans[i, j + 1]):
                pieces[at] = data[byte]
                at += 1
            if j != 2:  # the second span of a run belongs to its first
                edges[edge] = at
                edge += 1
    return numbers, edges, pieces


@njit(nogil=True, cache=True)
def choose(numbers, edges, pieces, order):
    """Give some of the matches that `take` gave, in this order and its form."""
    chosen = numbers[order]
    ends = np.zeros(PIECES * len(order) + 1, np.int64)
    edge = 1
    for i in order:
        for j in range(PIECES * i, PIECES * (i + 1)):
            ends[edge] = ends[edge - 1] + edges[j + 1] - edges[j]
            edge += 1
    text = np.empty(ends[-1], np.uint8)
    for place in range(len(order)):
        first = edges[PIECES * order[place]]
        at = ends[PIECES * place]
        for byte in range(ends[PIECES * (place + 1)] - at):
            text[at + byte] = pieces[first + byte]
    return chosen, ends, text

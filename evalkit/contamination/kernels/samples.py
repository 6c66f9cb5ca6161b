"""The shingles of documents whose hash is small enough: the same ones of every text that holds them.

Whether a shingle is sampled depends on its words alone, so two texts are compared by what was sampled of each: a
FracMinHash (Irber and others 2022).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from evalkit.contamination.kernels.octets import ZERO, U
from evalkit.contamination.kernels.words import MIX, split

MIX_AGAIN = U(0xC2B2AE3D27D4EB4F)


class Sampling(NamedTuple):
    """Which shingles are taken."""

    shingle: int  # words
    power: np.uint64  # BASE to the power of `shingle`
    seed: np.uint64
    skipped: np.uint64  # bits; a shingle is taken where so many of its mixed hash, from the top, are zero
    stretch: int  # shingles of a document that make a place


class Taken(NamedTuple):
    """Room for the shingles that are taken."""

    hashes: NDArray[np.uint64]  # mixed, without the bits that are zero in all of them: uniform again
    places: NDArray[np.uint32]
    stretches: NDArray[np.int64]  # (D,) places of each document


@njit(inline="always")
def mixed(value, seed):
    """Mix a hash until its top bits depend on all of it and on the seed."""
    value = (value ^ seed) * MIX
    value = (value ^ (value >> U(32))) * MIX_AGAIN
    return value ^ (value >> U(29))


@njit(nogil=True, cache=True)
def next_taken(prefix, sampling, i, last):
    """Give the first word, from i on and before `last`, whose shingle is taken, and its mixed hash; (last, 0) for none.

    It calls nothing, for the sake of speed: see words.split_plain.
    """
    kept = U(64) - sampling.skipped
    while i < last:
        value = mixed(prefix[i + sampling.shingle] - prefix[i] * sampling.power, sampling.seed)
        if kept == U(64) or value >> kept == ZERO:
            return i, value
        i += 1
    return last, ZERO


@njit(nogil=True, cache=True)
def sample(texts, first, fold, sampling, words, taken, count, place):
    """Take shingles of documents `first` and on, after the `count` taken before; places go on from `place`.

    Gives (documents done, count, place, room missing in `words`); stops before a document for which there is no room.
    """
    data, offsets = texts
    shingle = sampling.shingle
    limit = len(words.begin) // 2
    if limit < 8 * shingle:
        return first, count, place, 16 * shingle
    for document in range(first, len(offsets) - 1):
        kept = count
        begin, end, start, ahead = offsets[document], offsets[document + 1], np.int64(0), np.int64(0)
        while True:
            n, past = split(data, begin, end, fold, words, limit)
            if n < 0:
                return document, kept, place, -n
            last = max(0, n - shingle + 1)
            i, value = next_taken(words.prefix, sampling, start, last)
            while i < last:
                if count == len(taken.hashes):
                    return document, kept, place, 0
                taken.hashes[count] = value << sampling.skipped
                taken.places[count] = place + (ahead + i) // sampling.stretch
                count += 1
                i, value = next_taken(words.prefix, sampling, i + 1, last)
            if past >= end:
                break
            # Never begin between words of one character.
            back = min(last, n - 1)  # with shingles of one word none is left over
            while back > 0 and words.begin[back] == words.begin[back - 1]:
                back -= 1
            begin, start, ahead = words.begin[back], last - back, ahead + back
        taken.stretches[document] = -(-(ahead + last) // sampling.stretch)
        place += taken.stretches[document]
    return len(offsets) - 1, count, place, 0


@njit(nogil=True, cache=True)
def mix_all(hashes, seed):
    """Mix hashes (S,) where they lie."""
    for i in range(len(hashes)):
        hashes[i] = mixed(hashes[i], seed)


@njit(nogil=True, cache=True)
def sort(hashes, least, shift, ends):
    """Sort uniform hashes (S,), of which none is below `least`, and give where each stood; equal ones stay in order.

    A hash goes to the bucket that its bits from `shift` on name, and from there to its place; `ends` is zero for each
    bucket, and one more. Numpy's stable sort takes three times as long.
    """
    for value in hashes:
        ends[np.int64((value - least) >> shift) + 1] += 1
    for i in range(1, len(ends)):
        ends[i] += ends[i - 1]
    found, order = np.zeros_like(hashes), np.zeros(len(hashes), np.int64)
    for i in range(len(hashes)):
        value = hashes[i]
        bucket = np.int64((value - least) >> shift)
        at = ends[bucket]
        ends[bucket] += 1
        found[at], order[at] = value, i
    for i in range(1, len(hashes)):
        value, place, at = found[i], order[i], i
        while at > 0 and found[at - 1] > value:
            found[at], order[at] = found[at - 1], order[at - 1]
            at -= 1
        found[at], order[at] = value, place
    return found, order

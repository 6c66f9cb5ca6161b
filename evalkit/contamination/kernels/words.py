"""The words of a text: for each the hash of all words up to it, where it lies, and where its folded form lies.

ASCII goes eight bytes at a time: 64 bytes give 64 bits that say which of them belong to a word, and words are where
bits change. A word with other characters takes the normaliser's table, code point by code point.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from evalkit.contamination.kernels.octets import (
    ALL,
    EVERY,
    HIGH,
    ONE,
    PADDING,
    ZERO,
    U,
    code_point,
    encode,
    is_ascii,
    load,
    lowest,
)
from evalkit.contamination.normalise import SEPARATOR, SEVERAL

LOW = EVERY * U(0x7F)
CASE = EVERY * U(0x20)  # sets the bit that makes ASCII letters small, and leaves digits as they are
FROM_A, PAST_Z = EVERY * U(0x80 - ord("a")), EVERY * U(0x7F - ord("z"))
FROM_0, PAST_9 = EVERY * U(0x80 - ord("0")), EVERY * U(0x7F - ord("9"))
GATHER = U(0x0102040810204080)  # collects the lowest bits of eight bytes in the highest byte
MIX = U(0x9E3779B97F4A7C15)
BASE = U(0xD6E8FEB86659FD93)  # of the polynomial that hashes n-grams


class Fold(NamedTuple):
    """A normaliser as the kernels take it."""

    swar: bool  # words of ASCII are runs of letters and digits, whatever their case
    single: NDArray[np.int32]  # see normalise.FoldTable
    several: NDArray[np.int32]


class Words(NamedTuple):
    """Room for the words of a text, reused from text to text."""

    prefix: NDArray[np.uint64]  # (W + 1,) hash of the first i words
    begin: NDArray[np.int64]  # (W,) first byte in the text
    end: NDArray[np.int64]  # (W,) byte after the last
    folded: NDArray[np.int64]  # (W,) place in `form`; -1 where the text's own bytes do, but for their case
    length: NDArray[np.int32]  # (W,) bytes of the folded form
    form: NDArray[np.uint8]  # folded forms of words that are not ASCII


def room(words: int, *, form: int) -> Words:
    """Make room for this many words, and for `form` bytes of those that are not ASCII."""
    return Words(
        np.zeros(words + 1, np.uint64),
        np.zeros(words, np.int64),
        np.zeros(words, np.int64),
        np.zeros(words, np.int64),
        np.zeros(words, np.int32),
        np.zeros(form, np.uint8),
    )


@njit(inline="always")
def in_words(x):
    """Say of eight bytes which are ASCII letters, ASCII digits or no ASCII: eight bits, the first byte lowest."""
    letter, digit = (x | CASE) & LOW, x & LOW
    found = ((letter + FROM_A) & ~(letter + PAST_Z)) | ((digit + FROM_0) & ~(digit + PAST_9)) | x
    return (((found & HIGH) >> U(7)) * GATHER) >> U(56)


@njit(inline="always")
def in_runs(x):
    """Say of eight bytes which are none of blank, tab and line ends, which separate words in every normaliser."""
    found = ZERO
    for i in range(8):
        byte = (x >> U(8 * i)) & U(0xFF)
        if byte != U(32) and byte != U(9) and byte != U(10) and byte != U(13):
            found |= ONE << U(i)
    return found


@njit(inline="always")
def mix(value, block):
    """Hash eight more bytes."""
    value = (value ^ block) * MIX
    return value ^ (value >> U(32))


@njit(inline="always")
def hash_bytes(data, begin, end, case):
    """Hash a folded word; `case` is CASE where the bytes are ASCII of either case."""
    value = ZERO
    while end - begin > 8:
        value = mix(value, load(data, begin) | case)
        begin += 8
    return mix(value, (load(data, begin) | case) & (ALL >> U(64 - 8 * (end - begin))))


@njit(inline="always")
def push(words, n, begin, end, folded, length, value):
    """Add a word; gives the new count."""
    words.prefix[n + 1] = words.prefix[n] * BASE + value
    words.begin[n] = begin
    words.end[n] = end
    words.folded[n] = folded
    words.length[n] = length
    return n + 1


@njit(nogil=True, cache=True)
def split_by_table(data, begin, end, fold, words, n, used):
    """Add the words of [begin, end) code point by code point; gives their new count and how much of `form` is used.

    There has to be room for a word a code point, and for the forms of all of them.
    """
    form = words.form
    first, start, past = used, begin, begin
    at = begin
    while at < end:
        code, size = code_point(data, at, end)
        becomes = fold.single[code]
        if becomes >= 0:
            if used == first:
                start = at
            used = encode(form, used, becomes)
            past = at + size
        elif becomes == SEPARATOR:
            if used > first:
                n = push(words, n, start, past, first, used - first, hash_bytes(form, first, used, ZERO))
                first = used
        elif becomes <= SEVERAL:
            place = SEVERAL - becomes
            for i in range(fold.several[place]):
                one = fold.several[place + 1 + i]
                if one != SEPARATOR:
                    if used == first:
                        start = at
                    used = encode(form, used, one)
                    past = at + size
                elif used > first:
                    n = push(words, n, start, past, first, used - first, hash_bytes(form, first, used, ZERO))
                    first = used
        at += size
    if used > first:
        n = push(words, n, start, past, first, used - first, hash_bytes(form, first, used, ZERO))
    return n, used


@njit(inline="always")
def add_run(data, begin, end, fold, words, n, used):
    """Add the words of a run of bytes: (their new count, how much of `form` is used).

    Where there is no room, the count is minus the bytes that `form` has to hold.
    """
    if fold.swar and is_ascii(data, begin, end):
        return push(words, n, begin, end, -1, end - begin, hash_bytes(data, begin, end, CASE)), used
    need = used + 3 * (end - begin) + PADDING  # no fold makes a code point more than three times as long
    if need > len(words.form) or n + (end - begin) >= len(words.begin):
        return -max(need, n + (end - begin) + 1), used
    return split_by_table(data, begin, end, fold, words, n, used)


@njit(nogil=True, cache=True)
def split(data, begin, end, fold, words, limit):
    """Fill `words` from a text: (their count, the byte to go on from).

    Stops after `limit` words, or a few more, and cuts none. Where there is no room the count is minus the bytes that
    `form` has to hold, and the words that there has to be room for beside `limit`.
    """
    n, used = 0, 0
    words.prefix[0] = ZERO
    inside, start = False, begin
    carry = ZERO
    at = begin
    while at < end:
        bits = ZERO
        for i in range(8):
            eight = load(data, at + 8 * i)
            bits |= (in_words(eight) if fold.swar else in_runs(eight)) << U(8 * i)
        if end - at < 64:
            bits &= (ONE << U(end - at)) - ONE
        edges = bits ^ ((bits << ONE) | carry)
        carry = bits >> U(63)
        while edges:
            place = at + lowest(edges)
            edges &= edges - ONE
            if inside:
                n, used = add_run(data, start, place, fold, words, n, used)
                if n < 0 or n >= limit:
                    return n, place
                inside = False
            else:
                start = place
                inside = True
        at += 64
    if inside:
        n, used = add_run(data, start, end, fold, words, n, used)
    return n, end

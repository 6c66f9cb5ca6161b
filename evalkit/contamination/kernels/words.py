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


@njit(nogil=True, cache=True)
def room(words, form):
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
def mix(value, block):
    """Hash eight more bytes."""
    value = (value ^ block) * MIX
    return value ^ (value >> U(32))


@njit(inline="always")
def hash_bytes(data, begin, end):
    """Hash a folded word."""
    value = ZERO
    while end - begin > 8:
        value = mix(value, load(data, begin))
        begin += 8
    return mix(value, (load(data, begin)) & (ALL >> U(64 - 8 * (end - begin))))


@njit(inline="always")
def hash_run(data, begin, end):
    """Hash a run of word bytes as ASCII of either case, and gather its high bits: none is set where it is ASCII."""
    value, seen = ZERO, ZERO
    while end - begin > 8:
        block = load(data, begin)
        seen |= block
        value = mix(value, block | CASE)
        begin += 8
    kept = ALL >> U(64 - 8 * (end - begin))
    block = load(data, begin) & kept
    return mix(value, block | (CASE & kept)), (seen | block) & HIGH


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
                n = push(words, n, start, past, first, used - first, hash_bytes(form, first, used))
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
                    n = push(words, n, start, past, first, used - first, hash_bytes(form, first, used))
                    first = used
        at += size
    if used > first:
        n = push(words, n, start, past, first, used - first, hash_bytes(form, first, used))
    return n, used


@njit(inline="always")
def is_plain(data, begin, end):
    """Whether all is ASCII or U+2000 to U+202F: blanks, dashes and quotes, which the table has for separators."""
    while begin < end:
        if data[begin] < 0x80:
            begin += 1
        elif begin + 2 < end and data[begin] == 0xE2 and data[begin + 1] == 0x80 and 0x80 <= data[begin + 2] < 0xB0:
            begin += 3
        else:
            return False
    return True


@njit(inline="always")
def add_plain(data, begin, end, words, n):
    """Add the words of a run that is plain."""
    while begin < end:
        place = begin
        while place < end and data[place] < 0x80:
            place += 1
        if place > begin:
            n = push(words, n, begin, place, -1, place - begin, hash_run(data, begin, place)[0])
        begin = place + 3
    return n


@njit(nogil=True, cache=True)
def split_plain(data, begin, end, words, n, limit):
    """Add words until a run of word bytes that is not plain: (count, where that run begins, byte after it).

    Where there is none before the end or the limit, it is empty. This stands apart from what handles such runs, since
    a call of that would slow the loop down fourfold, for nothing but the counting of references.
    """
    inside, start = False, begin
    carry = ZERO
    at = begin
    while at < end:
        bits = ZERO
        for i in range(8):
            bits |= in_words(load(data, at + 8 * i)) << U(8 * i)
        if end - at < 64:
            bits &= (ONE << U(end - at)) - ONE
        edges = bits ^ ((bits << ONE) | carry)
        carry = bits >> U(63)
        while edges:
            place = at + lowest(edges)
            edges &= edges - ONE
            if inside:
                value, high = hash_run(data, start, place)
                if high == ZERO:
                    n = push(words, n, start, place, -1, place - start, value)
                elif n + place - start < len(words.begin) and is_plain(data, start, place):
                    n = add_plain(data, start, place, words, n)
                else:
                    return n, start, place
                if n >= limit:
                    return n, place, place
                inside = False
            else:
                start = place
                inside = True
        at += 64
    if not inside:
        return n, end, end
    value, high = hash_run(data, start, end)
    if high:
        return n, start, end
    return push(words, n, start, end, -1, end - start, value), end, end


@njit(nogil=True, cache=True)
def end_of_run(data, at, end):
    """Give the first blank, tab or line end that follows another byte: all normalisers take them for separators."""
    at += 1
    while at < end and data[at] != 32 and data[at] != 9 and data[at] != 10 and data[at] != 13:
        at += 1
    return at


@njit(nogil=True, cache=True)
def split(data, begin, end, fold, words, limit):
    """Fill `words` from a text: (their count, the byte to go on from).

    Stops after `limit` words, or a few more, and cuts none. Where there is no room the count is minus the bytes that
    `form` has to hold, and the words that there has to be room for beside `limit`.
    """
    n, used = 0, 0
    words.prefix[0] = ZERO
    at = begin
    while at < end and n < limit:
        start = at
        if fold.swar:
            n, start, at = split_plain(data, at, end, words, n, limit)
            if start == at:
                continue
        else:
            at = end_of_run(data, start, end)
        need = used + 3 * (at - start) + PADDING  # no fold makes a code point more than three times as long
        if need > len(words.form) or n + (at - start) >= len(words.begin):
            return -max(need, n + (at - start) + 1), at
        n, used = split_by_table(data, start, at, fold, words, n, used)
    return n, at

"""The words of a text: for each the hash of all words up to it, where it lies, and where its folded form lies.

64 bytes give 64 bits that say which of them belong to a word of ASCII, and words are where bits change. A word with
other characters takes the normaliser's table, code point by code point; so does a stretch of text in another script.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from evalkit.contamination.kernels.octets import (
    ALL,
    EVERY,
    ONE,
    PADDING,
    WIDE,
    ZERO,
    U,
    among,
    below,
    beyond_ascii,
    code_point,
    count_ones,
    encode,
    load,
    lowest,
)
from evalkit.contamination.normalise import SEPARATOR, SEVERAL

CASE = EVERY * U(0x20)  # sets the bit that makes ASCII letters small, and leaves digits as they are
USUAL = 12  # words of 64 bytes
OTHER = 16  # bytes of 64 that are not ASCII where text is in another script
STRETCH = 512  # bytes that take the table at once, where more than a word does
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
    begin: NDArray[np.int64]  # (W,) first byte in the text; words of which one character has parts have one
    end: NDArray[np.int64]  # (W,) byte after the last
    folded: NDArray[np.int64]  # (W,) place in `form`; -1 where the text's own bytes do, but for their case
    length: NDArray[np.int32]  # (W,) bytes of that form; holds nothing where `folded` is -1
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
def in_words(data, at):
    """Say of 64 bytes which are ASCII letters or digits."""
    return among(data, at, 0x20, ord("a"), 26) | among(data, at, 0, ord("0"), 10)


@njit(inline="always")
def marks_begin(data, at, end):
    """Say at which of 64 bytes one of U+2000 to U+202F begins: blanks, dashes and quotes, separators in the table."""
    begins = among(data, at, 0, 0xE2, 1) & among(data, at + 1, 0, 0x80, 1) & among(data, at + 2, 0, 0x80, 0x30)
    return begins & below(end - 2 - at)


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
def hash_plain(data, begin, end):
    """Hash a word of ASCII letters and digits of either case."""
    value = ZERO
    while end - begin > 8:
        value = mix(value, load(data, begin) | CASE)
        begin += 8
    return mix(value, (load(data, begin) | CASE) & (ALL >> U(64 - 8 * (end - begin))))


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
    form, single, several = words.form, fold.single, fold.several
    first, start, past = used, begin, begin
    at = begin
    while at < end:
        code, size = code_point(data, at, end)
        becomes = single[code]
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
            for i in range(several[place]):
                one = several[place + 1 + i]
                if one != SEPARATOR:
                    # Two words that share a character begin at one place, where both can be read again.
                    if used == first and past <= at:
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
def up_to(bits, count):
    """Set all bits up to the `count`-th that is set."""
    for _ in range(count - 1):
        bits &= bits - ONE
    return bits ^ (bits - ONE)


@njit(inline="always")
def add_places(places, n, at, bits):
    """Write where bits are set, counted from `at`, after the first n places: gives the new n."""
    after = n + count_ones(bits)
    if n + USUAL <= len(places):
        # A fixed number, seldom less than there are, costs less than a loop whose end the machine cannot foresee.
        for i in range(USUAL):
            places[U(n + i)] = at + lowest(bits)  # no sign: an index that may be negative is compared with 0 each time
            bits &= bits - ONE
    while bits:
        places[after - count_ones(bits)] = at + lowest(bits)
        bits &= bits - ONE
    return after


@njit(nogil=True, cache=True)
def split_plain(data, begin, end, words, n, limit):
    """Add words until one that has other characters than ASCII: (count, where that begins, byte after it).

    What follows in another script belongs to it. Where there is none before the end or the limit, it is empty. This
    stands apart from what handles such words, since a call of that would slow the loop down fourfold, for nothing but
    the counting of references.
    """
    word_begin, word_end = words.begin, words.end
    first, begun = n, n  # words not yet hashed, and words whose beginning was seen
    open_word, open_marks = ZERO, ZERO  # what goes on from one block in the next
    odd, inside, ahead = ZERO, ZERO, ZERO
    at = begin
    while at < end and n < limit:
        inside = in_words(data, at) & below(end - at)
        high = beyond_ascii(data, at) & below(end - at)
        if high:
            marks = marks_begin(data, at, end)
            odd = high & ~(marks | (marks << ONE) | (marks << U(2)) | open_marks)
            open_marks = (marks >> U(63)) | (marks >> U(62))
            inside |= odd
        before = (inside << ONE) | open_word
        open_word = inside >> U(63)
        begins, ends = inside & ~before, before & ~inside
        if odd:
            ahead = up_to(odd, 1)
            begins, ends = begins & ahead, ends & ahead
        if n + count_ones(ends) >= limit:
            ahead, odd = up_to(ends, limit - n), ZERO
            begins, ends = begins & ahead, ends & ahead
        begun = add_places(word_begin, begun, at, begins)
        n = add_places(word_end, n, at, ends)
        if odd:
            break
        at += WIDE
    if begun > n and odd == ZERO:
        word_end[n] = end
        n += 1
    words.folded[first:n] = -1
    value = words.prefix[first]
    for i in range(U(first), U(n)):
        value = value * BASE + hash_plain(data, word_begin[i], word_end[i])
        words.prefix[i + ONE] = value
    if odd:
        start, past, step = word_begin[n], at + lowest(~(inside | ahead)), WIDE
        while past < end and step == WIDE:
            high = beyond_ascii(data, past)
            if count_ones(high) < OTHER or past - start > STRETCH:
                step = lowest(~(in_words(data, past) | high))
            past += step
        return n, start, min(past, end)
    at = word_end[n - 1] if n >= limit else end
    return n, at, at


@njit(nogil=True, cache=True)
def next_break(data, at, end):
    """Give the first blank, tab or line end from `at` on: all normalisers take them for separators."""
    while at < end and data[at] != 32 and data[at] != 9 and data[at] != 10 and data[at] != 13:
        at += 1
    return min(at, end)


@njit(nogil=True, cache=True)
def split(data, begin, end, fold, words, limit):
    """Fill `words` from a text: (their count, the byte to go on from).

    Stops after `limit` words, or a few more, and cuts none. Where there is no room the count is minus the bytes that
    `form` has to hold, and the words that there has to be room for beside `limit`.
    """
    n, used = np.int64(0), np.int64(0)  # of one type from the start: numba compiles callees for a plain 0 too
    words.prefix[0] = ZERO
    at = begin
    while at < end and n < limit:
        start = at
        if fold.swar:
            n, start, at = split_plain(data, at, end, words, n, limit)
            if start == at:
                continue
        else:
            at = next_break(data, start + STRETCH, end)
        need = used + 3 * (at - start) + PADDING  # no fold makes a code point more than three times as long
        if need > len(words.form) or n + (at - start) >= len(words.begin):
            return -max(need, n + (at - start) + 1), at
        n, used = split_by_table(data, start, at, fold, words, n, used)
    return n, at

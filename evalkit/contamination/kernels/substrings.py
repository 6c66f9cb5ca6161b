"""Substrings of a test set's letters and digits in those of a corpus (OpenAI 2023, GPT-4 Technical Report, appendix C).

What is kept of a text is UTF-8 again, and one UTF-8 text is part of another where its bytes are: so bytes are searched.
A substring is found by the hash of a window of its bytes, looked up in a bitmap first and in a table second; at last
all of its bytes are compared. Long substrings have windows at several places, so that not every byte is asked for.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from evalkit.contamination.kernels.matches import may_hold
from evalkit.contamination.kernels.octets import ALL, HIGH, ONE, PADDING, ZERO, U, code_point, load
from evalkit.contamination.kernels.words import MIX, mix

FIELDS = 5  # of a hit: example, which of its substrings, document, begin and end in its text


class Substrings(NamedTuple):
    """The substrings of a test set, and the windows that they are found by; S substrings."""

    examples: int  # of the test set, those without a substring too
    letters: NDArray[np.uint64]  # (0x110000 / 64,) a bit for each code point that is kept
    plain: NDArray[np.uint8]  # (128,) 1 for each of these that is ASCII
    text: NDArray[np.uint8]  # the substrings, one after the other
    edges: NDArray[np.int64]  # (S + 1,) where each begins in `text`
    example: NDArray[np.int32]  # (S,)
    which: NDArray[np.int32]  # (S,) its number among those of its example
    longest: int  # bytes of the longest, at least 1
    windows: NDArray[np.int64]  # (tiers, 2) bytes of a window, and bytes between two that are looked up
    shift: np.uint64  # of a mixed hash, to its bit in the bitmap
    bitmap: NDArray[np.uint64]
    keys: NDArray[np.uint64]  # open addressing; their number is a power of two
    slots: NDArray[np.int32]  # (keys, 2) where the places of a key begin and end; 0, 0 where there is no key
    places: NDArray[np.int32]  # (places, 2) substring, and the window's place in it: the later first, for each key


class Kept(NamedTuple):
    """The letters and digits of a stretch of text."""

    data: NDArray[np.uint8]  # UTF-8
    place: NDArray[np.int32]  # of each byte, counted from where the stretch begins


class Progress(NamedTuple):
    """Which substrings the document that is read has shown already."""

    read: NDArray[np.int64]  # (1,) documents begun
    seen: NDArray[np.int64]  # (S,) the last document with each substring, as `read` counted it


def room(size: int) -> Kept:
    """Make room for this many bytes that are kept."""
    return Kept(np.zeros(size + PADDING, np.uint8), np.zeros(size + PADDING, np.int32))


@njit(nogil=True, cache=True)
def keep(data, begin, end, letters, plain, kept):
    """Keep the letters and digits from `begin` on, as many as there is room for: (their bytes, the byte to go on from).

    Calls nothing that is not inlined: see words.split_plain.
    """
    limit = len(kept.data) - PADDING
    n, at = np.int64(0), begin
    while at < end and n < limit:
        if at + 8 <= end and load(data, at) & HIGH == ZERO:
            for i in range(8):
                byte = data[at + i]
                kept.data[n] = byte
                kept.place[n] = at + i - begin
                n += plain[byte]
            at += 8
            continue
        code, size = code_point(data, at, end)
        if (letters[code >> 6] >> U(code & 63)) & ONE:
            for i in range(size):
                kept.data[n + i] = data[at + i]
                kept.place[n + i] = at + i - begin
            n += size
        at += size
    return n, at


@njit(inline="always")
def hash_window(data, at, window):
    """Hash this many bytes."""
    value = U(window)
    while window >= 8:
        value = mix(value, load(data, at))
        at += 8
        window -= 8
    return mix(value, load(data, at) & (ALL >> U(64 - 8 * window))) if window else value


@njit(nogil=True, cache=True)
def next_candidate(index, data, window, stride, i, last):
    """Give the next byte, from i on in strides and before `last`, whose window has a hash of the table, and its key.

    Gives `last` and -1 where there is none. It calls nothing, for the sake of speed: see words.split_plain.
    """
    mask = U(len(index.keys) - 1)
    while i < last:
        value = hash_window(data, i, window)
        if may_hold(index, value * MIX):
            at = (value * MIX >> U(20)) & mask
            while index.slots[at, 1] != 0:
                if index.keys[at] == value:
                    return i, np.int64(at)
                at = (at + ONE) & mask
        i += stride
    return last, np.int64(-1)


@njit(nogil=True, cache=True)
def is_same(data, at, text, begin, end):
    """Whether the bytes at `at` are those of [begin, end)."""
    for i in range(end - begin):
        if data[at + i] != text[begin + i]:
            return False
    return True


@njit(nogil=True, cache=True)
def scan(texts, index, kept, progress, rows):
    """Find the first place of each substring in each document: (rows, count), with `rows` (M, FIELDS) grown to hold it.

    What is found in a document depends on that document and the substrings alone.
    """
    data, offsets = texts
    count = 0
    for document in range(len(offsets) - 1):
        progress.read[0] += 1
        read = progress.read[0]
        base, end = offsets[document], offsets[document + 1]
        begin = base
        while True:
            n, past = keep(data, begin, end, index.letters, index.plain, kept)
            for tier in range(len(index.windows)):
                window, stride = index.windows[tier, 0], index.windows[tier, 1]
                last = n - window + 1
                i, key = next_candidate(index, kept.data, window, stride, np.int64(0), last)
                while key >= 0:
                    for slot in range(index.slots[key, 0], index.slots[key, 1]):
                        j = index.places[slot, 0]
                        if progress.seen[j] == read:
                            continue
                        left = i - index.places[slot, 1]
                        right = left + index.edges[j + 1] - index.edges[j]
                        if left < 0 or right > n:
                            continue
                        if not is_same(kept.data, left, index.text, index.edges[j], index.edges[j + 1]):
                            continue
                        progress.seen[j] = read
                        if count == len(rows):
                            larger = np.zeros((2 * count, FIELDS), np.int64)
                            larger[:count] = rows
                            rows = larger
                        row = rows[count]
                        row[0] = index.example[j]
                        row[1] = index.which[j]
                        row[2] = document
                        row[3] = begin + kept.place[left] - base
                        row[4] = begin + kept.place[right - 1] + 1 - base
                        count += 1
                    i, key = next_candidate(index, kept.data, window, stride, i + stride, last)
            if past >= end:
                break
            # What crosses the end of this stretch lies in the next as a whole.
            back = n - index.longest
            while kept.data[back] & 0xC0 == 0x80:
                back -= 1
            begin += kept.place[back]
    return rows, count


@njit(nogil=True, cache=True)
def hash_windows(text, begin, window, hashes):
    """Hash the windows that begin at these bytes (N,) of a text, which PADDING bytes follow."""
    for i in range(len(begin)):
        hashes[i] = hash_window(text, begin[i], window)


@njit(nogil=True, cache=True)
def choose_windows(often, first, stride, chosen):
    """Choose for each substring the `stride` windows in a row that fewest others have; the first of those that tie.

    `often` (N,) says how many substrings have each window; those of substring s begin at first[s] (S + 1,).
    """
    for s in range(len(first) - 1):
        least = np.int64(-1)
        for at in range(first[s], first[s + 1] - stride + 1):
            total = np.int64(0)
            for i in range(stride):
                total += often[at + i]
            if least < 0 or total < least:
                least, chosen[s] = total, at - first[s]

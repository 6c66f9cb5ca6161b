"""Runs of words that documents and a test set share.

The hash of any n-gram is one multiplication and one subtraction of what `words` gives. It is looked up in a bitmap
first, in a table of the test set's n-grams second, and at last word by word: hashes find candidates, text decides.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from evalkit.contamination.kernels.octets import ONE, ZERO, U, below, fetch, load
from evalkit.contamination.kernels.words import BASE, CASE, MIX, room, split


class Index(NamedTuple):
    """The n-grams of a test set, and its words; E examples, W words of all of them."""

    probe: int  # words of the n-grams that are looked up
    stride: int  # words between two of them in a document
    power: np.uint64  # BASE to the power of `probe`
    shift: np.uint64  # of a mixed hash, to its bit in the bitmap
    bitmap: NDArray[np.uint64]
    keys: NDArray[np.uint64]  # open addressing; their number is a power of two
    slots: NDArray[np.int32]  # (keys, 2) where the places of a key begin and end; 0, 0 where there is no key
    places: NDArray[np.int32]  # words at which an n-gram of the table begins, by key
    values: NDArray[np.uint64]  # (W,) hash of each word
    form: NDArray[np.uint8]  # folded forms, one after the other, and PADDING
    edges: NDArray[np.int64]  # (W + 1,) where each word's form begins in `form`
    example: NDArray[np.int32]  # (W,) whose word it is
    first: NDArray[np.int32]  # (E + 1,) first word of each example
    least: NDArray[np.int32]  # (E,) words that a run must have to be kept
    needed: NDArray[np.int32]  # (E,) words that a run must have to make its example dirty
    longest: int  # words of the longest example


# Matches of one example that are kept of one shard, of those that make it dirty and of shorter ones each; beyond that,
# only longer ones than any before.
MOST = 256
NEAR = 1 << 17  # words of a bitmap that the processor's caches hold; of a larger one a probe is asked for ahead of time
AHEAD = U(24)  # probes
FIELDS = 7  # of a match: example, word in it, words, document, begin and end in its text, `reach`
SKIPS = 4  # words that may differ in a span, as in Llama 2


@njit(nogil=True, cache=True)
def same_words(data, words, i, index, j, count, step):
    """Count the words from i on, in steps of 1 or -1, that are those of the test set from j on, byte by byte.

    At most `count`. Arrays are taken out of their records first: in the loop that would count references.
    """
    begin, end, folded, length, form = words.begin, words.end, words.folded, words.length, words.form
    edges, known = index.edges, index.form
    for same in range(count):
        at, there = folded[i], edges[j]
        size = length[i] if at >= 0 else end[i] - begin[i]
        if size != edges[j + 1] - there:
            return same
        for done in range(0, size, 8):
            here = load(form, at + done) if at >= 0 else load(data, begin[i] + done) | CASE
            if (here ^ load(known, there + done)) & below(8 * (size - done)):
                return same
        i += step
        j += step
    return count


@njit(inline="always")
def second_bit(mixed):
    """Give the other bit of a mixed hash in its word of a bitmap, where each hash has two."""
    return ONE << ((mixed >> U(20)) & U(63))


@njit(inline="always")
def may_hold(index, mixed):
    """Whether the table may hold a mixed hash: its two bits are set, which lie in one word of the bitmap."""
    bit = mixed >> index.shift
    both = (ONE << (bit & U(63))) | second_bit(mixed)
    return index.bitmap[bit >> U(6)] & both == both


@njit(nogil=True, cache=True)
def next_candidate(index, prefix, i, last):
    """Give the next word, from i on in strides and before `last`, whose n-gram has a hash of the table, and its key.

    Gives `last` and -1 where there is none. It calls nothing, for the sake of speed: see words.split_plain.
    """
    probe, stride = U(index.probe), U(index.stride)
    mask = U(len(index.keys) - 1)
    is_far = len(index.bitmap) > NEAR
    for at in range(U(i), U(max(i, last)), stride):
        if is_far:
            later = min(at + AHEAD * stride, U(last - 1))
            fetch(index.bitmap, (prefix[later + probe] - prefix[later] * index.power) * MIX >> index.shift >> U(6))
        value = prefix[at + probe] - prefix[at] * index.power
        if may_hold(index, value * MIX):
            slot = (value * MIX >> U(20)) & mask
            while index.slots[slot, 1] != 0:
                if index.keys[slot] == value:
                    return np.int64(at), np.int64(slot)
                slot = (slot + ONE) & mask
    return last, np.int64(-1)


@njit(inline="always")
def may_be_kept(prefix, n, i, index, j):
    """Whether the n-gram at word i of a text and word j of the test set may lie in a run that is kept.

    Compares hashes, and no more words than it takes: most candidates are commonplaces that end with the n-gram.
    """
    example = index.example[j]
    missing = np.int64(index.least[example]) - index.probe
    behind = min(index.stride, i, j - index.first[example])
    at = 1
    while missing > 0 and at <= behind and prefix[i - at + 1] - prefix[i - at] * BASE == index.values[j - at]:
        missing -= 1
        at += 1
    ahead = min(n - i, index.first[example + 1] - j)
    at = index.probe
    while missing > 0 and at < ahead and prefix[i + at + 1] - prefix[i + at] * BASE == index.values[j + at]:
        missing -= 1
        at += 1
    return missing <= 0


@njit(inline="always")
def extend(data, words, n, i, index, j):
    """Extend the n-gram at word i of a text and word j of the test set to a maximal run.

    Gives the text's words [left, right), which are none where the words differ after all, or where the probe a stride
    before has found the run.
    """
    example = index.example[j]
    behind = min(index.stride, i, j - index.first[example])
    left = same_words(data, words, i - 1, index, j - 1, behind, -1)
    ahead = min(n - i, index.first[example + 1] - j) if left < index.stride else 0
    right = same_words(data, words, i, index, j, ahead, 1)
    return i - left, i + right if right >= index.probe else i - left


@njit(nogil=True, cache=True)
def reach(data, words, n, i, index, j, example):
    """Say how many words from i of a text and j of an example on continue a run when 1 to SKIPS of them may differ.

    The last of them is the same. SKIPS numbers of 16 bits, that of one word lowest.
    """
    left = min(n - i, index.first[example + 1] - j)
    packed, taken, best = ZERO, 0, 0
    for skip in range(SKIPS):
        taken += 1
        if taken < left:
            same = same_words(data, words, i + taken, index, j + taken, left - taken, 1)
            if same > 0:
                taken += same
                best = taken
        packed |= U(min(best, 0xFFFF)) << U(16 * skip)
    return np.int64(packed)


class Texts(NamedTuple):
    """Documents as Arrow holds strings: UTF-8, one after the other, PADDING bytes after the last."""

    data: NDArray[np.uint8]
    offsets: NDArray[np.int64]  # (D + 1,) where each begins, and the end


class Found(NamedTuple):
    """The matches of a shard so far; `rows` and `words` are replaced as they grow."""

    rows: NDArray[np.int64]  # (M, FIELDS), of which the first ones hold
    times: NDArray[np.int64]  # (E, 2) matches of each example, kept or not: too short to make it dirty, long enough
    longest: NDArray[np.int64]  # (E,) words of the longest match of each example


@njit(nogil=True, cache=True)
def scan(texts, fold, index, words, found, count):
    """Append the matches of all documents to those found before: (words, rows, count), grown where need was.

    A match is a maximal run of words that a document and an example share, of at least the example's `least` words.
    Beyond MOST of a kind and example a match is counted, and kept only if it is longer than all before.
    """
    data, offsets = texts
    rows = found.rows
    probe, stride = index.probe, index.stride
    least_room = 8 * (index.longest + probe + stride)
    if len(words.begin) < least_room:
        words = room(least_room, len(words.form))
    for document in range(len(offsets) - 1):
        base, end = offsets[document], offsets[document + 1]
        begin, start = base, np.int64(0)
        while True:
            n, past = split(data, begin, end, fold, words, len(words.begin) // 2)
            if n < 0:
                words = room(max(-2 * n, len(words.begin)), max(-2 * n, len(words.form)))
                continue
            is_last = past >= end
            # What begins later is left to the next piece, where all that an example can match follows it.
            core = n if is_last else (n - index.longest - probe) // stride * stride
            last = min(core, n - probe + 1)
            i, key = next_candidate(index, words.prefix, start, last)
            while key >= 0:
                for slot in range(index.slots[key, 0], index.slots[key, 1]):
                    j = index.places[slot]
                    example = index.example[j]
                    if not may_be_kept(words.prefix, n, i, index, j):
                        continue
                    left, right = extend(data, words, n, i, index, j)
                    if right - left < index.least[example]:
                        continue
                    kind = np.int64(right - left >= index.needed[example])
                    found.times[example, kind] += 1
                    if found.times[example, kind] > MOST and right - left <= found.longest[example]:
                        continue
                    found.longest[example] = max(found.longest[example], right - left)
                    if count == len(rows):
                        larger = np.zeros((2 * count, FIELDS), np.int64)
                        larger[:count] = rows
                        rows = larger
                    row = rows[count]
                    row[0] = example
                    row[1] = j - (i - left) - index.first[example]
                    row[2] = right - left
                    row[3] = document
                    row[4] = words.begin[left] - base
                    row[5] = words.end[right - 1] - base
                    row[6] = reach(data, words, n, right, index, j + right - i, example)
                    count += 1
                i, key = next_candidate(index, words.prefix, i + stride, last)
            if is_last:
                break
            # Begin a stride early, so that the next piece's first probe sees what the one before it has found; never
            # between words that share a character.
            back = core - stride
            while back > 0 and words.begin[back] == words.begin[back - 1]:
                back -= 1
            begin, start = words.begin[back], core - back
    return words, rows, count


class Gathered(NamedTuple):
    """The words of a test set, one after the other; W words in P parts."""

    values: NDArray[np.uint64]  # (W,) hash of each
    form: NDArray[np.uint8]  # folded forms
    edges: NDArray[np.int64]  # (W + 1,) where each form begins
    counts: NDArray[np.int64]  # (P,) words of each part


@njit(nogil=True, cache=True)
def gather(texts, fold, words, gathered):
    """Split all parts into words; `words` and `gathered` have room for what the longest and all of them hold."""
    data, offsets = texts
    total = np.int64(0)
    for part in range(len(offsets) - 1):
        n, _ = split(data, offsets[part], offsets[part + 1], fold, words, len(words.begin))
        for i in range(n):
            at = gathered.edges[total]
            folded = words.folded[i]
            length = words.length[i] if folded >= 0 else words.end[i] - words.begin[i]
            for byte in range(length):
                gathered.form[at + byte] = (
                    words.form[folded + byte] if folded >= 0 else data[words.begin[i] + byte] | 0x20
                )
            gathered.values[total] = words.prefix[i + 1] - words.prefix[i] * BASE
            total += 1
            gathered.edges[total] = at + length
        gathered.counts[part] = n


@njit(nogil=True, cache=True)
def hash_ngrams(values, n, hashes):
    """Hash each n words that follow each other: values (W,) to hashes (W - n + 1,)."""
    for i in range(len(values) - n + 1):
        value = ZERO
        for j in range(n):
            value = value * BASE + values[i + j]
        hashes[i] = value


@njit(nogil=True, cache=True)
def fill_table(hashes, starts, keys, slots, bitmap, shift):
    """Enter distinct hashes (K,) and where the places of each begin (K + 1,)."""
    mask = U(len(keys) - 1)
    for i in range(len(hashes)):
        value = hashes[i]
        at = (value * MIX >> U(20)) & mask
        while slots[at, 1] != 0:
            at = (at + ONE) & mask
        keys[at] = value
        slots[at, 0], slots[at, 1] = starts[i], starts[i + 1]
        bit = value * MIX >> shift
        bitmap[bit >> U(6)] |= (ONE << (bit & U(63))) | second_bit(value * MIX)

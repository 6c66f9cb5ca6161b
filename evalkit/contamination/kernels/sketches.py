"""Copies whose words were changed: a few word shingles of each example looked up in the stream, then words aligned.

One probe a word finds the sampled shingles. Where enough of one piece of an example follow each other, the longest
common subsequence of the piece and the words around is taken, 128 words of the piece to two machine words (Hyyrö 2004,
Bit-parallel LCS-length computation revisited). Words are compared as their hashes, which have 64 bits.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from evalkit.contamination.kernels.matches import may_hold
from evalkit.contamination.kernels.octets import ONE, ZERO, U
from evalkit.contamination.kernels.words import BASE, MIX, split

LONGEST = 128  # words of a piece: two machine words of bits
MARGIN = 160  # words around a shingle that an alignment may look at, in either direction

FIELDS = 8  # of a hit: the seven of matches (where `words` are the piece's), and the words that are aligned

SEEN, COUNTED, LAST, QUIET = 0, 1, 2, 3  # columns of Progress.pieces


class Sketches(NamedTuple):
    """The shingles and words of a test set that edited copies are found by; P pieces."""

    probe: int  # words of a shingle
    power: np.uint64  # BASE to the power of `probe`
    shift: np.uint64  # of a mixed hash, to its bit in the bitmap
    bitmap: NDArray[np.uint64]
    keys: NDArray[np.uint64]  # open addressing; their number is a power of two
    slots: NDArray[np.int32]  # (keys, 2) where the places of a key begin and end; 0, 0 where there is no key
    places: NDArray[np.int32]  # (places, 3) piece, the shingle's first word in it, and what it counts
    needed: NDArray[np.int32]  # (P,) what shingles in a row have to count to call for an alignment
    length: NDArray[np.int32]  # (P,) words
    least: NDArray[np.int32]  # (P,) words that have to be aligned
    example: NDArray[np.int32]  # (P,)
    word: NDArray[np.int32]  # (P,) the piece's first word in its example
    tables: NDArray[np.int64]  # (P + 1,) where the words of each piece begin in `words`, powers of two apart
    words: NDArray[np.uint64]  # hashes, open addressing
    bits: NDArray[np.uint64]  # (words, 2) at which of the piece's words each stands; 0, 0 where there is no word


class Progress(NamedTuple):
    """What was seen of each piece in the document that is read."""

    read: NDArray[np.int64]  # (1,) documents begun
    pieces: NDArray[np.int64]  # (P, 4) document, count of its shingles in a row, place of the last, place to go on from


@njit(inline="always")
def slack(length):
    """Words by which a copy may be shifted against the shingle that called for it."""
    return length // 8 + 2


@njit(nogil=True, cache=True)
def next_candidate(index, prefix, pieces, read, ahead, at, last):
    """Give the next (word, slot, last slot) at which a piece has shown enough shingles; (last, 0, 0) where none has.

    `at` is what the call before gave, `ahead` the words of the document before this stretch. It calls nothing, for the
    sake of speed: see words.split_plain.
    """
    i, slot, stop = at
    mask = U(len(index.keys) - 1)
    while True:
        while slot < stop:
            piece = index.places[slot, 0]
            seen = pieces[piece]
            place = ahead + i
            if seen[SEEN] != read:
                seen[SEEN], seen[COUNTED], seen[QUIET] = read, 0, 0
            elif place - seen[LAST] > index.length[piece]:
                seen[COUNTED] = 0
            if place >= seen[QUIET]:
                seen[COUNTED] += index.places[slot, 2]
                seen[LAST] = place
                if seen[COUNTED] >= index.needed[piece]:
                    return i, slot, stop
            slot += 1
        i += 1
        while i < last:
            value = prefix[i + index.probe] - prefix[i] * index.power
            if may_hold(index, value * MIX):
                key = (value * MIX >> U(20)) & mask
                while index.slots[key, 1] != 0 and index.keys[key] != value:
                    key = (key + ONE) & mask
                if index.slots[key, 1] != 0:
                    slot, stop = np.int64(index.slots[key, 0]), np.int64(index.slots[key, 1])
                    break
            i += 1
        if i >= last:
            return last, np.int64(0), np.int64(0)


@njit(nogil=True, cache=True)
def align(index, piece, prefix, begin, end, rows):
    """Count the words of a piece that the words [begin, end) have in the same order.

    Row t + 1 holds, after t + 1 of the words, a 0 for each word of the piece that makes the subsequence longer.
    """
    first = index.tables[piece]
    mask = U(index.tables[piece + 1] - first - 1)
    length = index.length[piece]
    low, high = ~ZERO, ~ZERO
    rows[0, 0], rows[0, 1] = low, high
    for i in range(begin, end):
        value = prefix[i + 1] - prefix[i] * BASE
        at = (value * MIX >> U(20)) & mask
        while True:
            place = first + np.int64(at)
            low_bits, high_bits = index.bits[place, 0], index.bits[place, 1]
            if (low_bits | high_bits) == ZERO or index.words[place] == value:
                break
            at = (at + ONE) & mask
        if (low_bits | high_bits) != ZERO:
            low_sum = low + (low & low_bits)
            high_sum = high + (high & high_bits) + (ONE if low_sum < low else ZERO)
            low, high = low_sum | (low & ~low_bits), high_sum | (high & ~high_bits)
        rows[i - begin + 1, 0], rows[i - begin + 1, 1] = low, high
    aligned = np.int64(0)
    for j in range(length):
        aligned += 1 - np.int64(((low if j < 64 else high) >> U(j & 63)) & ONE)
    return aligned


@njit(nogil=True, cache=True)
def outline(index, piece, rows, count):
    """Trace an alignment with `count` words back: the first of them that is aligned, and the one after the last.

    Gives (0, 0) where fewer than half of the piece's different words are aligned: a list of one word is like any
    other.
    """
    first, past = count, 0
    low, high = ZERO, ZERO
    t, j = count, np.int64(index.length[piece])
    while t > 0 and j > 0:
        half, bit = (j - 1) >> 6, ONE << U((j - 1) & 63)
        if rows[t, half] & bit:
            j -= 1
        elif not rows[t - 1, half] & bit:
            t -= 1
        else:
            low, high = (low | bit, high) if half == 0 else (low, high | bit)
            past = max(past, t)
            t -= 1
            first = t
            j -= 1
    different, aligned = 0, 0
    for place in range(index.tables[piece], index.tables[piece + 1]):
        low_bits, high_bits = index.bits[place, 0], index.bits[place, 1]
        different += (low_bits | high_bits) != ZERO
        aligned += ((low_bits & low) | (high_bits & high)) != ZERO
    return (first, past) if 2 * aligned >= different else (0, 0)


@njit(nogil=True, cache=True)
def scan(texts, first, fold, index, words, progress, found, count):
    """Append the edited copies in documents `first` and on to `found` (M, FIELDS): as matches.scan does.

    Gives (documents done, hits, room missing in `words`); stops at a document for which there is no room.
    """
    data, offsets = texts
    rows = np.zeros((2 * MARGIN + 1, 2), np.uint64)
    limit = len(words.begin) // 2
    if limit < 8 * MARGIN:
        return first, count, 16 * MARGIN
    for document in range(first, len(offsets) - 1):
        kept = count
        progress.read[0] += 1
        base, end = offsets[document], offsets[document + 1]
        begin, start, ahead = base, np.int64(0), np.int64(0)
        while True:
            n, past = split(data, begin, end, fold, words, limit)
            if n < 0:
                return document, kept, -n
            is_last = past >= end
            core = n if is_last else n - MARGIN
            last = min(core, n - index.probe + 1)
            at = (np.int64(start - 1), np.int64(0), np.int64(0))
            while True:
                at = next_candidate(index, words.prefix, progress.pieces, progress.read[0], ahead, at, last)
                i, slot, stop = at
                if i >= last:
                    break
                piece, j = index.places[slot, 0], index.places[slot, 1]
                at = (i, slot + 1, stop)
                length = index.length[piece]
                left = max(0, i - j - slack(length))
                right = min(n, i - j + length + slack(length))
                aligned = align(index, piece, words.prefix, left, right, rows)
                progress.pieces[piece, COUNTED] = 0
                progress.pieces[piece, QUIET] = ahead + i + length // 8
                if aligned < index.least[piece]:
                    continue
                one, other = outline(index, piece, rows, right - left)
                if other == 0:
                    continue
                if count == len(found):
                    return document, kept, 0
                progress.pieces[piece, QUIET] = ahead + left + other
                found[count, 0] = index.example[piece]
                found[count, 1] = index.word[piece]
                found[count, 2] = length
                found[count, 3] = document
                found[count, 4] = words.begin[left + one] - base
                found[count, 5] = words.end[left + other - 1] - base
                found[count, 6] = ahead + left + one
                found[count, 7] = aligned
                count += 1
            if is_last:
                break
            # Begin early enough for alignments to look back; never between words of one character.
            back = max(0, core - MARGIN)
            while back > 0 and words.begin[back] == words.begin[back - 1]:
                back -= 1
            begin, start, ahead = words.begin[back], core - back, ahead + back
    return len(offsets) - 1, count, 0


@njit(nogil=True, cache=True)
def fill_words(values, piece_first, index):
    """Enter the words (W,) of all pieces, of which each begins at `piece_first`, in `words` and `bits`."""
    for piece in range(len(index.length)):
        first = index.tables[piece]
        mask = U(index.tables[piece + 1] - first - 1)
        for j in range(index.length[piece]):
            value = values[piece_first[piece] + j]
            at = (value * MIX >> U(20)) & mask
            while True:
                place = first + np.int64(at)
                if (index.bits[place, 0] | index.bits[place, 1]) == ZERO or index.words[place] == value:
                    break
                at = (at + ONE) & mask
            index.words[place] = value
            index.bits[place, j >> 6] |= ONE << U(j & 63)


class Spelled(NamedTuple):
    """The words of some texts, one text after the other; W words in D texts."""

    values: NDArray[np.uint64]  # (W,) hash of each
    begin: NDArray[np.int64]  # (W,) first byte in its text
    end: NDArray[np.int64]  # (W,) byte after the last
    counts: NDArray[np.int64]  # (D,) words of each text


@njit(nogil=True, cache=True)
def spell(texts, fold, words, spelled):
    """Split all texts into words; `words` and `spelled` have room for what the longest and all of them hold."""
    data, offsets = texts
    total = 0
    for text in range(len(offsets) - 1):
        base = offsets[text]
        n, _ = split(data, base, offsets[text + 1], fold, words, len(words.begin))
        for i in range(n):
            spelled.values[total + i] = words.prefix[i + 1] - words.prefix[i] * BASE
            spelled.begin[total + i] = words.begin[i] - base
            spelled.end[total + i] = words.end[i] - base
        total += n
        spelled.counts[text] = n


@njit(nogil=True, cache=True)
def minhash(hashes, begin, end, permutations, signatures):
    """Fill signatures (N, K) with the least permuted hash of the shingles [begin, end) of each of N windows.

    Hashes (S,) and permutations (2, K) have 32 bits. A permutation is a * h + b modulo 2**32 of a hash that
    MurmurHash3's finalizer has mixed: datasketch's scheme affine32.
    """
    for window in range(len(begin)):
        signature = signatures[window]
        signature[:] = np.uint32(0xFFFFFFFF)
        for i in range(begin[window], end[window]):
            h = np.uint32(hashes[i])
            h = np.uint32((h ^ (h >> np.uint32(16))) * np.uint32(0x85EBCA6B))
            h = np.uint32((h ^ (h >> np.uint32(13))) * np.uint32(0xC2B2AE35))
            h = np.uint32(h ^ (h >> np.uint32(16)))
            for k in range(len(signature)):
                signature[k] = min(signature[k], np.uint32(permutations[0, k] * h + permutations[1, k]))

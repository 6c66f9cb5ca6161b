"""The kernels: words, n-grams and matches of UTF-8 texts, on bytes, without a Python object a document.

A text becomes three arrays: for each word the hash of all words up to it, where it lies, and where its folded form
lies. The hash of any n-gram is then one multiplication and one subtraction, and n-grams are looked up in a bitmap
first, in a table of the test set's n-grams second, and at last word by word: hashes find candidates, text decides.

ASCII goes eight bytes at a time: 64 bytes give 64 bits that say which of them belong to a word, and words are where
bits change. A word with other characters takes the normaliser's table, code point by code point.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic
from numpy.typing import NDArray

from evalkit.contamination.normalise import SEPARATOR, SEVERAL

PADDING = 64  # bytes that have to follow a text in its buffer, whatever they hold
PIECE = 1 << 17  # words of a document held at a time

U = np.uint64
ONE, ZERO = U(1), U(0)
EVERY = U(0x0101010101010101)
HIGH = EVERY * U(0x80)
LOW = EVERY * U(0x7F)
CASE = EVERY * U(0x20)  # sets the bit that makes ASCII letters small, and leaves digits as they are
FROM_A, PAST_Z = EVERY * U(0x80 - ord("a")), EVERY * U(0x7F - ord("z"))
FROM_0, PAST_9 = EVERY * U(0x80 - ord("0")), EVERY * U(0x7F - ord("9"))
GATHER = U(0x0102040810204080)  # collects the lowest bits of eight bytes in the highest byte
MIX = U(0x9E3779B97F4A7C15)
BASE = U(0xD6E8FEB86659FD93)  # of the polynomial that hashes n-grams
ALL = ~ZERO
MASK32 = U(32)


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


@intrinsic  # type: ignore[untyped-decorator]  # numba is untyped
def load(typing_context: Any, data: Any, at: Any) -> Any:  # Any: numba's own types
    """Read eight bytes of an array from any place, the first one lowest."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        place = builder.gep(array.data, [arguments[1]])
        return builder.load(builder.bitcast(place, ir.IntType(64).as_pointer()), align=1)

    return types.uint64(data, types.int64), generate


@intrinsic  # type: ignore[untyped-decorator]  # numba is untyped
def store(typing_context: Any, data: Any, at: Any, value: Any) -> Any:  # Any: numba's own types
    """Write eight bytes to any place of an array."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        place = builder.gep(array.data, [arguments[1]])
        builder.store(arguments[2], builder.bitcast(place, ir.IntType(64).as_pointer()), align=1)
        return context.get_dummy_value()

    return types.void(data, types.int64, types.uint64), generate


@intrinsic  # type: ignore[untyped-decorator]  # numba is untyped
def lowest(typing_context: Any, bits: Any) -> Any:  # Any: numba's own types
    """Give the place of the lowest bit that is set."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(types.uint64), generate


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
    return value ^ (value >> MASK32)


@njit(inline="always")
def hash_bytes(data, begin, end, case):
    """Hash a folded word; `case` is CASE where the bytes are ASCII of either case."""
    value = ZERO
    while end - begin > 8:
        value = mix(value, load(data, begin) | case)
        begin += 8
    return mix(value, (load(data, begin) | case) & (ALL >> U(64 - 8 * (end - begin))))


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
def is_ascii(data, begin, end):
    """Whether all bytes are ASCII."""
    found = ZERO
    while end - begin > 8:
        found |= load(data, begin)
        begin += 8
    return ((found | (load(data, begin) & (ALL >> U(64 - 8 * (end - begin))))) & HIGH) == ZERO


@njit(inline="always")
def code_point(data, at, end):
    """Decode one code point: (code point, bytes); U+FFFD for a byte that is not UTF-8."""
    first = np.int64(data[at])
    if first < 0x80:
        return first, 1
    if first < 0xC2 or first > 0xF4:
        return 0xFFFD, 1
    count = 2 if first < 0xE0 else 3 if first < 0xF0 else 4
    if at + count > end:
        return 0xFFFD, 1
    code = first & (0x7F >> count)
    for i in range(1, count):
        byte = np.int64(data[at + i])
        if byte & 0xC0 != 0x80:
            return 0xFFFD, 1
        code = (code << 6) | (byte & 0x3F)
    if (count == 3 and (code < 0x800 or 0xD800 <= code < 0xE000)) or (count == 4 and not 0x10000 <= code < 0x110000):
        return 0xFFFD, 1
    return code, count


@njit(inline="always")
def encode(form, at, code):
    """Append a code point in UTF-8; gives the new end."""
    if code < 0x80:
        form[at] = code
        return at + 1
    if code < 0x800:
        form[at] = 0xC0 | (code >> 6)
        form[at + 1] = 0x80 | (code & 0x3F)
        return at + 2
    if code < 0x10000:
        form[at] = 0xE0 | (code >> 12)
        form[at + 1] = 0x80 | ((code >> 6) & 0x3F)
        form[at + 2] = 0x80 | (code & 0x3F)
        return at + 3
    form[at] = 0xF0 | (code >> 18)
    form[at + 1] = 0x80 | ((code >> 12) & 0x3F)
    form[at + 2] = 0x80 | ((code >> 6) & 0x3F)
    form[at + 3] = 0x80 | (code & 0x3F)
    return at + 4


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
    form: NDArray[np.uint8]  # folded forms, one after the other
    edges: NDArray[np.int64]  # (W + 1,) where each word's form begins in `form`
    example: NDArray[np.int32]  # (W,) whose word it is
    first: NDArray[np.int32]  # (E + 1,) first word of each example
    least: NDArray[np.int32]  # (E,) words that a run must have to be kept
    longest: int  # words of the longest example


MATCH_FIELDS = 6  # example, word, words, document, begin, end


@njit(nogil=True, cache=True)
def same_word(data, words, i, index, j):
    """Whether word i of a text is word j of the test set, byte by byte."""
    begin = index.edges[j]
    length = index.edges[j + 1] - begin
    if words.length[i] != length:
        return False
    if words.folded[i] >= 0:
        for at in range(length):
            if words.form[words.folded[i] + at] != index.form[begin + at]:
                return False
        return True
    for at in range(length):
        if (data[words.begin[i] + at] | 0x20) != index.form[begin + at]:
            return False
    return True


@njit(inline="always")
def word_hash(words, i):
    """Give the hash of one word."""
    return words.prefix[i + 1] - words.prefix[i] * BASE


@njit(inline="always")
def find_key(index, value):
    """Give the place of a hash in the table, -1 where it is not there."""
    mask = U(len(index.keys) - 1)
    at = (value * MIX >> U(20)) & mask
    while index.slots[at, 1] != 0:
        if index.keys[at] == value:
            return np.int64(at)
        at = (at + ONE) & mask
    return -1


@njit(nogil=True, cache=True)
def extend(data, words, n, i, index, j):
    """Extend the n-gram at word i of a text and word j of the test set to a maximal run: the text's words [left, right).

    Gives (-1, -1) where the words differ after all, or where the probe one stride before has found the run.
    """
    example = index.example[j]
    ahead = min(n - i, index.first[example + 1] - j)
    right = 0
    while right < ahead and same_word(data, words, i + right, index, j + right):
        right += 1
    if right < index.probe:
        return -1, -1
    behind = min(index.stride, i, j - index.first[example])
    left = 0
    while left < behind and same_word(data, words, i - left - 1, index, j - left - 1):
        left += 1
    if left == index.stride:
        return -1, -1
    return i - left, i + right


@njit(nogil=True, cache=True)
def scan(data, offsets, first, fold, index, words, limit, found, count):
    """Append the matches of documents `first` and on to `found` (M, 6): (documents done, matches, bytes missing).

    data holds the texts, offsets (D + 1,) where each begins. A match is a maximal run of words that a document and an
    example share, of at least the example's `least` words. Stops at the document for which there is no room, in
    `found` (then no bytes are missing) or in `words`; the matches of that document are not given.
    """
    probe, stride = index.probe, index.stride
    for document in range(first, len(offsets) - 1):
        kept = count
        base, end = offsets[document], offsets[document + 1]
        begin, start = base, 0
        while True:
            n, past = split(data, begin, end, fold, words, limit)
            if n < 0:
                return document, kept, -n
            is_last = past >= end
            # What begins later is left to the next piece, where all that an example can match follows it.
            core = n if is_last else (n - index.longest - probe) // stride * stride
            for i in range(start, min(core, n - probe + 1), stride):
                value = words.prefix[i + probe] - words.prefix[i] * index.power
                bit = value * MIX >> index.shift
                if (index.bitmap[bit >> U(6)] >> (bit & U(63))) & ONE == ZERO:
                    continue
                key = find_key(index, value)
                if key < 0:
                    continue
                for slot in range(index.slots[key, 0], index.slots[key, 1]):
                    j = index.places[slot]
                    example = index.example[j]
                    left, right = extend(data, words, n, i, index, j)
                    if right - left < index.least[example]:
                        continue
                    if count == len(found):
                        return document, kept, 0
                    found[count, 0] = example
                    found[count, 1] = j - (i - left) - index.first[example]
                    found[count, 2] = right - left
                    found[count, 3] = document
                    found[count, 4] = words.begin[left] - base
                    found[count, 5] = words.end[right - 1] - base
                    count += 1
            if is_last:
                break
            # Begin a stride early, so that the next piece's first probe sees what the one before it has found.
            begin, start = words.begin[core - stride], stride
    return len(offsets) - 1, count, 0


@njit(nogil=True, cache=True)
def collect(data, offsets, fold, words, values, form, edges, counts, first):
    """Gather the words of the test set, part by part: (parts done, bytes of `form` missing in `words`).

    `counts` (parts,) takes the words of each part; values (W,), form and edges (W + 1,) those of all of them.
    """
    total = np.int64(0)
    for part in range(first):
        total += counts[part]
    for part in range(first, len(offsets) - 1):
        n, past = split(data, offsets[part], offsets[part + 1], fold, words, len(words.begin))
        if n < 0:
            return part, -n
        for i in range(n):
            at = edges[total]
            for byte in range(words.length[i]):
                if words.folded[i] >= 0:
                    form[at + byte] = words.form[words.folded[i] + byte]
                else:
                    form[at + byte] = data[words.begin[i] + byte] | 0x20
            values[total] = words.prefix[i + 1] - words.prefix[i] * BASE
            total += 1
            edges[total] = at + words.length[i]
        counts[part] = n
    return len(offsets) - 1, 0


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
        bitmap[bit >> U(6)] |= ONE << (bit & U(63))

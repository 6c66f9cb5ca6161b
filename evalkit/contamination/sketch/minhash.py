"""MinHash signatures of texts, window by window, from the hashes of the scan; datasketch takes them as its own.

A signature of a whole document says nothing of one example in it, so documents are taken in windows of about an
example's length. With windows of 64 words, one every 32, and 128 hashes a MB of text has 2.8 MB of signatures, in
proportion to `hashes` / `step`. To scan a corpus for edited copies use `edited`, which finds more in less time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from evalkit.contamination import normalise
from evalkit.contamination.index import kernel_fold
from evalkit.contamination.kernels import matches, sketches
from evalkit.contamination.kernels.octets import PADDING
from evalkit.contamination.kernels.words import MIX, room
from evalkit.errors import DataError

if TYPE_CHECKING:
    from datasketch import MinHash

MISSED = 0.001  # of the pairs at the threshold, which the bands of a signature may miss


@dataclass(frozen=True, slots=True)
class Scheme:
    """What decides a signature; only signatures of one scheme compare."""

    shingle: int = 3  # words
    hashes: int = 128  # K
    seed: int = 1  # of the permutations, as datasketch has it
    normaliser: str = "gpt3"

    @property
    def tag(self) -> str:
        """Name the scheme, such as `minhash.1/affine32/shingle3/hashes128/seed1/gpt3.1/unicode15.0`."""
        words = normalise.find(self.normaliser).tag
        return f"minhash.1/affine32/shingle{self.shingle}/hashes{self.hashes}/seed{self.seed}/{words}"


@dataclass(frozen=True, slots=True)
class Signatures:
    """Signatures of the windows of some documents; N windows."""

    scheme: Scheme
    values: NDArray[np.uint32]  # (N, K)
    document: NDArray[np.int64]  # (N,)
    begin: NDArray[np.int64]  # (N,) first byte in the document's text
    end: NDArray[np.int64]  # (N,) byte after the last
    shingles: NDArray[np.int64]  # (N,) with repetition


def sign(texts: matches.Texts, scheme: Scheme, *, window: int, step: int) -> Signatures:
    """Sign windows of `window` words, one every `step` words, the last one up to the end of its document.

    Documents shorter than a shingle have no window.
    """
    if not 1 <= step <= window - scheme.shingle + 1:
        raise ValueError(
            f"found step {step} and window {window}, expected a step that skips no shingle between windows"
        )
    spelled = spell(texts, scheme.normaliser)
    hashes = shingle_hashes(spelled.values, scheme)
    counts = spelled.counts
    windows = np.where(counts < scheme.shingle, 0, 1 + np.maximum(0, -((window - counts) // step)))
    document = np.repeat(np.arange(len(counts)), windows)
    number = np.arange(len(document)) - np.repeat(np.cumsum(windows) - windows, windows)
    first = (np.cumsum(counts) - counts)[document]
    begin = first + number * step
    past = np.minimum(begin + window, first + counts[document])
    values = np.zeros((len(document), scheme.hashes), np.uint32)
    sketches.minhash(hashes, begin, past - scheme.shingle + 1, permutations(scheme), values)
    shingles = past - scheme.shingle + 1 - begin
    return Signatures(scheme, values, document, spelled.begin[begin], spelled.end[past - 1], shingles)


def jaccard(one: Signatures, other: Signatures) -> NDArray[np.float64]:
    """Estimate the Jaccard similarity of each window of one (N,) and each of the other (M,): (N, M).

    Raises DataError where their schemes differ.
    """
    if one.scheme != other.scheme:
        raise DataError(f"found signatures of {other.scheme.tag}, expected {one.scheme.tag}; sign both by one scheme")
    return np.array([(other.values == row).mean(axis=1) for row in one.values]).reshape(len(one.values), -1)


def to_datasketch(signatures: Signatures) -> list[MinHash]:
    """Make datasketch's MinHash of each window, for its MinHashLSH, LSHForest and LSHEnsemble; takes datasketch 2.

    Its `update` takes what `shingle_hashes` gives.
    """
    from datasketch import MinHash

    chosen = permutations(signatures.scheme)
    return [
        MinHash(hashvalues=row, permutations=chosen, seed=signatures.scheme.seed, hashfunc=int, scheme="affine32")
        for row in signatures.values
    ]


def groups(texts: Sequence[str], threshold: float, *, scheme: Scheme | None = None) -> list[list[int]]:
    """Find near-duplicates: groups of two or more, in order, linked by pairs whose Jaccard similarity is `threshold`.

    Signatures choose the pairs, which misses one in a thousand at the threshold and fewer above it; shingles decide.
    A text shorter than a shingle is one shingle, and one without words is in no group.
    """
    scheme = scheme or Scheme()
    sets = _shingle_sets(texts, scheme)
    equal = _equal(sets)
    leader = list(range(len(texts)))
    for members in equal:
        for text in members:
            leader[text] = members[0]

    def find(text: int) -> int:
        while leader[text] != text:
            leader[text] = leader[leader[text]]
            text = leader[text]
        return text

    for one, other in _candidates([sets[members[0]] for members in equal], scheme, threshold):
        left, right = find(equal[one][0]), find(equal[other][0])
        if left != right and _true_jaccard(sets[equal[one][0]], sets[equal[other][0]]) >= threshold:
            leader[max(left, right)] = min(left, right)
    found: dict[int, list[int]] = {}
    for text in range(len(texts)):
        found.setdefault(find(text), []).append(text)
    return [members for members in found.values() if len(members) > 1]


def pairs(
    texts: Sequence[str], others: Sequence[str], threshold: float, *, scheme: Scheme | None = None
) -> list[tuple[int, int]]:
    """Find near-duplicates between two sets, such as a test set and its demonstrations: places in each, in order.

    As `groups` does. With shingles of one word it is the similarity that fewshot tells near-duplicates by, but for the
    words that most of a pool has.
    """
    scheme = scheme or Scheme()
    sets = _shingle_sets([*texts, *others], scheme)
    equal = _equal(sets)
    near = {(kind, kind) for kind in range(len(equal))}
    near.update(
        (one, other)
        for one, other in set(_candidates([sets[members[0]] for members in equal], scheme, threshold))
        if _true_jaccard(sets[equal[one][0]], sets[equal[other][0]]) >= threshold
    )
    sides = [([m for m in members if m < len(texts)], [m for m in members if m >= len(texts)]) for members in equal]
    found = {
        (text, other - len(texts))
        for one, two in near
        for left, right in ((one, two), (two, one))
        for text in sides[left][0]
        for other in sides[right][1]
    }
    return sorted(found)


def pack(texts: Sequence[str]) -> matches.Texts:
    """Lay texts end to end, as the kernels take them."""
    encoded = [text.encode("utf-8", "replace") for text in texts]
    data = np.frombuffer(b"".join([*encoded, bytes(PADDING)]), np.uint8).copy()  # writable, as in index.py
    return matches.Texts(data, np.cumsum([0, *map(len, encoded)], dtype=np.int64))


def spell(texts: matches.Texts, normaliser: str) -> sketches.Spelled:
    """Split texts into words."""
    fold = kernel_fold(normaliser)
    sizes = np.diff(texts.offsets)
    total, longest = int(sizes.sum()), int(sizes.max(initial=0))
    spelled = sketches.Spelled(
        values=np.zeros(total, np.uint64),
        begin=np.zeros(total, np.int64),
        end=np.zeros(total, np.int64),
        counts=np.zeros(len(sizes), np.int64),
    )
    sketches.spell(texts, fold, room(longest + 2, form=3 * longest + 2 * PADDING), spelled)
    count = int(spelled.counts.sum())
    return sketches.Spelled(spelled.values[:count], spelled.begin[:count], spelled.end[:count], spelled.counts)


def shingles(values: NDArray[np.uint64], words: int) -> NDArray[np.uint64]:
    """Hash the shingles of words (W,) to 64 bits: (W - words + 1,), or none."""
    hashes = np.zeros(max(0, len(values) - words + 1), np.uint64)
    matches.hash_ngrams(values, words, hashes)
    return hashes


def shingle_hashes(values: NDArray[np.uint64], scheme: Scheme) -> NDArray[np.uint32]:
    """Hash the shingles of words (W,) to 32 bits: (W - shingle + 1,)."""
    return _shorten(shingles(values, scheme.shingle))


@cache
def permutations(scheme: Scheme) -> NDArray[np.uint32]:
    """Draw datasketch's permutations, (2, K): `a`, which is odd, and `b`."""
    # datasketch 2.0.0, MinHash._init_permutations
    draw = np.random.RandomState(scheme.seed)
    a = draw.randint(0, 1 << 31, scheme.hashes, dtype=np.uint32) * np.uint32(2) + np.uint32(1)
    b = draw.randint(0, 1 << 32, scheme.hashes, dtype=np.uint32)
    return np.array([a, b])


def _shorten(hashes: NDArray[np.uint64]) -> NDArray[np.uint32]:
    return (hashes * MIX >> np.uint64(32)).astype(np.uint32)


def _shingle_sets(texts: Sequence[str], scheme: Scheme) -> list[NDArray[np.uint64]]:
    spelled = spell(pack(texts), scheme.normaliser)
    words = np.split(spelled.values, np.cumsum(spelled.counts)[:-1]) if len(texts) else []
    return [np.unique(shingles(each, max(1, min(scheme.shingle, len(each))))) for each in words]


def _true_jaccard(one: NDArray[np.uint64], other: NDArray[np.uint64]) -> float:
    both = len(np.intersect1d(one, other, assume_unique=True))
    return both / (len(one) + len(other) - both)


def _equal(sets: Sequence[NDArray[np.uint64]]) -> list[list[int]]:
    """List the texts of each set of shingles; those without words are left out."""
    found: dict[bytes, list[int]] = {}
    for text, each in enumerate(sets):
        if len(each):
            found.setdefault(each.tobytes(), []).append(text)
    return list(found.values())


def _candidates(sets: Sequence[NDArray[np.uint64]], scheme: Scheme, threshold: float) -> Iterator[tuple[int, int]]:
    """Yield pairs of sets that share a band of their signatures, the less first; bands are as long as MISSED allows."""
    if not 0 < threshold <= 1:
        raise ValueError(f"found threshold {threshold}, expected more than 0 and at most 1")
    past = np.cumsum([len(each) for each in sets], dtype=np.int64)
    begin = past - np.array([len(each) for each in sets], np.int64)
    values = np.zeros((len(sets), scheme.hashes), np.uint32)
    hashes = _shorten(np.concatenate([np.zeros(0, np.uint64), *sets]))
    sketches.minhash(hashes, begin, past, permutations(scheme), values)
    rows = max(
        (n for n in range(1, scheme.hashes + 1) if (1 - threshold**n) ** (scheme.hashes // n) <= MISSED), default=1
    )
    for first in range(0, scheme.hashes // rows * rows, rows):
        found: dict[bytes, list[int]] = {}
        for number, row in enumerate(values[:, first : first + rows]):
            found.setdefault(row.tobytes(), []).append(number)
        for bucket in found.values():
            yield from combinations(bucket, 2)

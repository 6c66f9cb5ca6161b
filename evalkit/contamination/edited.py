"""Copies of examples with changed words, numbers or order, which no n-gram of eight or thirteen words shows.

Examples are taken in pieces of up to 128 words. The rarest three-word shingles of each are looked up in the corpus, and
where some follow each other the words around are aligned with the piece. What has at least half of the piece's words
and three more, in their order, is a copy: none of 8,400 passages of Wikipedia, of 8 to 400 words, reached that in 3.4
MB of novels. With 20 % of the words edited 98 % or more are found from 16 words on, 94 % of 12 to 15 words and 70 % of
8 to 11 (benchmarks/edited_copies.py). Text whose halves have changed places is not found: alignment keeps one half.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from evalkit.contamination import hash_table
from evalkit.contamination.kernels import matches, sketches
from evalkit.contamination.kernels.octets import PADDING
from evalkit.contamination.kernels.sketches import FIELDS, LONGEST, Progress, Sketches
from evalkit.contamination.kernels.words import BASE, Fold, room
from evalkit.errors import UsageError

if TYPE_CHECKING:
    from evalkit.contamination.measures import Runs

SHINGLE = 3  # words
SAMPLED = 32  # shingles of a piece, the rarest of them
SHORTEST = 8  # words of an example, as for exact matches
MORE_THAN_HALF = 3  # aligned words that a copy needs beside half of the piece's
IS_COPY = 0.5  # of an example's words in one document, in their order
COMMON = 3  # pieces: a shingle in more of them counts one, any other two

ROOM = 1 << 16  # words held at first
FOUND = 1 << 10  # hits there is room for at first


@dataclass(frozen=True, slots=True)
class Copy:
    """An example in a document, word by word or edited."""

    example: int
    document: int
    begin: int  # bytes of the document's text
    end: int
    share: float  # of the example's words that are aligned; of a long example, over all pieces found


@dataclass(frozen=True, slots=True)
class EditedCopy:
    """Share of the example's words that one document has in their order; a copy from half of them on.

    The measure is this project's own. A scan that looks for edited copies keeps it, no run of words shows it.
    """

    name: ClassVar[str] = "edited"
    threshold: ClassVar[float | None] = IS_COPY
    mean_is_share: ClassVar[bool] = True
    n: ClassVar[int | None] = None

    def value(self, runs: Runs) -> float:
        """Give what the scan found; UsageError where it did not look."""
        if runs.edited is None:
            raise UsageError("--measure edited: the scan did not look for edited copies; scan with --edited")
        return runs.edited


@dataclass(frozen=True, slots=True)
class Sample:
    """The shingles that are looked up; S of them, from P pieces."""

    piece: NDArray[np.int64]  # (S,)
    word: NDArray[np.int64]  # (S,) first word in the piece
    hashes: NDArray[np.uint64]  # (S,)
    weight: NDArray[np.int64]  # (S,) what each counts
    needed: NDArray[np.int64]  # (P,) what those seen in a row have to count before words are aligned


class Finder:
    """Finds edited copies block by block; the room that this takes is kept from one block to the next."""

    def __init__(self, fold: Fold, index: Sketches) -> None:
        self.fold, self.index = fold, index
        self.words = room(ROOM, form=3 * ROOM)
        self.progress = Progress(np.zeros(1, np.int64), np.zeros((len(index.length), 4), np.int64))
        self.found = np.zeros((FOUND, FIELDS), np.int64)

    def scan(self, texts: matches.Texts) -> NDArray[np.int64]:
        """Find the pieces of examples in a block, (M, FIELDS) by document and place; documents count from its first.

        What is found in a document depends on that document and on the test set alone.
        """
        done, count, documents = 0, 0, len(texts.offsets) - 1
        while done < documents:
            done, count, missing = sketches.scan(
                texts, done, self.fold, self.index, self.words, self.progress, self.found, count
            )
            if missing:
                size = max(2 * missing, 2 * len(self.words.begin))
                self.words = room(size, form=max(2 * missing, len(self.words.form)) + PADDING)
            elif done < documents:
                self.found = np.concatenate([self.found, np.zeros_like(self.found)])
        found = self.found[:count]
        return found[np.lexsort((found[:, 1], found[:, 0], found[:, 4], found[:, 3]))]


def least_aligned(length: int) -> int:
    """Say how many words of a piece have to be aligned for a copy."""
    return math.ceil(length / 2) + MORE_THAN_HALF


def copies(found: NDArray[np.int64], lengths: Sequence[int]) -> list[Copy]:
    """Put the pieces of each example in each document together; `lengths` are the words of all examples.

    Where a document has a piece more than once, the place with most of its words counts.
    """
    best: dict[tuple[int, int], dict[int, tuple[int, int, int]]] = {}
    for example, word, _, document, begin, end, _, aligned in found.tolist():
        pieces = best.setdefault((document, example), {})
        pieces[word] = max(pieces.get(word, (0, 0, 0)), (aligned, -begin, end))
    return [
        Copy(
            example=example,
            document=document,
            begin=min(-minus_begin for _, minus_begin, _ in pieces.values()),
            end=max(end for _, _, end in pieces.values()),
            share=sum(aligned for aligned, _, _ in pieces.values()) / lengths[example],
        )
        for (document, example), pieces in sorted(best.items())
    ]


def build(values: NDArray[np.uint64], first: NDArray[np.int32]) -> Sketches:
    """Sketch a test set: the hashes of its words (W,) and the first word of each example (E + 1,), as matches.Index.

    Examples of fewer than SHORTEST words are left out: they cannot be told from chance.
    """
    example, begin, length = _pieces(first)
    sample = _sample(values, begin, length)
    order = np.argsort(sample.hashes, kind="stable")
    tables = np.append(0, np.cumsum(1 << np.ceil(np.log2(1.5 * np.maximum(length, 1))).astype(np.int64)))
    index = Sketches(
        probe=SHINGLE,
        power=np.uint64(pow(int(BASE), SHINGLE, 1 << 64)),
        **hash_table.build(sample.hashes[order]),
        places=np.stack([sample.piece, sample.word, sample.weight], axis=1)[order].astype(np.int32),
        needed=sample.needed.astype(np.int32),
        length=length.astype(np.int32),
        least=np.array([least_aligned(each) for each in length.tolist()], np.int32),
        example=example.astype(np.int32),
        word=(begin - first[example]).astype(np.int32),
        tables=tables,
        words=np.zeros(int(tables[-1]), np.uint64),
        bits=np.zeros((int(tables[-1]), 2), np.uint64),
    )
    sketches.fill_words(values, begin, index)
    return index


def _pieces(first: NDArray[np.int32]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Cut examples into pieces of nearly equal length: example, first word of all words, and words of each."""
    lengths = np.diff(first).astype(np.int64)
    counts = np.where(lengths >= SHORTEST, -(-lengths // LONGEST), 0)
    example = np.repeat(np.arange(len(lengths)), counts)
    number = np.arange(len(example)) - np.repeat(np.cumsum(counts) - counts, counts)
    left, right = (lengths[example] * at // counts[example] for at in (number, number + 1))
    return example, first[example] + left, right - left


def _sample(values: NDArray[np.uint64], begin: NDArray[np.int64], length: NDArray[np.int64]) -> Sample:
    """Choose the shingles that are looked up.

    Rare are those in few pieces of the test set, and among these those of rare words: the test set itself tells what is
    common in its language, without a look at the corpus.
    """
    hashes = np.zeros(max(0, len(values) - SHINGLE + 1), np.uint64)
    matches.hash_ngrams(values, SHINGLE, hashes)
    _, kind, times = np.unique(values, return_inverse=True, return_counts=True)
    often = times[kind].astype(float)  # (W,) how often each word stands in the test set
    counts = length - SHINGLE + 1
    piece = np.repeat(np.arange(len(length)), counts)
    word = np.arange(len(piece)) - np.repeat(np.cumsum(counts) - counts, counts)
    at = begin[piece] + word
    order = np.lexsort((word, hashes[at], piece))
    is_first = np.append(True, (np.diff(hashes[at][order]) != 0) | (np.diff(piece[order]) != 0))[: len(order)]
    chosen = order[is_first]  # where a piece has a shingle twice, its first place
    piece, word, at = piece[chosen], word[chosen], at[chosen]
    _, kind, times = np.unique(hashes[at], return_inverse=True, return_counts=True)
    order = np.lexsort((word, often[at] * often[at + 1] * often[at + 2], times[kind], piece))
    piece, word, at = piece[order], word[order], at[order]
    distinct = np.bincount(piece, minlength=len(length))
    rank = np.arange(len(piece)) - np.repeat(np.cumsum(distinct) - distinct, distinct)
    sampled = rank < SAMPLED
    weight = np.where(times[kind][order] > COMMON, 1, 2)
    needed = np.maximum(2, np.minimum(distinct, SAMPLED) // 10 + 1)
    return Sample(piece[sampled], word[sampled], hashes[at[sampled]], weight[sampled], needed)

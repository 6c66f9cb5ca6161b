"""The text around the longest match of each dirty example, taken while the document is in memory.

Of each shard those examples are kept that have the longest matches, MOST of them: so all that count in the end are
among them, and what is kept does not grow with the corpus. Bytes are kept, and decoded for those that are shown.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from evalkit.contamination.kernels import longest
from evalkit.contamination.kernels.matches import Texts

MOST = 2000  # examples, those with the longest matches
MARGIN = 200  # characters before and after a run
LONGEST_RUN = 1000  # characters of a run; of a longer one the beginning and the end are kept
GOES_ON = "…"  # where the text before or after is longer
LEFT_OUT = " […] "  # in the middle of a run
WIDEST = 4  # bytes of a character
WAITING = 1 << 24  # bytes of matches that are not yet chosen from
HALF = WIDEST * LONGEST_RUN // 2  # bytes; white space may make a run of few words as long as its document

Excerpt: TypeAlias = tuple[str, str, str]  # what is before the run, the run, what is after it
Pieces: TypeAlias = tuple[bytes, bytes, bytes]  # likewise, at least as much as is shown


class Taken(NamedTuple):
    """C matches with the bytes around them, as longest.take gives them."""

    numbers: NDArray[np.int64]  # (C, longest.NUMBERS)
    edges: NDArray[np.int64]  # (3 * C + 1,) where pieces begin and end
    pieces: NDArray[np.uint8]


class Around(NamedTuple):
    """A match with the text around it."""

    example: int
    word: int  # where the run begins in the example
    words: int
    document: int
    begin: int  # span in the document's text, in bytes
    end: int
    size: int  # of the document's text, in bytes
    pieces: Pieces

    @property
    def text(self) -> Excerpt:
        """Show the run in the document."""
        return _decoded(self.pieces, (self.begin, self.end), size=self.size, margin=MARGIN)


NOTHING = Taken(np.zeros((0, longest.NUMBERS), np.int64), np.zeros(1, np.int64), np.zeros(0, np.uint8))


@dataclass(slots=True)
class LongestOfBlocks:
    """The longest match of each dirty example in the blocks of a shard."""

    needed: NDArray[np.int32]  # (E,) words of a run that make an example dirty
    _best: NDArray[np.int64] = field(init=False)  # (E, 3) as longest.update has it
    _changed: NDArray[np.int64] = field(init=False)  # (E,) room
    _parts: list[Taken] = field(default_factory=list)  # where an example comes again, its later match is the better one
    _bytes: int = 0  # of them

    def __post_init__(self) -> None:
        self._best = np.zeros((len(self.needed), 3), np.int64)
        self._best[:, longest.ROW] = longest.UNCHANGED
        self._changed = np.zeros(len(self.needed), np.int64)

    def add(self, found: NDArray[np.int64], texts: Texts, numbers: NDArray[np.int64]) -> None:
        """Take the matches of a block, (M, matches.FIELDS), whose documents are places in it, called `numbers`."""
        count = longest.update(found, numbers, self.needed, self._best, self._changed)
        if count:
            taken = Taken(*longest.take(found, texts, self._best, self._changed[:count], MARGIN, HALF))
            self._parts.append(taken)
            self._bytes += sum(each.nbytes for each in taken)
            if self._bytes > WAITING:
                self._parts, self._bytes = [self.taken()], 0

    def taken(self) -> Taken:
        """Give the matches of the MOST examples with the longest ones, of equal ones the first examples."""
        if not self._parts:
            return NOTHING
        numbers = np.concatenate([part.numbers for part in self._parts])
        sizes = np.cumsum([0, *(len(part.pieces) for part in self._parts)])
        edges = [part.edges[:-1] + before for part, before in zip(self._parts, sizes.tolist(), strict=False)]
        pieces = np.concatenate([part.pieces for part in self._parts])
        last = len(numbers) - 1 - np.unique(numbers[::-1, 0], return_index=True)[1]  # of each example, in their order
        order = last[np.argsort(-numbers[last, 2], kind="stable")][:MOST]
        return Taken(*longest.choose(numbers, np.concatenate([*edges, sizes[-1:]]), pieces, order))


@dataclass(slots=True)
class LongestOfShards:
    """The longest match of each dirty example in all shards."""

    _held: dict[int, Around] = field(default_factory=dict)

    def add(self, taken: Taken, *, before: int) -> None:
        """Take the matches of the next shard, which comes after so many lines of others; ValueError for no matches."""
        for each in rows(taken):
            held = self._held.get(each.example)
            # A later shard's match is the better of two equal ones if it begins at an earlier word.
            if held is None or (-each.words, each.word) < (-held.words, held.word):
                self._held[each.example] = each._replace(document=before + each.document)
        if len(self._held) > 2 * MOST:
            self._held = {each.example: each for each in self.rows()}

    def rows(self) -> tuple[Around, ...]:
        """List the MOST examples with the longest ones, of equal ones the first examples."""
        return tuple(sorted(self._held.values(), key=lambda each: (-each.words, each.example))[:MOST])


def rows(taken: Taken) -> Iterator[Around]:
    """Yield matches one by one; ValueError where the arrays do not fit each other."""
    text, ends = taken.pieces.tobytes(), taken.edges.tolist()
    starts = range(0, len(ends) - 1, longest.PIECES)
    for (example, word, words, document, begin, end, size), i in zip(taken.numbers.tolist(), starts, strict=True):
        a, b, c, d = ends[i : i + 4]
        yield Around(example, word, words, document, begin, end, size, (text[a:b], text[b:c], text[c:d]))


def excerpt(text: NDArray[np.uint8], begin: int, end: int, *, margin: int) -> Excerpt:
    """Show a run and up to `margin` characters on either side of it, cut at borders of characters.

    `text` is UTF-8, in which the run has the bytes [begin, end). What is left out is shown by GOES_ON and LEFT_OUT.
    """
    reach = WIDEST * margin
    run = text[begin:end] if end - begin <= 2 * HALF else np.concatenate([text[begin:][:HALF], text[:end][-HALF:]])
    pieces = text[max(0, begin - reach) : begin], run, text[end : end + reach]
    before, middle, after = (each.tobytes() for each in pieces)
    return _decoded((before, middle, after), (begin, end), size=len(text), margin=margin)


def _decoded(pieces: Pieces, span: tuple[int, int], *, size: int, margin: int) -> Excerpt:
    (begin, end), (before, run, after) = span, pieces
    left, right = _text(before), _text(after)
    is_first = len(before) == begin and len(left) <= margin
    is_last = len(after) == size - end and len(right) <= margin
    return (
        left if is_first else GOES_ON + left[-margin:],
        _run(run, is_whole=len(run) == end - begin),
        right if is_last else right[:margin] + GOES_ON,
    )


def _run(run: bytes, *, is_whole: bool) -> str:
    if is_whole and len(whole := _text(run)) <= LONGEST_RUN:
        return whole
    half = LONGEST_RUN // 2
    first, last = (run, run) if is_whole else (run[:HALF], run[HALF:])
    return _text(first)[:half] + LEFT_OUT + _text(last)[-half:]


def _text(piece: bytes) -> str:
    """Decode a piece of a text, without the characters that it cuts."""
    return piece.decode("utf-8", "ignore")

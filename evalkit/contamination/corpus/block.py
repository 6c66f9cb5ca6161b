"""What reading a corpus gives: blocks of documents, and the account of what was read and what was not."""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from evalkit.contamination.kernels.matches import Texts
from evalkit.contamination.kernels.octets import PADDING, is_utf8

PLACES = 20  # named of each kind of trouble
MOST_ZEROS = 4  # one byte in so many, in a text
ZEROS = "zero bytes, as UTF-16 has them"


@dataclass(frozen=True, slots=True)
class Block:
    """Some documents that follow each other."""

    texts: Texts
    numbers: NDArray[np.int64]  # (D,) the line or row of the shard that each stands in, from 0


@dataclass(frozen=True, slots=True)
class Limits:
    """How much is held in memory at once."""

    block: int  # bytes of a block, where no document is longer
    longest: int  # bytes of a document; one that is longer ends its shard, as a decompression bomb would


@dataclass(slots=True)
class Reading:
    """What was read of a shard, and what was not; filled while the blocks are drawn."""

    lines: int = 0  # or rows, or files; among them those that hold no document
    documents: int = 0
    text_bytes: int = 0
    position: int = 0  # of the shard's bytes, how many are behind; all of them in the end
    trouble: dict[str, int] = field(default_factory=dict)  # what was wrong -> how often
    places: dict[str, list[int]] = field(default_factory=dict)  # the first lines of the shard where it was so, in order
    failure: str | None = None  # why the rest of the shard could not be read

    def count(self, what: str, line: int) -> None:
        """Count a line that holds no document; those of one block may come in any order."""
        self.trouble[what] = self.trouble.get(what, 0) + 1
        named = self.places.setdefault(what, [])
        if len(named) < PLACES or line < named[-1]:
            insort(named, line)
            del named[PLACES:]


def of_bytes(texts: Sequence[bytes], numbers: Sequence[int]) -> Block:
    """Make a block of texts that are UTF-8."""
    offsets = np.cumsum([0, *map(len, texts)], dtype=np.int64)
    data = np.frombuffer(b"".join([*texts, bytes(PADDING)]), np.uint8).copy()
    return Block(Texts(data, offsets), np.array(numbers, np.int64))


def of_strings(texts: Sequence[str], numbers: Sequence[int]) -> Block:
    """Make a block of strings; half of a surrogate pair becomes a question mark."""
    return of_bytes([text.encode("utf-8", "replace") for text in texts], numbers)


def has_zeros(raw: NDArray[np.uint8]) -> bool:
    """Whether more of the bytes are zero than in any text that is UTF-8."""
    return MOST_ZEROS * (len(raw) - int(np.count_nonzero(raw))) > len(raw)


def valid(block: Block, reading: Reading) -> Iterator[Block]:
    """Yield the documents that are UTF-8; count the others."""
    texts, numbers = block.texts, block.numbers
    if is_utf8(texts.data, int(texts.offsets[0]), int(texts.offsets[-1])):
        yield block
        return
    good = []
    for i, number in enumerate(numbers.tolist()):
        if is_utf8(texts.data, int(texts.offsets[i]), int(texts.offsets[i + 1])):
            good.append(i)
        else:
            reading.count("bytes that are not UTF-8", number)
    if good:
        pieces = [texts.data[texts.offsets[i] : texts.offsets[i + 1]].tobytes() for i in good]
        yield of_bytes(pieces, [int(numbers[i]) for i in good])

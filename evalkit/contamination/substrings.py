"""GPT-4's measure: whether a document holds one of three substrings of an example (OpenAI 2023, appendix C).

Spaces and symbols are removed from both, letters and digits are kept as they are, case included: the report says no
more than that, and here a letter or digit is what str.isalnum is true of. Three substrings of 50 characters are drawn
from each example, at different places; one that is shorter is looked for as a whole, however short it is.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import islice
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from evalkit.contamination import hash_table
from evalkit.contamination.index import Item
from evalkit.contamination.kernels import matches, substrings
from evalkit.contamination.kernels.octets import PADDING
from evalkit.contamination.kernels.substrings import FIELDS, Progress, Substrings, room
from evalkit.errors import UsageError
from evalkit.text import digest as text_digest
from evalkit.text import generator, shuffled

if TYPE_CHECKING:
    from evalkit.contamination.measures import Runs

LENGTH = 50  # characters of a substring
DRAWN = 3  # of an example

# Bytes of a window, and bytes between two that are looked up in a document. A substring has windows of the last kind
# for which it is long enough: one of any `stride` windows in a row begins at a multiple of `stride`.
WINDOWS = ((1, 1), (2, 1), (4, 1), (8, 1), (16, 8), (40, 8))

ROOM = 1 << 14  # bytes that are kept of a document at once: many times those of a substring
FOUND = 1 << 10  # hits there is room for at first


@dataclass(frozen=True, slots=True)
class Gpt4:
    """1 where a document holds one of the example's substrings of 50 characters, else 0 (OpenAI 2023, appendix C).

    A scan that looks for substrings keeps it, no run of words shows it.
    """

    name: ClassVar[str] = "gpt4"
    threshold: ClassVar[float | None] = 1.0
    mean_is_share: ClassVar[bool] = True
    n: ClassVar[int | None] = None

    def value(self, runs: Runs) -> float:
        """Give what the scan found; UsageError where it did not look."""
        if runs.substrings is None:
            raise UsageError("--measure gpt4: the scan did not look for substrings; scan with --substrings")
        return float(runs.substrings > 0)


class Finder:
    """Finds substrings block by block; the room that this takes is kept from one block to the next."""

    def __init__(self, index: Substrings) -> None:
        self.index = index
        self.kept = room(ROOM)
        self.progress = Progress(np.zeros(1, np.int64), np.zeros(len(index.example), np.int64))
        self.rows = np.zeros((FOUND, FIELDS), np.int64)

    def scan(self, texts: matches.Texts) -> NDArray[np.int64]:
        """Find the first place of each substring in each document of a block: (M, FIELDS) by document and place.

        A row is example, which of its substrings, document of the block, begin and end in the bytes of its text.
        """
        self.rows, count = substrings.scan(texts, self.index, self.kept, self.progress, self.rows)
        rows = self.rows[:count]
        return rows[np.lexsort((rows[:, 1], rows[:, 0], rows[:, 3], rows[:, 2]))]


def draw(item: Item, *, seed: int) -> tuple[str, ...]:
    """Draw the substrings of an example, three of different places where it is long enough; none where it is empty."""
    kept = "".join(filter(str.isalnum, "".join(part.text for part in item.parts)))
    if len(kept) <= LENGTH:
        return (kept,) if kept else ()
    order = shuffled(len(kept) - LENGTH + 1, generator("substrings", seed, item.task, item.id))
    return tuple(kept[begin : begin + LENGTH] for begin in islice(order, DRAWN))


def digest(index: Substrings) -> str:
    """Hash the substrings that were drawn."""
    return text_digest(index.text.tobytes().hex(), length=64)


def build(items: Sequence[Item], *, seed: int = 0) -> Substrings:
    """Draw the substrings of a test set and index them; examples without letters and digits have none."""
    drawn = [draw(item, seed=seed) for item in items]
    texts = [text.encode() for each in drawn for text in each]
    counts = [len(each) for each in drawn]
    example = np.repeat(np.arange(len(items)), counts)
    edges = np.cumsum([0, *map(len, texts)], dtype=np.int64)
    text = np.frombuffer(b"".join([*texts, bytes(PADDING)]), np.uint8).copy()
    windows, hashes, places = _windows(text, edges)
    order = np.lexsort((-places[:, 1], hashes))  # the later window first: its substring begins earlier
    return Substrings(
        examples=len(items),
        letters=_letters(),
        plain=np.array([chr(code).isalnum() for code in range(128)], np.uint8),
        text=text,
        edges=edges,
        example=example.astype(np.int32),
        which=(np.arange(len(example)) - np.repeat(np.cumsum(counts) - counts, counts)).astype(np.int32),
        longest=int(np.diff(edges).max(initial=1)),
        windows=windows,
        **hash_table.build(hashes[order]),
        places=places[order].astype(np.int32),
    )


def is_scannable(index: Substrings) -> NDArray[np.bool_]:
    """Say of each example (E,) whether it has a letter or digit to look for."""
    scannable = np.zeros(index.examples, np.bool_)
    scannable[index.example] = True
    return scannable


def _windows(
    text: NDArray[np.uint8], edges: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.uint64], NDArray[np.int64]]:
    """Choose the windows that substrings are found by.

    Gives the rows of WINDOWS that are used (tiers, 2), hashes (N,), and the substring and place of each window (N, 2).
    """
    lengths = np.diff(edges)
    least = np.array([window + stride - 1 for window, stride in WINDOWS])
    tier = np.searchsorted(least, lengths, side="right") - 1
    used = [number for number in range(len(WINDOWS)) if (tier == number).any()]
    hashes, places = [np.zeros(0, np.uint64)], [np.zeros((0, 2), np.int64)]
    for number in used:
        window, stride = WINDOWS[number]
        chosen = np.flatnonzero(tier == number)
        counts = lengths[chosen] - window + 1
        first = np.append(0, np.cumsum(counts))
        within = np.arange(first[-1]) - np.repeat(first[:-1], counts)
        every = np.zeros(first[-1], np.uint64)
        substrings.hash_windows(text, np.repeat(edges[chosen], counts) + within, window, every)
        _, kind, times = np.unique(every, return_inverse=True, return_counts=True)
        begin = np.zeros(len(chosen), np.int64)
        substrings.choose_windows(times[kind], first, stride, begin)
        offset = (begin[:, None] + np.arange(stride)).ravel()
        hashes.append(every[np.repeat(first[:-1], stride) + offset])
        places.append(np.stack([np.repeat(chosen, stride), offset], axis=1))
    windows = np.array([WINDOWS[number] for number in used], np.int64).reshape(-1, 2)
    return windows, np.concatenate(hashes), np.concatenate(places)


@cache
def _letters() -> NDArray[np.uint64]:
    """Write str.isalnum as a bit for each code point; takes a tenth of a second, once a process."""
    kept = np.fromiter((chr(code).isalnum() for code in range(sys.maxunicode + 1)), np.bool_)
    return np.packbits(kept, bitorder="little").view("<u8").astype(np.uint64)

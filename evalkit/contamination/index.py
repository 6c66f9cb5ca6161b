"""The small side of a scan: the words of all test examples, and a table of their n-grams.

Examples are numbered over all tasks. What is shorter than SHORTEST words is unscannable: it is counted, and never
called clean (Brown 2020, Appendix C).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from evalkit.contamination import hash_table, normalise
from evalkit.contamination.kernels import matches
from evalkit.contamination.kernels.octets import PADDING
from evalkit.contamination.kernels.words import BASE, Fold, room
from evalkit.contamination.looked import Looked
from evalkit.errors import DataError
from evalkit.text import digest

SHORTEST, LONGEST_NGRAM = 8, 13  # words (Brown 2020, Appendix C)
PERCENTILE = 5
LEAST_PROBE = 7  # words of the n-grams that are looked up, where runs have as many; texts share shorter ones too often
LONGEST_STRIDE = 5  # words between two of them


@dataclass(frozen=True, slots=True)
class Part:
    """One part of an example's text."""

    name: str  # context, question or answer
    text: str


@dataclass(frozen=True, slots=True)
class Item:
    """An example as the scan sees it."""

    task: str
    id: str
    parts: tuple[Part, ...]  # in reading order; a match may run over their borders


@dataclass(frozen=True, slots=True)
class Index:
    """A test set made ready for scanning; examples are numbered in the order of `items`."""

    items: tuple[Item, ...]
    normaliser: str
    ngram: dict[str, int]  # N of each task, in words
    part_words: tuple[tuple[int, ...], ...]  # words of each part of each example
    least: tuple[int | None, ...]  # words a match needs to be kept; None for an unscannable example
    looked: Looked
    digest: str  # of all that decides which runs of words a scan finds

    def refuse_nothing(self) -> None:
        """Raise DataError where no example can be scanned for."""
        if all(words is None for words in self.least):
            raise DataError(
                f"all {len(self.items):,} examples are shorter than {SHORTEST} words (a text without spaces is one), "
                "so none can be scanned for; give --ngram with a smaller number, or --substrings"
            )

    def words(self, number: int) -> list[str]:
        """Give the folded words of one example."""
        first, last = self.looked.kernel.first[number], self.looked.kernel.first[number + 1]
        edges, form = self.looked.kernel.edges, self.looked.kernel.form
        return [bytes(form[edges[i] : edges[i + 1]]).decode() for i in range(first, last)]

    def length(self, number: int) -> int:
        """Count the words of one example."""
        return sum(self.part_words[number])

    def needed(self, number: int) -> int | None:
        """Words in a row that make this example dirty: N, or all of a shorter one; None where it is unscannable."""
        if self.least[number] is None:
            return None
        return min(self.ngram[self.items[number].task], self.length(number))


def choose_n(lengths: Sequence[int], *, shortest: int = SHORTEST) -> int:
    """Choose N as GPT-3 did: the 5th percentile of example lengths in words, within 8..13 (Brown 2020, App. C).

    `shortest` is the least N that is taken; the paper has smaller ones for synthetic tasks. Raises DataError for none.
    """
    if not lengths:
        raise DataError("found no examples, expected at least one to choose N from")
    place = math.floor(len(lengths) * PERCENTILE / 100)
    return max(shortest, min(LONGEST_NGRAM, sorted(lengths)[place]))


def build(items: Sequence[Item], *, normaliser: str = "gpt3", ngram: int | None = None, kept: int = SHORTEST) -> Index:
    """Index the n-grams of a test set.

    `ngram` None chooses N for each task by the paper's rule. Matches of `kept` words or more are found, or of N where
    that is less: what measures with shorter n-grams than N need. Raises DataError for no examples.
    """
    fold = kernel_fold(normaliser)
    gathered = _gather(items, fold)
    counts = iter(gathered.counts.tolist())
    part_words = tuple(tuple(next(counts) for _ in item.parts) for item in items)
    lengths = [sum(words) for words in part_words]
    by_task: dict[str, list[int]] = {}
    for item, length in zip(items, lengths, strict=True):
        by_task.setdefault(item.task, []).append(length)
    chosen = {task: ngram or choose_n(found) for task, found in by_task.items()}
    least = tuple(
        None if length < min(SHORTEST, chosen[item.task]) else min(kept, chosen[item.task], length)
        for item, length in zip(items, lengths, strict=True)
    )
    needed = [min(chosen[item.task], length) for item, length in zip(items, lengths, strict=True)]
    kernel = _table(gathered, lengths, least, needed)
    texts = [[item.task, item.id, [[part.name, part.text] for part in item.parts]] for item in items]
    hashed = digest([normalise.find(normaliser).tag, chosen, least, texts], length=64)
    return Index(tuple(items), normaliser, chosen, part_words, least, Looked(fold, kernel), hashed)


def kernel_fold(normaliser: str) -> Fold:
    """Give a normaliser as the kernels take it."""
    table = normalise.table(normaliser)
    return Fold(normaliser == "gpt3", table.single, table.several)


def _gather(items: Sequence[Item], fold: Fold) -> matches.Gathered:
    """Split all parts of all examples into words."""
    texts = [part.text.encode("utf-8", "replace") for item in items for part in item.parts]
    offsets = np.cumsum([0, *map(len, texts)], dtype=np.int64)
    total, longest = int(offsets[-1]), max(map(len, texts), default=0)
    found = matches.Gathered(
        values=np.zeros(total + 1, np.uint64),
        form=np.zeros(3 * total + PADDING, np.uint8),
        edges=np.zeros(total + 2, np.int64),
        counts=np.zeros(len(texts), np.int64),
    )
    # Writable, as blocks of a corpus are: the kernels are compiled for one kind of array, not for two.
    data = np.frombuffer(b"".join([*texts, bytes(PADDING)]), np.uint8).copy()
    words = room(longest + 2, 3 * longest + 2 * PADDING)
    matches.gather(matches.Texts(data, offsets), fold, words, found)
    count = int(found.counts.sum())
    form = found.form[: found.edges[count] + PADDING].copy()
    return matches.Gathered(found.values[:count].copy(), form, found.edges[: count + 1].copy(), found.counts)


def _table(
    gathered: matches.Gathered, lengths: Sequence[int], least: Sequence[int | None], needed: Sequence[int]
) -> matches.Index:
    """Enter the n-grams that are looked up, each with all places where it begins."""
    shortest = min((words for words in least if words is not None), default=SHORTEST)
    # Every run of `shortest` words holds an n-gram of `probe` words that begins at a multiple of `stride`.
    stride = max(1, min(LONGEST_STRIDE, shortest - LEAST_PROBE + 1))
    probe = shortest - stride + 1
    values = gathered.values
    first = np.cumsum([0, *lengths], dtype=np.int32)
    example = np.repeat(np.arange(len(lengths), dtype=np.int32), lengths)
    hashes = np.zeros(max(0, len(values) - probe + 1), np.uint64)
    matches.hash_ngrams(values, probe, hashes)
    begins = np.arange(len(hashes), dtype=np.int32)
    scannable = np.array([words is not None for words in least])
    inside = (begins + probe <= first[example[: len(hashes)] + 1]) & scannable[example[: len(hashes)]]
    begins, hashes = begins[inside], hashes[inside]
    order = np.argsort(hashes, kind="stable")
    return matches.Index(
        probe=probe,
        stride=stride,
        power=np.uint64(pow(int(BASE), probe, 1 << 64)),
        **hash_table.build(hashes[order]),
        places=begins[order],
        values=values,
        form=gathered.form,
        edges=gathered.edges,
        example=example,
        first=first,
        least=np.array([words or 0 for words in least], np.int32),
        needed=np.array(needed, np.int32),
        longest=max(lengths, default=0),
    )

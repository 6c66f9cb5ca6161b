"""How many edited copies of test examples each detector finds in a corpus, and how many clean examples it flags.

python benchmarks/edited_copies.py

The corpus is made here, from a seed: 20,000 words in Zipf's frequencies, of which each has twenty that like to follow
it, and 3,000 set phrases of four words on average, so that exact n-grams flag as many clean examples as in English.
Examples have 16 to 200 words, short ones as often as long ones, and are copied into documents of 440 words. Of the
edited words 40 % are replaced, 20 % deleted, 20 % given a word before them and 20 % swapped with the next. A copy is
found if its example is found in its own document; a clean example is flagged if it is found anywhere in the corpus.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from datasketch import MinHashLSH
from numpy.typing import NDArray

from evalkit.contamination import edited, index, shard_scan
from evalkit.contamination.corpus import shards
from evalkit.contamination.sketch import minhash
from evalkit.contamination.sketch.minhash import Scheme

Numbers = NDArray[np.int64]
Pairs = set[tuple[int, int]]  # example and document

VOCABULARY, FOLLOWERS, PHRASES = 20_000, 20, 3_000
FOLLOW, START_PHRASE = 0.55, 0.01  # a word: chance that a usual follower is next, or that a phrase begins
DOCUMENT = 440  # words
RATES = (0.0, 0.03, 0.06, 0.1, 0.2)
KINDS = ("replace", "delete", "insert", "swap")
MIX = (0.4, 0.2, 0.2, 0.2)
BANDS = ((8, 11), (12, 15), (16, 23), (24, 31), (32, 63), (64, 127), (128, 200))  # words of an example
BYTES_A_WORD = 5.3
LIKE = 0.3  # Jaccard similarity that MinHash is asked for
FIXED = ((10**9, 64, 32),)  # examples up to so many words: window and step of MinHash
SCALED = ((31, 32, 8), (63, 64, 16), (127, 128, 32), (10**9, 200, 50))


@dataclass(frozen=True)
class Language:
    """A made-up language; V words."""

    words: list[str]
    chances: NDArray[np.float64]  # (V,) cumulative
    followers: Numbers  # (V, FOLLOWERS), the likeliest first
    phrases: list[Numbers]
    phrase_chances: NDArray[np.float64]  # cumulative

    def write(self, documents: int, length: int, draw: np.random.Generator) -> Numbers:
        """Write documents, (documents, length) numbers of words."""
        text = np.zeros((documents, length), np.int64)
        free = np.searchsorted(self.chances, draw.random((documents, length)))
        rank = np.minimum(draw.geometric(0.2, (documents, length)) - 1, FOLLOWERS - 1)
        is_usual = draw.random((documents, length)) < FOLLOW
        text[:, 0] = free[:, 0]
        for at in range(1, length):
            text[:, at] = np.where(is_usual[:, at], self.followers[text[:, at - 1], rank[:, at]], free[:, at])
        for document, at in zip(*np.nonzero(draw.random((documents, length)) < START_PHRASE), strict=True):
            phrase = self.phrases[np.searchsorted(self.phrase_chances, draw.random())][: length - at]
            text[document, at : at + len(phrase)] = phrase
        return text

    def spell(self, numbers: Numbers) -> str:
        """Write a text out."""
        return " ".join([self.words[number] for number in numbers.tolist()]) + "."


def zipf(count: int) -> NDArray[np.float64]:
    """Give cumulative chances by Zipf and Mandelbrot's law."""
    weights = 1 / (np.arange(count) + 2.7)
    cumulative: NDArray[np.float64] = np.cumsum(weights) / weights.sum()
    cumulative[-1] = 1
    return cumulative


def invent(draw: np.random.Generator) -> Language:
    """Make up a language; frequent words are short."""
    letters = np.array(list("etaoinshrdlcumwfgypbvk"))
    words: dict[str, None] = {}
    while len(words) < VOCABULARY:
        length = 1 + draw.poisson(1 + np.log10(len(words) + 1))
        words.setdefault("".join(letters[draw.integers(0, len(letters), length)]))
    chances = zipf(VOCABULARY)
    followers = np.searchsorted(chances, draw.random((VOCABULARY, FOLLOWERS)))
    plain = Language(list(words), chances, followers, [np.zeros(0, np.int64)], zipf(1))
    phrases = [plain.write(1, int(length), draw)[0] for length in 2 + draw.geometric(0.5, PHRASES)]
    return Language(list(words), chances, followers, phrases, zipf(PHRASES))


def edit(numbers: Numbers, rate: float, language: Language, draw: np.random.Generator) -> Numbers:
    """Edit about this share of the words."""
    given, edited_text, at = numbers.tolist(), [], 0
    while at < len(given):
        kind = draw.choice(KINDS, p=MIX) if draw.random() < rate else None
        another = int(np.searchsorted(language.chances, draw.random()))
        if kind == "replace":
            edited_text.append(another)
        elif kind == "insert":
            edited_text += [another, given[at]]
        elif kind == "swap" and at + 1 < len(given):
            edited_text += [given[at + 1], given[at]]
            at += 1
        elif kind != "delete":
            edited_text.append(given[at])
        at += 1
    return np.array(edited_text, np.int64)


def plant(examples: Sequence[Numbers], rate: float, language: Language, draw: np.random.Generator) -> list[str]:
    """Copy each example into a document of its own."""
    texts = []
    for example, around in zip(examples, language.write(len(examples), DOCUMENT, draw), strict=True):
        copy = edit(example, rate, language, draw)
        at = int(draw.integers(0, max(1, DOCUMENT - len(copy))))
        texts.append(language.spell(np.concatenate([around[:at], copy, around[at : DOCUMENT - len(copy)]])))
    return texts


def exact(texts: Sequence[str], n: int) -> Callable[[list[str]], Pairs]:
    """Find examples by any n-gram."""
    looked = index.build(items(texts), ngram=n, kept=n).looked

    def find(documents: list[str]) -> Pairs:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "documents.jsonl")
            path.write_text("".join(json.dumps({"text": text}) + "\n" for text in documents))
            (shard,) = shards.plan([str(path)], shard_bytes=1 << 40)
            found = shard_scan.scan(shard, looked, text_field="text").hits.found
        return set(map(tuple, found[:, [0, 3]].tolist()))

    return find


def items(texts: Sequence[str]) -> list[index.Item]:
    """Take texts for the examples of one task."""
    return [index.Item("texts", str(number), (index.Part("text", text),)) for number, text in enumerate(texts)]


def finder_of(texts: Sequence[str]) -> edited.Finder:
    """Make the finder of edited copies."""
    looked = index.build(items(texts)).looked
    return edited.Finder(looked.fold, edited.build(looked.kernel.values, looked.kernel.first))


def by_alignment(texts: Sequence[str]) -> Callable[[list[str]], Pairs]:
    """Find examples as edited copies."""
    finder = finder_of(texts)

    def find(documents: list[str]) -> Pairs:
        return set(map(tuple, finder.scan(minhash.pack(documents))[:, [0, 3]].tolist()))

    return find


def by_minhash(texts: Sequence[str], scales: Sequence[tuple[int, int, int]]) -> Callable[[list[str]], Pairs]:
    """Find examples of which a window is like a window of a document, through datasketch's LSH.

    `scales` are windows and steps, and the words up to which an example takes them.
    """

    def looked_up(low: int, high: int, window: int, step: int) -> Callable[[minhash.Signatures], Pairs]:
        mine = [number for number, text in enumerate(texts) if low < len(text.split()) <= high]
        known = minhash.sign(minhash.pack([texts[number] for number in mine]), Scheme(), window=window, step=step)
        lsh = MinHashLSH(threshold=LIKE, num_perm=Scheme().hashes)
        for number, one in enumerate(minhash.to_datasketch(known)):
            lsh.insert(number, one)

        def find(windows: minhash.Signatures) -> Pairs:
            return {
                (mine[known.document[like]], int(windows.document[number]))
                for number, one in enumerate(minhash.to_datasketch(windows))
                for like in lsh.query(one)
                if (known.values[like] == windows.values[number]).mean() >= LIKE
            }

        return find

    lows = [0, *(high for high, _, _ in scales)]
    finds = [looked_up(low, *scale) for low, scale in zip(lows, scales, strict=False)]

    def find(documents: list[str]) -> Pairs:
        packed, found = minhash.pack(documents), set[tuple[int, int]]()
        for (_, window, step), one in zip(scales, finds, strict=True):
            found |= one(minhash.sign(packed, Scheme(), window=window, step=step))
        return found

    return find


@dataclass(frozen=True)
class Trial:
    """What all detectors are tried on."""

    language: Language
    draw: np.random.Generator
    count: int  # examples planted, and as many clean
    corpus: list[str]

    def examples(self, low: int, high: int) -> list[Numbers]:
        """Make examples of so many words, short ones as often as long ones; the first half is planted."""
        lengths = np.exp(self.draw.uniform(np.log(low), np.log(high + 1), 2 * self.count)).astype(int)
        written = self.language.write(len(lengths), high, self.draw)
        return [row[:length] for row, length in zip(written, lengths, strict=True)]

    def planted(self, examples: Sequence[Numbers], rate: float) -> list[str]:
        """Copy the first half of the examples into documents."""
        return plant(examples[: self.count], rate, self.language, self.draw)

    def row(self, find: Callable[[list[str]], Pairs], planted: Sequence[list[str]]) -> str:
        """Show recall at each rate, and the share of clean examples that are flagged anywhere."""
        found = [find(documents) for documents in planted]
        recall = [sum(example == document for example, document in pairs) / self.count for pairs in found]
        anywhere = {example for pairs in (*found, find(self.corpus)) for example, _ in pairs}
        flagged = sum(example >= self.count for example in anywhere) / self.count
        return "".join(f"{share:>8.1%}" for share in recall) + f"{flagged:>16.2%}"


def print_detectors(trial: Trial) -> None:
    """Print recall and false positives of all detectors."""
    examples = trial.examples(16, 200)
    texts = [trial.language.spell(example) for example in examples]
    planted = [trial.planted(examples, rate) for rate in RATES]
    print(f"\n{'share of words edited':<34}" + "".join(f"{rate:>8.0%}" for rate in RATES) + f"{'clean flagged':>16}")
    for name, find in (
        ("exact 13-gram", exact(texts, 13)),
        ("exact 8-gram", exact(texts, 8)),
        (f"MinHash LSH, J {LIKE}, 64/32 words", by_minhash(texts, FIXED)),
        (f"MinHash LSH, J {LIKE}, scaled", by_minhash(texts, SCALED)),
        ("evalkit.contamination.edited", by_alignment(texts)),
    ):
        print(f"{name:<34}" + trial.row(find, planted))


def print_lengths(trial: Trial) -> None:
    """Print what becomes of short examples and long ones."""
    print(
        f"\n{'edited, words of an example':<34}" + "".join(f"{r:>8.0%}" for r in RATES[-2:]) + f"{'clean flagged':>16}"
    )
    for low, high in BANDS:
        examples = trial.examples(low, high)
        find = by_alignment([trial.language.spell(example) for example in examples])
        print(f"{f'{low} to {high}':<34}" + trial.row(find, [trial.planted(examples, rate) for rate in RATES[-2:]]))


def print_speed(trial: Trial) -> None:
    """Print MB of text per CPU-second, of text in memory."""
    print()
    texts = minhash.pack(trial.corpus)
    megabytes = len(texts.data) / 1e6

    def speed(scan: Callable[[], object]) -> str:
        scan()
        start = time.process_time()
        scan()
        return f"{megabytes / (time.process_time() - start):.0f} MB of text per CPU-second"

    for count, low, high in ((1_000, 16, 200), (10_000, 64, 64), (10_000, 12, 12)):
        lengths = trial.draw.integers(low, high + 1, count)
        written = trial.language.write(count, high, trial.draw)
        finder = finder_of([trial.language.spell(row[:n]) for row, n in zip(written, lengths, strict=True)])
        size = sum(part.nbytes for part in finder.index if isinstance(part, np.ndarray)) / 1e6
        shown = f"{low}" if low == high else f"{low} to {high}"
        print(f"{count:,} examples of {shown} words ({size:.0f} MB): {speed(lambda: finder.scan(texts))}")  # noqa: B023
    ((_, window, step),) = FIXED
    signatures = minhash.sign(texts, Scheme(), window=window, step=step)
    print(
        f"MinHash {window}/{step}, {Scheme().hashes} hashes: "
        f"{speed(lambda: minhash.sign(texts, Scheme(), window=window, step=step))}, "
        f"{signatures.values.nbytes / megabytes / 1e6:.2f} MB of signatures per MB"
    )


def arguments(description: str | None, *, examples: int, megabytes: int) -> argparse.ArgumentParser:
    """Offer what decides a trial."""
    options = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--examples", type=int, default=examples, help="planted, and as many clean (%(default)s)")
    options.add_argument("--megabytes", type=float, default=megabytes, help="of text in the corpus (%(default)s)")
    options.add_argument("--seed", type=int, default=0)
    return options


def make_trial(given: argparse.Namespace) -> Trial:
    """Make the language, the corpus and the examples of a trial."""
    draw = np.random.default_rng(given.seed)
    language = invent(draw)
    written = language.write(int(given.megabytes * 1e6 / BYTES_A_WORD / DOCUMENT), DOCUMENT, draw)
    return Trial(language, draw, given.examples, [language.spell(row) for row in written])


def main() -> None:
    """Make a corpus, and print recall and false positives of all detectors, recall by length, and speed."""
    given = arguments(__doc__, examples=600, megabytes=20).parse_args()
    trial = make_trial(given)
    size = sum(map(len, trial.corpus)) / 1e6
    print(f"{given.examples} copies at each rate, {given.examples} clean examples, {size:.1f} MB of other text")
    print_detectors(trial)
    print_lengths(trial)
    print_speed(trial)


if __name__ == "__main__":
    main()

"""Word scrambles of GPT-3's five tasks, generated from a list of words (Brown 2020, section 3.9.2).

The words are those of 5 to 14 letters in a text, the most frequent first, or those of a tokenizer's vocabulary in its
order. A tenth of them, by a hash of the word, is kept for demonstrations. Words that a scramble leaves as they are
are left out; the released files have 193 of them among the 10,000 anagrams of the second kind.
"""

from __future__ import annotations

import json
import random
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from itertools import islice
from pathlib import Path

from evalkit import resources, rows, text_file
from evalkit.errors import DataError, TaskError
from evalkit.records import Example
from evalkit.registry import suggest
from evalkit.text import generator

WORD = re.compile(r"[a-z]{5,14}")  # "more than 4 characters and less than 15"
MOST = 10_000  # words, as in the paper
POOL_ONE_IN = 10
SPLITS = ("test", "pool")
INSERTED = " .!/"  # between letters, as in the paper's examples
TRIES = 20  # shuffles that may give the word itself again
SAMPLE = (("articles.sample.jsonl", "article"), ("boolq.sample.jsonl", "passage"))  # texts that ship, and their columns


def examples(
    *, kind: str, words: str | None = None, split: str = "test", seed: int = 0, n: int | None = None
) -> tuple[Example, ...]:
    """Generate the scrambles of one kind, in the order of the words.

    `words` is a text file or a tokenizer.json; None takes the texts that ship with evalkit. A word's scramble depends
    on the seed, the kind and the word alone. Raises TaskError for settings, DataError for a file without words.
    """
    if kind not in KINDS:
        raise TaskError(f"scramble: unknown kind {kind!r}; {suggest(kind, KINDS)}")
    if split not in SPLITS:
        raise TaskError(f"scramble: unknown split {split!r}; {suggest(split, SPLITS)}")
    if n is not None and n < 1:
        raise TaskError(f"scramble: found n {n}, expected 1 or more")
    chosen = (word for word in _words(words) if is_pool(word) == (split == "pool"))
    made = tuple(islice(_changed(kind, chosen, seed), n))
    if not made:
        raise DataError(
            f"{words}: found no words of 5 to 14 lower-case letters that {kind} changes for the {split} split, "
            "expected some; give a longer text"
        )
    return made


def _changed(kind: str, words: Iterable[str], seed: int) -> Iterator[Example]:
    """Yield an example of each word that the scramble changes: no palindrome, and letters that have another order."""
    for word in words:
        scrambled = KINDS[kind](word, generator("scramble", seed, kind, word))
        if scrambled != word:
            yield Example(f"{kind}-{word}", {"scrambled": scrambled, "word": word}, (f" {word}",))


def is_pool(word: str) -> bool:
    """Whether a word is kept for demonstrations."""
    return generator("scramble pool", word).randrange(POOL_ONE_IN) == 0


def cycle_letters(word: str, draws: random.Random) -> str:
    """Move letters from the front to the end."""
    cut = draws.randrange(1, len(word))
    return word[cut:] + word[:cut]


def anagram(word: str, draws: random.Random, *, kept: int) -> str:
    """Shuffle all but the first and the last `kept` letters; words that have no other order stay as they are."""
    middle = list(word[kept : len(word) - kept])
    for _ in range(TRIES):
        draws.shuffle(middle)
        made = word[:kept] + "".join(middle) + word[len(word) - kept :]
        if made != word:
            return made
    return word


def random_insertion(word: str, draws: random.Random) -> str:
    """Put a space or a punctuation mark between letters."""
    return word[0] + "".join(draws.choice(INSERTED) + letter for letter in word[1:])


def reversed_word(word: str, _: random.Random) -> str:
    """Write the word backwards."""
    return word[::-1]


KINDS: dict[str, Callable[[str, random.Random], str]] = {
    "cycle-letters": cycle_letters,
    "anagrams-1": lambda word, draws: anagram(word, draws, kept=1),
    "anagrams-2": lambda word, draws: anagram(word, draws, kept=2),
    "random-insertion": random_insertion,
    "reversed-words": reversed_word,
}


@lru_cache(maxsize=4)
def _words(location: str | None) -> tuple[str, ...]:
    if location is None:
        folder = resources.folder("tasks")
        return _of_texts(str(row[column]) for name, column in SAMPLE for _, row in rows.read(folder / name))
    path = Path(location)
    return _of_tokenizer(path) if path.suffix == ".json" else _of_texts([text_file.read(path)])


def _of_texts(texts: Iterable[str]) -> tuple[str, ...]:
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(word for word in re.findall(r"[^\W\d_]+", text) if WORD.fullmatch(word))
    frequent = sorted(counts, key=lambda word: (-counts[word], word))
    return tuple(frequent[:MOST])


def _of_tokenizer(path: Path) -> tuple[str, ...]:
    """Take the words among a tokenizer's tokens: those that begin with a space, in GPT-2's or SentencePiece's form."""
    try:
        vocabulary = json.loads(text_file.read(path))["model"]["vocab"]
        if isinstance(vocabulary, dict):
            tokens = sorted(vocabulary, key=lambda token: int(vocabulary[token]))
        else:  # SentencePiece's unigram models have a list of tokens with their scores
            tokens = [token for token, _ in vocabulary]
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: found no vocabulary, expected a tokenizer.json; or give a text file") from error
    found = (token[1:] for token in tokens if isinstance(token, str) and token[:1] in {"Ġ", "▁"})
    return tuple(dict.fromkeys(word for word in found if WORD.fullmatch(word)))[:MOST]

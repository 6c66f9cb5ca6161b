"""A plain scanner that defines what a match is: slow, short, and without a hash of its own."""

from __future__ import annotations

from collections.abc import Sequence

from evalkit.contamination.normalise import Normaliser

Found = tuple[int, int, int, int]  # example, first word in it, words, document


def scan(
    examples: Sequence[Sequence[str]], least: Sequence[int | None], documents: Sequence[str], normaliser: Normaliser
) -> list[Found]:
    """Find all maximal runs of words that an example and a document share, of at least the example's `least` words."""
    found: list[Found] = []
    for number, text in enumerate(documents):
        document = normaliser.words(text)
        for example, (words, needed) in enumerate(zip(examples, least, strict=True)):
            if needed is None:
                continue
            for i in range(len(words)):
                for j in range(len(document)):
                    if i and j and words[i - 1] == document[j - 1]:
                        continue  # not the first word of its run
                    length = 0
                    while i + length < len(words) and j + length < len(document):
                        if words[i + length] != document[j + length]:
                            break
                        length += 1
                    if length >= needed:
                        found.append((example, i, length, number))
    return sorted(found)

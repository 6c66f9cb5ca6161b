"""Tell copies: generated texts that have words of a text they must not have, articles that are one and the same.

Words are those of GPT-3's normaliser. A generated text is a copy of another where the two share a run of RUN words, the
n-gram by which GPT-3's training data was cleaned of test sets (Brown 2020, Appendix C), or where the Jaccard similarity
of their words is NEAR or more, as of near-duplicates among demonstrations. Articles that people wrote share such runs
where both quote one sentence or end in an agency's line, so only the similarity makes two of them one.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from evalkit.fewshot import NEAR
from evalkit.text import words

RUN = 13  # words


@dataclass(frozen=True, slots=True)
class Words:
    """A text as copies are told by."""

    all: frozenset[str]
    runs: frozenset[tuple[str, ...]]  # of RUN words; none where the text has fewer

    @classmethod
    def of(cls, text: str) -> Words:
        """Take a text apart."""
        found = words(text)
        return cls(frozenset(found), frozenset(zip(*(found[start:] for start in range(RUN)), strict=False)))


def is_copy(text: Words, others: Iterable[Words]) -> bool:
    """Tell whether a generated text is a copy of one of these: a shared run, or the same words but for a few."""
    return any(not text.runs.isdisjoint(other.runs) or is_same(text, other) for other in others)


def is_same(one: Words, other: Words) -> bool:
    """Tell whether two texts have the same words but for a few."""
    fewer, more = sorted((len(one.all), len(other.all)))
    if fewer < NEAR * more:  # no two such sets are as alike
        return False
    shared = len(one.all & other.all)
    return shared >= NEAR * (fewer + more - shared)

"""The fixed list of batches of a run: it depends on what is asked, never on what is answered already."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TypeAlias

from evalkit.records import Request


@dataclass(frozen=True, slots=True)
class Ask:
    """One request with what planning needs to know of it."""

    key: str  # digest of everything the request asks
    request: Request
    tokens: int  # of prompt and answer together, at most; of a whole rolling text, however long
    prefix: tuple[str, ...]  # ids of the demonstrations: requests that share them share the start of their contexts


Batch: TypeAlias = tuple[Ask, ...]


def batches(asks: Iterable[Ask], *, token_budget: int) -> tuple[Batch, ...]:
    """Plan who is answered together; requests of one key are planned once.

    A batch takes as many tokens as its longest request times its requests, so requests of like length go together,
    the longest first: too large a budget shows at once, and the time left is not understated. Those that share a
    prefix stay beside each other, so that a model may compute it once. A request beyond the budget goes alone.
    """
    planned: list[Batch] = []
    batch: list[Ask] = []
    longest = 0
    for ask in _in_order(asks):
        longest = max(longest, ask.tokens)
        if batch and longest * (len(batch) + 1) > token_budget:
            planned.append(tuple(batch))
            batch, longest = [], ask.tokens
        batch.append(ask)
    return (*planned, tuple(batch)) if batch else tuple(planned)


def tokens(batch: Sequence[Ask]) -> int:
    """Tokens that a batch takes, all requests as long as the longest."""
    return max(ask.tokens for ask in batch) * len(batch)


def halves(batch: Sequence[Ask]) -> tuple[Sequence[Ask], Sequence[Ask]]:
    """Split what did not fit the device in two, each with about half of its tokens."""
    middle = len(batch) // 2
    return batch[:middle], batch[middle:]


def _in_order(asks: Iterable[Ask]) -> list[Ask]:
    distinct = {ask.key: ask for ask in asks}
    by_prefix = sorted(distinct.values(), key=lambda ask: ask.prefix)
    families = [
        sorted(family, key=lambda ask: (-ask.tokens, ask.key))
        for _, family in groupby(by_prefix, key=lambda ask: ask.prefix)
    ]
    families.sort(key=lambda family: (-family[0].tokens, family[0].key))
    return [ask for family in families for ask in family]

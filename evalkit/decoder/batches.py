"""Plan which trees of sequences are computed together, and what is computed before them as a prefix they share."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from evalkit.decoder.device import Budget
from evalkit.decoder.tree import Node

BROAD = 2  # times as many tokens below a stretch as in it make it a prefix, computed before what follows it


@dataclass(frozen=True, slots=True)
class Batch:
    """Trees computed together, one row each."""

    prefix: tuple[Node, ...]  # stretches, one after the other, that all trees follow
    trees: list[Node]


def batches(
    trees: Sequence[Node], *, budget: Budget, reserve: Callable[[Node], int], prefix: tuple[Node, ...] = ()
) -> Iterator[Batch]:
    """Yield batches within a budget of tokens, padding counted; a tree beyond it goes alone.

    `reserve` counts the tokens that the answers after a tree will hold. A tree that is broad, or too large for the
    budget, becomes a prefix and the trees below it. Trees of like size go together, the largest first.
    """
    narrow: list[tuple[int, int, Node]] = []
    broad: list[Node] = []
    for tree in trees:
        size = columns(tree)
        if tree.children and (size > budget.tokens or size - tree.length > BROAD * tree.length):
            broad.append(tree)
        else:
            narrow.append((size, reserve(tree), tree))
    narrow.sort(key=lambda sized: -max(sized[:2]))
    batch: list[Node] = []
    longest = reserved = 0
    for size, kept, tree in narrow:
        longest, reserved = max(longest, size), reserved + kept
        if batch and (longest * (len(batch) + 1) > budget.tokens or reserved > budget.kept):
            yield Batch(prefix, batch)
            batch, longest, reserved = [], size, kept
        batch.append(tree)
    if batch:
        yield Batch(prefix, batch)
    for tree in broad:
        for child in tree.children:
            child.parent = None
        yield from batches(tree.children, budget=budget, reserve=reserve, prefix=(*prefix, tree))


def columns(tree: Node) -> int:
    """Count the tokens of a tree."""
    return sum(node.length for node in tree.walk())

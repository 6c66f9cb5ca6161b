"""Documents to training sequences: packed end to end with end-of-text before each, cut at full length, none dropped.

As in GPT-3 (Brown 2020, Appendix B) several documents share a sequence and no mask stands between them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Document:
    """Token ids of one document and how much the loss of each counts."""

    ids: Sequence[int]
    weights: Sequence[float]  # of the loss of predicting that token; 1 is plain next-token prediction


class Documents(Protocol):
    """A corpus whose documents can be had by number, the same ones at every call."""

    def document(self, number: int) -> Document:
        """Give document `number`; numbers go on without end, a finite corpus begins again."""


@dataclass(frozen=True, slots=True)
class PackingState:
    """Where a packer is in its corpus: all that a resumed training needs to go on with the same sequences."""

    next_document: int = 0
    ids: tuple[int, ...] = ()  # packed, but not yet part of a sequence
    weights: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Batch:
    """Sequences to learn from; row b begins at position start[b] of the window."""

    tokens: Tensor  # (B, T)
    targets: Tensor  # (B, T), each the token that follows
    weights: Tensor  # (B, T), of the targets' losses
    start: Tensor  # (B,)


def pack(
    documents: Documents, state: PackingState, *, rows: int, length: int, end_of_text: int
) -> tuple[Tensor, Tensor, PackingState]:
    """Take the next rows x length tokens and their weights, each of shape (B, T + 1), and say where the corpus now is.

    The extra column holds each row's last target; the next row begins with it, so that every token is learned once.
    """
    ids, weights, number = list(state.ids), list(state.weights), state.next_document
    needed = rows * length + 1
    while len(ids) < needed:
        document = documents.document(number)
        ids += [end_of_text, *document.ids]
        weights += [1.0, *document.weights]
        number += 1
    taken = rows * length
    flat, flat_weights = torch.tensor(ids[:needed]), torch.tensor(weights[:needed])
    return (
        flat.unfold(0, length + 1, length),
        flat_weights.unfold(0, length + 1, length),
        PackingState(number, tuple(ids[taken:]), tuple(weights[taken:])),
    )


def reading(documents: Documents, *, tokens: int) -> Iterator[Document]:
    """Yield the documents that the first `tokens` tokens are packed from, the last one whole."""
    packed, number = 0, 0
    while packed < tokens + 1:  # `pack` looks one token ahead, for the last target
        document = documents.document(number)
        yield document
        packed += 1 + len(document.ids)
        number += 1

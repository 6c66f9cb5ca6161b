"""The verbs: what a plug-in has to offer to take part."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from evalkit.records import Estimate, Example, Generate, Request, RequestKind, Response


class LanguageModel(Protocol):
    """A model that answers requests; back ends differ in nothing else."""

    @property
    def name(self) -> str:
        """What tables call it, such as `nano`."""

    @property
    def fingerprint(self) -> str:
        """Hex digest of weights, configuration and tokenizer: equal only for equal models."""

    @property
    def window(self) -> int:
        """Tokens that a prompt and its answer share."""

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Count the tokens of each whole context, the start token included where the model has one."""

    def answer(self, requests: Sequence[Request]) -> list[Response]:
        """Answer all requests, in their order; equal requests get equal responses.

        Raises WindowError where a request exceeds the window, ModelMemoryError where the batch
        exceeds the device's memory.
        """


@runtime_checkable
class StreamingModel(Protocol):
    """A model that can also show one answer while it grows."""

    def stream(self, request: Generate) -> Iterator[str]:
        """Yield the text of the answer piece by piece; joined, the pieces are the text that `answer` gives."""


class Metric(Protocol):
    """Per-example statistics and an aggregation, so that any subset can be scored again."""

    @property
    def name(self) -> str:
        """What tables call it, such as `exact match`."""

    @property
    def is_proportion(self) -> bool:
        """Whether its values lie in 0..1, so that tables show them in percent."""

    @property
    def kinds(self) -> frozenset[RequestKind]:
        """The kinds of request whose answers it scores."""

    def statistics(self, example: Example, responses: Sequence[Response]) -> tuple[float, ...]:
        """Reduce one example's responses to the S numbers that the aggregation needs."""

    def aggregate(self, statistics: Sequence[tuple[float, ...]]) -> Estimate:
        """Score a set of examples from their statistics, shape (E, S), E at least 1."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a piece of work is."""

    what: str
    done: int
    total: int
    detail: str = ""  # shown beside it, such as the loss of a training


OnProgress = Callable[[Progress], None]


def ignore(_: Progress) -> None:
    """Report progress to nobody."""

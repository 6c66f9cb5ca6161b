"""The verbs: what a plug-in has to offer to take part."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from evalkit.records import Estimate, Example, Generate, Request, RequestKind, Response

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


OnResponse = Callable[[int, "Response"], None]  # the place of a request, from 0, and its response


def ignore_response(_place: int, _response: Response) -> None:
    """Tell nobody of a response."""


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

    def answer(self, requests: Sequence[Request], *, on_response: OnResponse = ignore_response) -> list[Response]:
        """Answer all requests, in their order; equal requests get equal responses.

        `on_response` is given each response as soon as it is there. Raises WindowError where a request exceeds the
        window, ModelMemoryError where a single one exceeds the device's memory.
        """


@runtime_checkable
class StreamingModel(Protocol):
    """A model that can also show one answer while it grows."""

    def stream(self, request: Generate) -> Iterator[str]:
        """Yield the text of the answer piece by piece; joined, the pieces are the text that `answer` gives."""


@runtime_checkable
class SizedModel(Protocol):
    """A model that knows how large it is."""

    @property
    def parameters(self) -> int:
        """Count the numbers in its tensors, tied ones once."""


class Metric(Protocol):
    """Per-example statistics and an aggregation, so that any subset can be scored again."""

    @property
    def name(self) -> str:
        """What tables call it, such as `exact match`."""

    @property
    def is_proportion(self) -> bool:
        """Whether each example is right or wrong: tables show the share of right ones in percent."""

    @property
    def needs(self) -> tuple[RequestKind, ...]:
        """The kinds of request whose responses it reads, in the order in which it is given them."""

    def statistics(self, example: Example, responses: Sequence[Response]) -> tuple[float, ...]:
        """Reduce one example's responses to the S numbers that the aggregation needs."""

    def aggregate(self, statistics: Sequence[tuple[float, ...]], *, clusters: Sequence[str] | None = None) -> Estimate:
        """Score a set of examples from their statistics, shape (E, S), E at least 1.

        `clusters` names what each example is resampled with; None resamples examples.
        """


@runtime_checkable
class ScoresTotals(Protocol):
    """A metric whose score follows from summed statistics, as BLEU's does: resampling then takes no loop.

    A metric whose score is no mean of one number an example has to offer it, else nothing can be resampled.
    """

    def score_totals(self, totals: NDArray[np.float64], n: NDArray[np.float64]) -> NDArray[np.float64]:
        """Score R sets of examples from the sums of their statistics, shape (R, S), and their sizes, shape (R,)."""


@runtime_checkable
class ChecksExamples(Protocol):
    """A metric that cannot score every example of its kind of request."""

    def complaint(self, example: Example) -> str | None:
        """Say what of the example keeps it from being scored, before any model is asked; None where nothing does."""


@runtime_checkable
class AsksAgain(Protocol):
    """A metric that has more to ask of the same model once the first responses are there."""

    @property
    def again(self) -> tuple[type[Request], ...]:
        """The kinds of further request that it makes; models that refuse one are not scored by it."""

    def follow_ups(self, example: Example, responses: Sequence[Response], *, window: int) -> tuple[Request, ...]:
        """Make the further requests of one example, for windows of at most `window` tokens.

        `responses` are those that `statistics` begins with; the responses to these requests come after them.
        """


@runtime_checkable
class LimitedModel(Protocol):
    """A model that does not answer requests of every kind."""

    @property
    def unanswered(self) -> tuple[type[Request], ...]:
        """The kinds of request that it refuses."""


@runtime_checkable
class Signed(Protocol):
    """A metric with a signature of its own, which stands beside the score."""

    @property
    def signature(self) -> str:
        """Such as sacrebleu's `case:mixed|eff:no|tok:13a|smooth:exp|version:2.6.0`; nrefs is the data's."""


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

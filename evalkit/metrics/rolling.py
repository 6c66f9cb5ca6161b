"""How well a model foresees whole texts: bits a byte, and perplexities by byte, word and token. Lower is better.

All divide the log-probability of all texts by the length of all texts, so long texts count more. The text is an
example's first target. Bytes are those of UTF-8, words what white space divides, counted as lm_eval does: white space
at either end begins or ends a word too. Perplexities by token compare models of one tokenizer only. No text at all has
0 bits.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from evalkit import stats
from evalkit.metrics import aggregation
from evalkit.metrics.responses import likelihood
from evalkit.records import Estimate, Example, LogProb, RequestKind, Response

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class BitsPerByte:
    """Bits that the model needs for a byte of text: minus the base-2 logarithm of its probability, over its bytes."""

    name: ClassVar[str] = "bits per byte"
    is_proportion: ClassVar[bool] = False
    needs: ClassVar[tuple[RequestKind, ...]] = ("rolling",)

    def statistics(self, example: Example, responses: Sequence[Response]) -> tuple[float, ...]:
        """Give log-probability in nats and length in bytes."""
        return likelihood(responses, metric=self.name).total, float(len(example.targets[0].encode()))

    def score_totals(self, totals: NDArray[np.float64], n: NDArray[np.float64]) -> NDArray[np.float64]:  # noqa: ARG002
        """Divide the log-probability of all texts by their length."""
        return -aggregation.ratio(totals) / math.log(2)

    def aggregate(self, statistics: Sequence[tuple[float, ...]], *, clusters: Sequence[str] | None = None) -> Estimate:
        """Estimate the bits by the bootstrap."""
        return stats.bootstrap(statistics, self.score_totals, clusters=clusters)


@dataclass(frozen=True, slots=True)
class Perplexity:
    """e to minus the log-probability of all texts, divided by all their bytes, words or tokens."""

    unit: Literal["byte", "word", "token"]

    is_proportion: ClassVar[bool] = False
    needs: ClassVar[tuple[RequestKind, ...]] = ("rolling",)

    @property
    def name(self) -> str:
        """Name the unit."""
        return f"{self.unit} perplexity"

    def statistics(self, example: Example, responses: Sequence[Response]) -> tuple[float, ...]:
        """Give log-probability in nats and length in units."""
        answer = likelihood(responses, metric=self.name)
        return answer.total, float(self._length(example.targets[0], answer))

    def score_totals(self, totals: NDArray[np.float64], n: NDArray[np.float64]) -> NDArray[np.float64]:  # noqa: ARG002
        """Divide the log-probability of all texts by their length."""
        import numpy as np

        return np.exp(-aggregation.ratio(totals))

    def aggregate(self, statistics: Sequence[tuple[float, ...]], *, clusters: Sequence[str] | None = None) -> Estimate:
        """Estimate the perplexity by the bootstrap."""
        return stats.bootstrap(statistics, self.score_totals, clusters=clusters)

    def _length(self, text: str, answer: LogProb) -> int:
        match self.unit:
            case "byte":
                return len(text.encode())
            case "word":
                return len(re.split(r"\s+", text))
            case "token":
                return answer.tokens


def byte_perplexity() -> Perplexity:
    """Make the perplexity by byte."""
    return Perplexity("byte")


def word_perplexity() -> Perplexity:
    """Make the perplexity by word."""
    return Perplexity("word")


def token_perplexity() -> Perplexity:
    """Make the perplexity by token."""
    return Perplexity("token")

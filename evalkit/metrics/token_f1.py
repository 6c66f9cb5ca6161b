"""F1 of words, as the official script of SQuAD 1.1 computes it (Rajpurkar 2016, section 6.1)."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from evalkit import stats
from evalkit.metrics.responses import completion
from evalkit.records import Estimate, Example, RequestKind, Response

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

PUNCTUATION = str.maketrans("", "", string.punctuation)  # of ASCII
ARTICLES = re.compile(r"\b(a|an|the)\b")


@dataclass(frozen=True, slots=True)
class TokenF1:
    """Harmonic mean of the precision and recall of the completion's words, 0..100; of several targets the best one.

    Lower case; punctuation and articles are dropped; words are what white space divides. Where nothing is left of
    completion or target the value is 0, as in the script of version 1.1.
    """

    name: ClassVar[str] = "F1"
    is_proportion: ClassVar[bool] = False
    needs: ClassVar[tuple[RequestKind, ...]] = ("generate",)

    def statistics(self, example: Example, responses: Sequence[Response]) -> tuple[float, ...]:
        """Compare the one completion of an example with its targets."""
        words = _words(completion(responses, metric=self.name))
        return (max(_f1(words, _words(target)) for target in example.targets),)

    def score_totals(self, totals: NDArray[np.float64], n: NDArray[np.float64]) -> NDArray[np.float64]:
        """Average the examples' values."""
        return stats.mean_of_totals(totals, n)

    def aggregate(self, statistics: Sequence[tuple[float, ...]], *, clusters: Sequence[str] | None = None) -> Estimate:
        """Estimate the mean by the bootstrap."""
        return stats.bootstrap(statistics, self.score_totals, clusters=clusters)


def _words(text: str) -> Counter[str]:
    return Counter(ARTICLES.sub(" ", text.lower().translate(PUNCTUATION)).split())


def _f1(answer: Counter[str], target: Counter[str]) -> float:
    shared = (answer & target).total()
    return 100 * 2 * shared / (answer.total() + target.total()) if shared else 0.0

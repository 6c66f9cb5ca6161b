"""How long completions are, for articles and other open-ended text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from evalkit import stats
from evalkit.metrics.responses import completion
from evalkit.records import Estimate, Example, RequestKind, Response

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Words:
    """Words of the completion, which are what white space divides; the score is their mean number."""

    name: ClassVar[str] = "words"
    is_proportion: ClassVar[bool] = False
    needs: ClassVar[tuple[RequestKind, ...]] = ("generate",)

    def statistics(self, example: Example, responses: Sequence[Response]) -> tuple[float, ...]:  # noqa: ARG002
        """Count the words of the one completion of an example."""
        return (float(len(completion(responses, metric=self.name).split())),)

    def score_totals(self, totals: NDArray[np.float64], n: NDArray[np.float64]) -> NDArray[np.float64]:
        """Average the numbers of words."""
        return stats.mean_of_totals(totals, n)

    def aggregate(self, statistics: Sequence[tuple[float, ...]], *, clusters: Sequence[str] | None = None) -> Estimate:
        """Estimate the mean by the bootstrap."""
        return stats.bootstrap(statistics, self.score_totals, clusters=clusters)

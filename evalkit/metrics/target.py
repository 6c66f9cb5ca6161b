"""The likelihood of the right answer itself: would the model have written it, and how surprised is it to read it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from evalkit import stats
from evalkit.metrics import aggregation
from evalkit.metrics.responses import likelihood
from evalkit.records import Estimate, Example, RequestKind, Response

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class GreedyMatch:
    """1 where every token of the target is the likeliest one after those before it, 0 elsewhere.

    The tokens before it are the target's own, not what the model would have written. The `acc` of lm_eval's
    loglikelihood tasks; the score is the proportion of ones.
    """

    name: ClassVar[str] = "teacher-forced exact match"
    is_proportion: ClassVar[bool] = True
    needs: ClassVar[tuple[RequestKind, ...]] = ("loglikelihood",)

    def statistics(self, example: Example, responses: Sequence[Response]) -> tuple[float, ...]:  # noqa: ARG002
        """Read the likelihood of an example's first target."""
        return (float(likelihood(responses, metric=self.name).is_greedy),)

    def aggregate(self, statistics: Sequence[tuple[float, ...]], *, clusters: Sequence[str] | None = None) -> Estimate:
        """Estimate the proportion with Wilson's interval."""
        return aggregation.proportion(statistics, clusters=clusters)


@dataclass(frozen=True, slots=True)
class TargetPerplexity:
    """Perplexity per target, the lower the better: exp of minus the mean log-probability of a whole target.

    The `perplexity` of lm_eval's loglikelihood tasks, LAMBADA's among them; it is not divided by tokens.
    """

    name: ClassVar[str] = "target perplexity"
    is_proportion: ClassVar[bool] = False
    needs: ClassVar[tuple[RequestKind, ...]] = ("loglikelihood",)

    def statistics(self, example: Example, responses: Sequence[Response]) -> tuple[float, ...]:  # noqa: ARG002
        """Read the likelihood of an example's first target, in nats."""
        return (likelihood(responses, metric=self.name).total,)

    def score_totals(self, totals: NDArray[np.float64], n: NDArray[np.float64]) -> NDArray[np.float64]:
        """Raise e to minus the mean log-probability."""
        import numpy as np

        return np.exp(-stats.mean_of_totals(totals, n))

    def aggregate(self, statistics: Sequence[tuple[float, ...]], *, clusters: Sequence[str] | None = None) -> Estimate:
        """Estimate the perplexity by the bootstrap."""
        return stats.bootstrap(statistics, self.score_totals, clusters=clusters)

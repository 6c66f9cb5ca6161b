"""Scores of a classifier whose classes are the choices: Matthews correlation, F1 of the second class, Brier score.

The class that is told is the likeliest choice by whole likelihoods, the right one is the choice that the example's
target names: exactly one. As lm_eval's `mcc`, `f1` and `brier_score` of multiple choice, which take scikit-learn's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from evalkit import stats
from evalkit.errors import DataError
from evalkit.metrics import aggregation
from evalkit.metrics.choice import likeliest
from evalkit.metrics.responses import likelihoods
from evalkit.records import Estimate, Example, RequestKind, Response

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class MatthewsCorrelation:
    """Correlation of told and right classes (Gorodkin 2004): 1 all right, 0 as by chance, also for one class alone."""

    name: ClassVar[str] = "Matthews correlation"
    is_proportion: ClassVar[bool] = False
    needs: ClassVar[tuple[RequestKind, ...]] = ("choice",)

    def statistics(self, example: Example, responses: Sequence[Response]) -> tuple[float, ...]:
        """Mark whether the example is right, its right class and the one told: 1 + C + C numbers for C classes."""
        totals = _totals(example, responses, metric=self.name)
        right, told = _right(example), likeliest(totals)
        classes = range(len(totals))
        return float(right == told), *(float(c == right) for c in classes), *(float(c == told) for c in classes)

    def complaint(self, example: Example) -> str | None:
        """Refuse examples with other than one right choice."""
        return _complaint(example, metric=self.name)

    def score_totals(self, totals: NDArray[np.float64], n: NDArray[np.float64]) -> NDArray[np.float64]:
        """Compute the correlation from the counts of right examples, right classes and told ones."""
        import numpy as np

        agreed = totals[:, 0]  # (R,)
        right, told = np.split(totals[:, 1:], 2, axis=1)  # (R, C) each
        covariance = agreed * n - (right * told).sum(axis=1)
        spread = (n**2 - (told**2).sum(axis=1)) * (n**2 - (right**2).sum(axis=1))
        correlation: NDArray[np.float64] = covariance / np.sqrt(np.where(spread > 0, spread, 1))
        return np.where(spread > 0, correlation, 0.0)

    def aggregate(self, statistics: Sequence[tuple[float, ...]], *, clusters: Sequence[str] | None = None) -> Estimate:
        """Estimate the correlation by the bootstrap; DataError where examples differ in their number of choices."""
        sizes = {len(each) // 2 for each in statistics}
        if len(sizes) > 1:
            raise DataError(
                f"found examples of {min(sizes)} and of {max(sizes)} choices, expected equally many for the "
                f"{self.name}; take another metric"
            )
        return stats.bootstrap(statistics, self.score_totals, clusters=clusters)


@dataclass(frozen=True, slots=True)
class F1OfClasses:
    """Harmonic mean of precision and recall of the second of two choices, 0..1; 0 where neither told nor right."""

    name: ClassVar[str] = "F1 of the second choice"
    is_proportion: ClassVar[bool] = False
    needs: ClassVar[tuple[RequestKind, ...]] = ("choice",)

    def statistics(self, example: Example, responses: Sequence[Response]) -> tuple[float, ...]:
        """Mark whether the second choice is told and right, and how often it is either: 0, 1 or 2."""
        right, told = _right(example), likeliest(_totals(example, responses, metric=self.name))
        return float(right == told == 1), float(right + told)

    def complaint(self, example: Example) -> str | None:
        """Refuse examples of other than two choices."""
        if len(example.choices) != 2:
            return f"found {len(example.choices)} choices, expected 2 for the {self.name}"
        return _complaint(example, metric=self.name)

    def score_totals(self, totals: NDArray[np.float64], n: NDArray[np.float64]) -> NDArray[np.float64]:  # noqa: ARG002
        """Compute 2 TP / (2 TP + FP + FN)."""
        return 2 * aggregation.ratio(totals)

    def aggregate(self, statistics: Sequence[tuple[float, ...]], *, clusters: Sequence[str] | None = None) -> Estimate:
        """Estimate the F1 by the bootstrap."""
        return stats.bootstrap(statistics, self.score_totals, clusters=clusters)


@dataclass(frozen=True, slots=True)
class BrierScore:
    """Squared distance of the choices' probabilities from the truth (Brier 1950), 0..2, the lower the better.

    The probabilities are the likelihoods, divided by their sum.
    """

    name: ClassVar[str] = "Brier score"
    is_proportion: ClassVar[bool] = False
    needs: ClassVar[tuple[RequestKind, ...]] = ("choice",)

    def statistics(self, example: Example, responses: Sequence[Response]) -> tuple[float, ...]:
        """Compare the probabilities of an example's choices with 1 for the right one and 0 for the others."""
        import numpy as np

        totals = np.asarray(_totals(example, responses, metric=self.name))
        weights = np.exp(totals - totals.max())
        probabilities = weights / weights.sum()
        probabilities[_right(example)] -= 1
        return (float((probabilities**2).sum()),)

    def complaint(self, example: Example) -> str | None:
        """Refuse examples with other than one right choice."""
        return _complaint(example, metric=self.name)

    def score_totals(self, totals: NDArray[np.float64], n: NDArray[np.float64]) -> NDArray[np.float64]:
        """Average the examples' scores."""
        return stats.mean_of_totals(totals, n)

    def aggregate(self, statistics: Sequence[tuple[float, ...]], *, clusters: Sequence[str] | None = None) -> Estimate:
        """Estimate the mean by the bootstrap."""
        return stats.bootstrap(statistics, self.score_totals, clusters=clusters)


def _totals(example: Example, responses: Sequence[Response], *, metric: str) -> list[float]:
    answers = likelihoods(responses, metric=metric)
    if len(answers) != len(example.choices):
        raise ValueError(f"found {len(answers)} responses to {len(example.choices)} choices, expected one each")
    return [answer.total for answer in answers]


def _complaint(example: Example, *, metric: str) -> str | None:
    right = {choice for choice in example.choices if choice in example.targets}
    return None if len(right) == 1 else f"found {len(right)} right choices, expected 1 for the {metric}"


def _right(example: Example) -> int:
    """Return the place of the right choice, the first of equal texts."""
    return next(place for place, choice in enumerate(example.choices) if choice in example.targets)

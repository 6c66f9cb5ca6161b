"""Accuracy: of all choices, one that is right is the likeliest to continue the context.

Brown 2020, section 2.4, compares likelihoods per token, so that long choices are not at a disadvantage; lm_eval's `acc`
compares whole ones. They agree where every choice is one token. Of equally likely choices the first counts, as with
lm_eval.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from evalkit import stats
from evalkit.records import Estimate, Example, LogProb, RequestKind, Response


class Accuracy:
    """1 where a right choice has the highest likelihood per token, 0 elsewhere; the score is the proportion of ones."""

    name = "accuracy"
    is_proportion = True
    kinds: frozenset[RequestKind] = frozenset({"choice"})

    def statistics(self, example: Example, responses: Sequence[Response]) -> tuple[float, ...]:
        """Compare the choices of an example, whose responses are in their order."""
        return _is_right(example, responses, likelihood=lambda answer: answer.total / answer.tokens)

    def aggregate(self, statistics: Sequence[tuple[float, ...]]) -> Estimate:
        """Estimate the proportion with Wilson's interval."""
        return _proportion(statistics)


class AccuracyOfSums:
    """1 where a right choice has the highest likelihood as a whole, as lm_eval's `acc`; 0 elsewhere."""

    name = "accuracy, whole likelihoods"
    is_proportion = True
    kinds: frozenset[RequestKind] = frozenset({"choice"})

    def statistics(self, example: Example, responses: Sequence[Response]) -> tuple[float, ...]:
        """Compare the choices of an example, whose responses are in their order."""
        return _is_right(example, responses, likelihood=lambda answer: answer.total)

    def aggregate(self, statistics: Sequence[tuple[float, ...]]) -> Estimate:
        """Estimate the proportion with Wilson's interval."""
        return _proportion(statistics)


def _is_right(
    example: Example, responses: Sequence[Response], *, likelihood: Callable[[LogProb], float]
) -> tuple[float, ...]:
    answers = [each for each in responses if isinstance(each, LogProb)]
    if len(answers) != len(responses):
        raise TypeError("accuracy scores likelihoods, found a completion among the responses")
    if len(answers) != len(example.choices):
        raise ValueError(f"found {len(answers)} responses to {len(example.choices)} choices, expected one each")
    chosen, _ = max(zip(example.choices, answers, strict=True), key=lambda pair: likelihood(pair[1]))
    return (float(chosen in example.targets),)


def _proportion(statistics: Sequence[tuple[float, ...]]) -> Estimate:
    return stats.wilson(sum(right for (right,) in statistics), n=len(statistics))

"""Exact match: the completion is one of the targets, white space around either aside.

The rule of Brown 2020, section 3.9.1: a model "must generate the correct answer exactly".
"""

from __future__ import annotations

from collections.abc import Sequence

from evalkit import stats
from evalkit.records import Completion, Estimate, Example, RequestKind, Response


class ExactMatch:
    """1 where the completion equals a target, 0 elsewhere; the score is the proportion of ones."""

    name = "exact match"
    is_proportion = True
    kinds: frozenset[RequestKind] = frozenset({"generate"})

    def statistics(self, example: Example, responses: Sequence[Response]) -> tuple[float, ...]:
        """Compare the one completion of an example with its targets."""
        (completion,) = responses
        if not isinstance(completion, Completion):
            raise TypeError(f"exact match scores completions, found {type(completion).__name__}")
        answer = completion.text.strip()
        return (float(any(answer == target.strip() for target in example.targets)),)

    def aggregate(self, statistics: Sequence[tuple[float, ...]]) -> Estimate:
        """Estimate the proportion with Wilson's interval."""
        return stats.wilson(sum(match for (match,) in statistics), n=len(statistics))

"""Accuracy: of all choices, one that is right is the likeliest.

Brown 2020, section 2.4, compares likelihoods per token, so that long choices are not at a disadvantage, and for some
tasks divides by the likelihood of the choice on its own; for others the choices end the question and what follows them
is compared (partial evaluation, Trinh and Le 2018). lm_eval's `acc` compares whole likelihoods. They agree where every
choice is one token. Of equally likely choices the first counts, as with lm_eval.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from evalkit.metrics import aggregation
from evalkit.metrics.responses import likelihoods
from evalkit.records import Estimate, Example, LogProb, RequestKind, Response

NAMES = {
    "token": "accuracy",
    "sum": "accuracy, whole likelihoods",
    "byte": "accuracy per byte",
    "character": "accuracy per character",
    "unconditional": "accuracy against unconditional likelihoods",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Accuracy:
    """1 where a right choice has the highest likelihood, 0 elsewhere; the score is the proportion of ones.

    `by` says what is compared: the likelihood per token, as a `sum` (lm_eval's `acc`), per byte (`acc_bytes`) or per
    character (`acc_norm`) of the choice, or divided by the likelihood of the choice after the task's answer context
    alone (`unconditional`, Brown 2020, section 2.4; `acc_mutual_info` where that context is empty). The `delimiter`
    that a choice begins with counts neither as bytes nor as characters.
    """

    by: Literal["token", "sum", "byte", "character", "unconditional"] = "token"
    delimiter: str = " "

    is_proportion: ClassVar[bool] = True

    @property
    def name(self) -> str:
        """Name what is compared."""
        return NAMES[self.by]

    @property
    def needs(self) -> tuple[RequestKind, ...]:
        """Ask for the choices, and where they are divided by it for each choice on its own."""
        return ("choice", "unconditional") if self.by == "unconditional" else ("choice",)

    def statistics(self, example: Example, responses: Sequence[Response]) -> tuple[float, ...]:
        """Compare the choices of an example; responses are in their order, those of choices on their own come last."""
        answers = _one_each(example, responses, copies=len(self.needs), metric=self.name)
        return _is_right(example, [self._score(example, answers, place) for place in range(len(example.choices))])

    def aggregate(self, statistics: Sequence[tuple[float, ...]], *, clusters: Sequence[str] | None = None) -> Estimate:
        """Estimate the proportion with Wilson's interval."""
        return aggregation.proportion(statistics, clusters=clusters)

    def _score(self, example: Example, answers: Sequence[LogProb], place: int) -> float:
        answer = answers[place]
        shown = example.choices[place].removeprefix(self.delimiter)
        match self.by:
            case "sum":
                return answer.total
            case "token":
                return _per(answer.total, answer.tokens)
            case "byte":
                return _per(answer.total, len(shown.encode()))
            case "character":
                return _per(answer.total, len(shown))
            case "unconditional":
                return answer.total - answers[len(example.choices) + place].total


@dataclass(frozen=True, slots=True, kw_only=True)
class PartialAccuracy:
    """1 where the ending is likeliest after a right choice, 0 elsewhere; the score is the proportion of ones.

    The ending is one text, so that likelihoods per token and as a `sum` (lm_eval's `acc`) differ only where it is cut
    into other tokens after another choice.
    """

    by: Literal["token", "sum"] = "token"

    is_proportion: ClassVar[bool] = True
    needs: ClassVar[tuple[RequestKind, ...]] = ("partial",)

    @property
    def name(self) -> str:
        """Name what is compared."""
        return "partial " + NAMES[self.by]

    def statistics(self, example: Example, responses: Sequence[Response]) -> tuple[float, ...]:
        """Compare the choices of an example, whose responses are in their order."""
        answers = _one_each(example, responses, copies=1, metric=self.name)
        if self.by == "sum":
            return _is_right(example, [answer.total for answer in answers])
        return _is_right(example, [_per(answer.total, answer.tokens) for answer in answers])

    def aggregate(self, statistics: Sequence[tuple[float, ...]], *, clusters: Sequence[str] | None = None) -> Estimate:
        """Estimate the proportion with Wilson's interval."""
        return aggregation.proportion(statistics, clusters=clusters)


def likeliest(scores: Sequence[float]) -> int:
    """Return the place of the highest score, the first of equals."""
    return max(range(len(scores)), key=scores.__getitem__)


def _one_each(example: Example, responses: Sequence[Response], *, copies: int, metric: str) -> list[LogProb]:
    answers = likelihoods(responses, metric=metric)
    expected = copies * len(example.choices)
    if len(answers) != expected:
        raise ValueError(f"found {len(answers)} responses to {len(example.choices)} choices, expected {expected}")
    return answers


def _is_right(example: Example, scores: Sequence[float]) -> tuple[float]:
    return (float(example.choices[likeliest(scores)] in example.targets),)


def _per(total: float, length: int) -> float:
    # A choice of no length has no likelihood per character: it never wins.
    return total / length if length else -math.inf

"""A model's participants against the control's: the paper's test, others beside it, and what they could find."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from evalkit.articles.analysis import accuracy, clustered, components, power
from evalkit.articles.analysis.accuracy import Test
from evalkit.articles.analysis.clustered import Crossed, RobustTest
from evalkit.articles.analysis.power import Variances


@dataclass(frozen=True, slots=True)
class Side:
    """The participants of one condition who are left."""

    accuracies: tuple[float, ...]  # of those with one
    answers: Crossed


@dataclass(frozen=True, slots=True)
class Detectable:
    """The smallest true difference that so many participants find in 80 % of studies; None above 1."""

    simple: float | None  # by the t-test
    crossed: float | None  # where articles vary too
    limit: float | None  # with endless participants and as many articles


@dataclass(frozen=True, slots=True)
class Against:
    """The control's accuracy minus a model's; what cannot be computed is None."""

    pooled: Test | None  # the paper's
    welch: Test | None
    robust: RobustTest | None
    variances: Variances | None
    detectable: Detectable | None


def against(control: Side, model: Side, *, articles: int) -> Against:
    """Compare a condition with the control."""
    pooled = accuracy.compare(control.accuracies, model.accuracies, pooled=True)
    variances = _variances(control.answers, model.answers)
    return Against(
        pooled=pooled,
        welch=accuracy.compare(control.accuracies, model.accuracies, pooled=False),
        robust=clustered.compare(control.answers, model.answers),
        variances=variances,
        detectable=None if pooled is None else _detectable(control, model, variances, articles=articles),
    )


def deviation(groups: Sequence[Sequence[float]]) -> float:
    """Pool the standard deviation of groups that have at least two values each."""
    squares = math.fsum((len(group) - 1) * accuracy.variance(group) for group in groups)
    return math.sqrt(squares / sum(len(group) - 1 for group in groups))


def _detectable(control: Side, model: Side, variances: Variances | None, *, articles: int) -> Detectable:
    n, m = len(control.accuracies), len(model.accuracies)
    spread = deviation([control.accuracies, model.accuracies])
    size = max(2, round(2 / (1 / n + 1 / m)))  # two groups of the harmonic mean have the same standard error
    decided = (len(control.answers.right) + len(model.answers.right)) / (n + m)
    simple = power.detectable(lambda each: power.simple_power(each, deviation=spread, participants=size))
    if variances is None:
        return Detectable(simple, None, None)

    def crossed(difference: float) -> float:
        return power.crossed_power(difference, variances, participants=size, articles=articles, decided=decided)

    return Detectable(simple, power.detectable(crossed), power.limit(variances, articles=articles))


def _variances(control: Crossed, model: Crossed) -> Variances | None:
    one, other = components.components(control), components.components(model)
    if one is None or other is None:
        return None
    text = components.of_difference(control, model, control_residual=one.residual, model_residual=other.residual)
    if text is None:
        return None
    return Variances((one.participant + other.participant) / 2, text, (one.residual + other.residual) / 2)

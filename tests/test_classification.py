import math

import numpy as np
import pytest
from sklearn.metrics import f1_score, matthews_corrcoef

from evalkit.errors import DataError
from evalkit.interfaces import ChecksExamples, Metric
from evalkit.metrics.classification import BrierScore, F1OfClasses, MatthewsCorrelation
from evalkit.records import Example, LogProb

CHOICES = (" no", " yes", " maybe")
METRICS = (MatthewsCorrelation(), F1OfClasses(), BrierScore())


def statistics(metric: Metric, right: int, totals: list[float]) -> tuple[float, ...]:
    choices = CHOICES[: len(totals)]
    responses = [LogProb(total, tokens=1, bytes=1, is_greedy=False, boundary_merged=False) for total in totals]
    return metric.statistics(Example("e7", {}, (choices[right],), choices=choices), responses)


def told(choice: int, *, of: int = 2) -> list[float]:
    return [-1.0 if place == choice else -2.0 for place in range(of)]


@pytest.mark.parametrize("classes", [2, 3])
def test_the_correlation_is_scikit_learns(classes: int) -> None:
    generator = np.random.default_rng(7)
    right, wrong = generator.integers(classes, size=(2, 40))
    chosen = np.where(generator.random(40) < 0.6, right, wrong)
    found = [
        statistics(MatthewsCorrelation(), int(r), told(int(c), of=classes)) for r, c in zip(right, chosen, strict=True)
    ]
    expected = matthews_corrcoef(right, chosen)
    assert 0 < expected < 1
    estimate = MatthewsCorrelation().aggregate(found)
    assert estimate.value == pytest.approx(expected, rel=1e-12)
    assert estimate.low < expected < estimate.high


def test_one_class_alone_has_no_correlation() -> None:
    found = [statistics(MatthewsCorrelation(), 1, told(choice)) for choice in (1, 0, 1)]
    assert MatthewsCorrelation().aggregate(found).value == matthews_corrcoef([1, 1, 1], [1, 0, 1]) == 0.0


def test_examples_must_have_equally_many_choices() -> None:
    found = [statistics(MatthewsCorrelation(), 0, told(0, of=size)) for size in (2, 3)]
    with pytest.raises(DataError, match="found examples of 2 and of 3 choices"):
        MatthewsCorrelation().aggregate(found)


def test_f1_is_scikit_learns() -> None:
    right, chosen = [1, 1, 1, 0, 0, 1], [1, 0, 1, 1, 0, 1]
    found = [statistics(F1OfClasses(), r, told(c)) for r, c in zip(right, chosen, strict=True)]
    # 3 right of 4 told and of 4 to be told.
    assert F1OfClasses().aggregate(found).value == pytest.approx(f1_score(right, chosen)) == pytest.approx(0.75)


def test_f1_is_0_where_the_second_choice_is_neither_told_nor_right() -> None:
    assert F1OfClasses().aggregate([statistics(F1OfClasses(), 0, told(0))] * 3).value == 0.0


def test_f1_wants_two_choices() -> None:
    complaint = F1OfClasses().complaint(Example("e7", {}, (" no",), choices=CHOICES))
    assert complaint == "found 3 choices, expected 2 for the F1 of the second choice"


def test_the_brier_score_is_the_squared_distance_from_the_truth() -> None:
    # Probabilities 3/4 and 1/4: (1/4)^2 + (1/4)^2 where the first is right, 2 (3/4)^2 where the second is.
    totals = [math.log(0.3), math.log(0.1)]
    assert statistics(BrierScore(), 0, totals) == pytest.approx((0.125,))
    assert statistics(BrierScore(), 1, totals) == pytest.approx((1.125,))
    assert BrierScore().aggregate([(0.125,), (1.125,)]).value == 0.625


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(("targets", "count"), [((), 0), ((" no", " yes"), 2), ((" other",), 0)])
def test_exactly_one_choice_is_right(metric: ChecksExamples, targets: tuple[str, ...], count: int) -> None:
    complaint = metric.complaint(Example("e7", {}, targets, choices=CHOICES[:2]))
    assert complaint is not None
    assert complaint.startswith(f"found {count} right choices, expected 1 for the ")

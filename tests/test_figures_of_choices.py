"""Reliability of choices."""

import math

import pytest

from evalkit.records import Completion, Example, LogProb, Prompt, Response, Sample
from evalkit.report.figures import reliability
from tests.test_figures_of_scores import column

PROMPT = Prompt("Q:", demonstrations=(), shots_asked=0, tokens=2, window=64)


def asked(name: str, shares: tuple[float, ...], target: str, *more: Response, prompt: Prompt | None = PROMPT) -> Sample:
    answers = tuple(
        LogProb(math.log(share), 1, 1, False, False) if share else LogProb(-math.inf, 1, 1, False, False)
        for share in shares
    )
    example = Example(name, {}, (target,), choices=("a", "b", "c")[: len(shares)])
    return Sample("quiz", 0, example, prompt, (*answers, *more), {})


@pytest.mark.parametrize(
    ("shares", "expected"),
    [((0.3, 0.1), 0.75), ((0.2, 0.6), 0.75), ((0.5, 0.0), 1.0), ((1e-300, 1e-300), 0.5), ((0.2, 0.2, 0.4), 0.5)],
)
def test_confidence_is_the_softmax_over_the_choices(shares: tuple[float, ...], expected: float) -> None:
    found = reliability.confidence(asked("e", shares, "b"))
    assert found is not None
    assert found[0] == pytest.approx(expected)


def test_what_is_no_choice_has_no_confidence() -> None:
    assert reliability.confidence(asked("e", (0.5,), "a")) is None
    assert reliability.confidence(asked("e", (0.0, 0.0), "a")) is None
    assert reliability.confidence(asked("e", (0.5, 0.5), "a", prompt=None)) is None
    assert reliability.confidence(asked("e", (0.5, 0.5), "a", Completion("a", 1, "stop"))) is None


def test_likelihoods_of_choices_on_their_own_do_not_count() -> None:
    alone = LogProb(0.0, 1, 1, False, False)
    assert reliability.confidence(asked("e", (0.3, 0.1), "a", alone, alone)) == (pytest.approx(0.75), True)


def test_the_calibration_error_weights_bins_by_their_samples() -> None:
    # Confidence 0.75 four times, right three times: no error. 0.95 once, wrong: 0.95 of one sample in five.
    samples = [asked(f"e{number}", (0.3, 0.1), "b" if number == 0 else "a") for number in range(4)]
    found = reliability.calibration([*samples, asked("x", (0.95, 0.05), "b")], title="Quiz")
    assert found is not None
    assert [(each.low, each.high, each.accuracy.n) for each in found.bins] == [(0.7, 0.8, 4), (0.9, 1.0, 1)]
    assert [each.accuracy.value for each in found.bins] == [0.75, 0.0]
    assert found.error.value == pytest.approx(0.95 / 5)
    assert found.error.low <= found.error.value <= found.error.high
    drawn = reliability.reliability([found, found])
    assert drawn is not None
    assert column(drawn.data, "confidence, mean") == pytest.approx([0.75, 0.95] * 2)
    assert "expected calibration error" in drawn.caption


def test_the_upper_edge_belongs_to_a_bin() -> None:
    found = reliability.calibration([asked("e", (0.5, 0.5), "a"), asked("f", (0.5, 0.0), "a")], title="Quiz")
    assert found is not None
    assert [(each.low, each.high) for each in found.bins] == [(0.4, 0.5), (0.9, 1.0)]


def test_without_choices_nothing_is_drawn() -> None:
    assert reliability.calibration([asked("e", (0.5,), "a")], title="Quiz") is None
    assert reliability.calibration([], title="Quiz") is None
    assert reliability.reliability([]) is None

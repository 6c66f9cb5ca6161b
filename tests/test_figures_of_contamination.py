"""Change on clean examples, score against overlap, gain by threshold."""

import math
import random
from collections.abc import Mapping, Sequence
from functools import cache

import pytest

from evalkit.contamination import comparison, gain, published
from evalkit.contamination.comparison import TOO_SMALL
from evalkit.contamination.gain import Curves
from evalkit.metrics.exact import ExactMatch
from evalkit.records import Comparison, Estimate, Example, Prompt, Sample, Split
from evalkit.report.content import Figure
from evalkit.report.figures import clean_share, dose, gains, placing
from evalkit.report.figures.drawing import drawing, freeze
from tests.test_figures_of_scores import column

PROMPT = Prompt("Q:", demonstrations=(), shots_asked=0, tokens=2, window=64)
WHOLE, CLEAN = Estimate(0.5, 0.4, 0.6, 100), Estimate(0.45, 0.4, 0.5, 60)


def compared(task: str, **changes: object) -> Comparison:
    fields: dict[str, object] = {
        "task": task,
        "title": task,
        "shots": 0,
        "metric": "exact match",
        "is_proportion": True,
        "n": 13,
        "all": WHOLE,
        "clean": CLEAN,
        "dirty": None,
        "unscanned": None,
        "difference": Estimate(-0.05, -0.1, 0.02, 100),
        "detectable": None,
        "flags": (TOO_SMALL,),
    }
    return Comparison(**(fields | changes))


WITHOUT = (
    compared("no clean", clean=None, difference=None),
    compared("all zero", all=Estimate(0.0, 0.0, 0.1, 50), clean=Estimate(0.0, 0.0, 0.1, 9)),
)


def sample(name: str, right: float) -> Sample:
    return Sample("quiz", 0, Example(name, {}, ("yes",)), PROMPT, (), {"exact_match": (right,)})


def world(examples: int) -> tuple[list[Sample], dict[str, float]]:
    draw = random.Random(f"figures {examples}")
    values = {f"e{number}": draw.choice((0.0, 0.0, draw.random())) for number in range(examples)}
    return [sample(name, float(draw.random() < 0.3 + value / 2)) for name, value in values.items()], values


def curves(samples: Sequence[Sample], values: Mapping[str, float]) -> Curves:
    split = Split("quiz", "m", 0.5, clean=tuple(values), dirty=(), unscanned=(), signature="")
    row = comparison.compare(samples, split, title="Quiz", n=8, metric_name="exact_match")
    found = gain.curves(row, samples, values, metric_name="exact_match", metric=ExactMatch())
    assert found is not None
    return found


@cache
def changed() -> Figure:
    found = clean_share.change_on_clean([*WITHOUT, compared("quiz")])
    assert found is not None
    return found


def test_a_change_is_in_percent_of_the_score_on_all() -> None:
    # 60 of 100 examples are clean; clean minus all is -0.05, from -0.1 to 0.02, of 0.5.
    assert column(changed().data, "clean, %") == [60.0]
    [change] = column(changed().data, "change, %")
    assert isinstance(change, Estimate)
    assert (change.value, change.low, change.high) == pytest.approx((-10.0, -20.0, 4.0))
    assert "Hollow" in changed().caption


def test_what_has_no_change_is_named_and_not_drawn() -> None:
    assert clean_share.change_on_clean(WITHOUT) is None
    assert clean_share.change_on_clean([]) is None
    assert column(changed().data, "task") == ["quiz"]
    assert "no clean, all zero" in changed().caption


def test_many_tasks_at_several_shots_beside_gpt3() -> None:
    rows = published.load()[:9]
    many = [compared(f"a long name of a task, {number}", shots=shots) for number in range(15) for shots in (0, 10)]
    found = clean_share.change_on_clean(many, beside=rows, relative="gpt3_table")
    assert found is not None
    changes = column(found.data, "change, %")
    assert len(changes) == len(many) + len(rows)
    assert isinstance(changes[0], Estimate)
    assert changes[0].value == pytest.approx(200 * -0.05 / 0.95)


def test_names_cover_neither_each_other_nor_points() -> None:
    points = [(50.0 + number % 4, number % 3, number % 3 - 1, number % 3 + 1) for number in range(10)]
    with drawing(7, 3) as drawn:
        axes = drawn.add_subplot()
        axes.set(xlim=(0, 100), ylim=(-10, 10))
        freeze(drawn)
        names = [f"name {number}" for number in range(10)]
        left_out = placing.place(axes, names, points, colours=["#000000"] * 10, avoid=[], farthest=125)
        assert left_out == ()
        boxes = [text.get_window_extent() for text in axes.texts]
        spots = axes.transData.transform([(x, y) for x, y, _, _ in points])
    assert len(boxes) == 10
    assert not any(one.overlaps(other) for at, one in enumerate(boxes) for other in boxes[:at])
    assert not any(box.contains(*spot) for box in boxes for spot in spots)


def test_bins_hold_equal_counts_and_equal_values_together() -> None:
    assert [len(each) for each in dose.equal_counts([float(value) for value in range(50)], bins=5)] == [10] * 5
    # 30 of 50 have no overlap: they are one bin, and the rest is shared out among the others.
    values = [0.0] * 30 + [0.1 + number / 100 for number in range(20)]
    found = dose.equal_counts(values, bins=5)
    assert [len(each) for each in found] == [30, 5, 5, 5, 5]
    assert sorted(place for each in found for place in each) == list(range(50))
    assert dose.equal_counts([0.5] * 9, bins=5) == [list(range(9))]
    assert dose.equal_counts([], bins=5) == []


def test_a_dose_is_the_score_of_each_bin() -> None:
    samples, values = world(200)
    found = dose.dose(samples, values, title="Quiz", metric_name="exact_match", metric=ExactMatch())
    assert found is not None
    assert sum(each.score.n for each in found.bins) == 200
    right = sum(each.statistics["exact_match"][0] for each in samples)
    assert math.fsum(each.score.value * each.score.n for each in found.bins) == pytest.approx(right)
    assert all(one.high < other.low for one, other in zip(found.bins, found.bins[1:], strict=False))
    drawn = dose.dose_response([found], measure="token-coverage(n=8)")
    assert drawn is not None
    assert column(drawn.data, "overlap, mean") == [each.mean for each in found.bins]
    assert "token-coverage(n=8)" in drawn.caption


def test_one_overlap_has_no_response() -> None:
    samples, values = world(30)
    same = dict.fromkeys(values, 0.0)
    assert dose.dose(samples, same, title="Quiz", metric_name="exact_match", metric=ExactMatch()) is None
    assert dose.dose(samples, {}, title="Quiz", metric_name="exact_match", metric=ExactMatch()) is None
    assert dose.dose_response([], measure="m") is None


def test_every_threshold_is_beside_the_gain_curve() -> None:
    samples, values = world(60)
    found, dirty = curves(samples, values), curves(samples, dict.fromkeys(values, 1.0))
    assert gains.gain_curve([dirty], measure="gpt3") is None
    drawn = gains.gain_curve([found, dirty], measure="token-coverage(n=8)")
    assert drawn is not None
    assert "Not drawn, as no threshold leaves clean examples: Quiz" in drawn.caption
    assert found.curve is not None
    exact = [100 * each.gain for each in found.curve if each.gain is not None]
    shown = column(drawn.data, "gain")
    assert shown[len(found.gains) :] == exact
    first = next(each.gain for each in found.gains if each.gain is not None)
    assert next(each for each in shown if isinstance(each, Estimate)).value == pytest.approx(100 * first.value)

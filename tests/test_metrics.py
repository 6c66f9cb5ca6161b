import pytest

from evalkit import registry
from evalkit.metrics.exact import ExactMatch
from evalkit.records import Completion, Example, LogProb


def example(*targets: str) -> Example:
    return Example(id="e", fields={}, targets=targets)


@pytest.mark.parametrize(
    ("text", "statistic"),
    [(" 143", 1.0), ("143\n", 1.0), (" 1430", 0.0), ("-143", 0.0), ("143.", 0.0), ("one hundred", 1.0), ("", 0.0)],
)
def test_exact_match_compares_all_but_the_white_space_around(text: str, statistic: float) -> None:
    response = Completion(text=text, tokens=1, finish="stop")
    assert ExactMatch().statistics(example(" 143", " one hundred"), [response]) == (statistic,)


def test_exact_match_minds_case_and_white_space_within() -> None:
    response = Completion(text="New  york", tokens=1, finish="stop")
    assert ExactMatch().statistics(example(" New york"), [response]) == (0.0,)


def test_exact_match_aggregates_to_a_proportion() -> None:
    estimate = ExactMatch().aggregate([(1.0,), (0.0,), (1.0,), (1.0,)])
    assert (estimate.value, estimate.n) == (0.75, 4)
    assert 0 < estimate.low < 0.75 < estimate.high < 1


def test_exact_match_refuses_likelihoods() -> None:
    response = LogProb(total=-1.0, tokens=1, bytes=1, is_greedy=True, boundary_merged=False)
    with pytest.raises(TypeError, match="LogProb"):
        ExactMatch().statistics(example(" a"), [response])


@pytest.mark.parametrize("name", registry.METRICS)
def test_every_registered_metric_can_be_made_and_has_a_name(name: str) -> None:
    metric = registry.resolve(registry.METRICS, name)()
    assert metric.name
    assert isinstance(metric.is_proportion, bool)

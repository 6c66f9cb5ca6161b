import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalkit import metric_spec, registry
from evalkit.errors import TaskError
from evalkit.interfaces import Metric
from evalkit.metrics.exact import ExactMatch
from evalkit.metrics.length import Words
from evalkit.metrics.token_f1 import TokenF1
from evalkit.records import Completion, Example, LogProb

NEEDED = {"multi_bleu": "multi_bleu(language=de)"}  # what cannot be made without settings
LIKELIHOOD = LogProb(total=-1.0, tokens=1, bytes=1, is_greedy=True, boundary_merged=False)


def example(*targets: str) -> Example:
    return Example(id="e", fields={}, targets=targets)


def score(metric: Metric, text: str, *targets: str) -> float:
    (statistic,) = metric.statistics(example(*targets), [Completion(text=text, tokens=1, finish="stop")])
    return statistic


@pytest.mark.parametrize(
    ("text", "statistic"),
    [(" 143", 1.0), ("143\n", 1.0), (" 1430", 0.0), ("-143", 0.0), ("143.", 0.0), ("one hundred", 1.0), ("", 0.0)],
)
def test_exact_match_compares_all_but_the_white_space_around(text: str, statistic: float) -> None:
    assert score(ExactMatch(), text, " 143", " one hundred") == statistic


def test_exact_match_minds_case_and_white_space_within() -> None:
    assert score(ExactMatch(), "New  york", " New york") == 0.0
    assert score(ExactMatch(), "new york", " New york") == 0.0


@pytest.mark.parametrize(
    ("metric", "text", "target"),
    [
        (ExactMatch(ignore_case=True), "New York", "new york"),
        (ExactMatch(ignore_punctuation=True), "Hello, world!", "Hello world"),
        (ExactMatch(ignore_numbers=True), "room 12", "room"),
        (ExactMatch(regexes_to_ignore=(",", r"\$")), "$1,000", "1000"),
        # The expressions see the text as it is, before case and punctuation go.
        (ExactMatch(regexes_to_ignore=("The",), ignore_case=True), "The the cat", "the cat"),
        (ExactMatch(regexes_to_ignore=(r"\.",), ignore_punctuation=True), "a.!", "a"),
    ],
)
def test_exact_match_ignores_what_it_is_told_to(metric: ExactMatch, text: str, target: str) -> None:
    assert score(metric, text, target) == 1.0
    assert score(ExactMatch(), text, target) == 0.0


def test_exact_match_ignores_white_space_last() -> None:
    assert score(ExactMatch(ignore_punctuation=True), "a !", "a") == 1.0
    assert score(ExactMatch(strip=False), "a ", "a") == 0.0


def test_exact_match_refuses_a_broken_expression() -> None:
    with pytest.raises(TaskError, match=r"found '\(', expected a regular expression: missing"):
        ExactMatch(regexes_to_ignore=("(",))


def test_exact_match_aggregates_to_a_proportion() -> None:
    estimate = ExactMatch().aggregate([(1.0,), (0.0,), (1.0,), (1.0,)])
    assert (estimate.value, estimate.n) == (0.75, 4)
    assert 0 < estimate.low < 0.75 < estimate.high < 1


@pytest.mark.parametrize(
    ("text", "targets", "value"),
    [
        ("the Eiffel Tower!", ("Eiffel tower",), 100.0),  # articles, case and punctuation aside
        ("in Paris, France", ("Paris",), 50.0),  # precision 1/3, recall 1/1
        ("in Paris, France", ("London", "Paris France"), 80.0),  # the best target: precision 2/3, recall 2/2
        ("no no no", ("no",), 50.0),  # a word counts as often as both have it: precision 1/3, recall 1/1
        ("London", ("Paris",), 0.0),
        ("", ("Paris",), 0.0),
        ("the", ("a",), 0.0),  # nothing is left of either, as in the script of SQuAD 1.1
        ("co-operate", ("cooperate",), 100.0),  # punctuation goes without a trace
    ],
)
def test_f1_is_that_of_squad(text: str, targets: tuple[str, ...], value: float) -> None:
    assert score(TokenF1(), text, *targets) == pytest.approx(value)


def test_f1_is_averaged() -> None:
    estimate = TokenF1().aggregate([(100.0,), (50.0,), (0.0,), (50.0,)])
    assert (estimate.value, estimate.n) == (50.0, 4)
    assert 0 <= estimate.low < 50 < estimate.high <= 100


@given(st.text("abAt ,.", max_size=20), st.text("abAt ,.", max_size=20))
def test_f1_does_not_tell_completion_from_target(one: str, other: str) -> None:
    assert score(TokenF1(), one, other) == score(TokenF1(), other, one)


def test_words_are_what_white_space_divides() -> None:
    assert score(Words(), " Two cats\n\nsat,  then left. ", "") == 5.0
    assert Words().aggregate([(5.0,), (6.0,)]).value == 5.5


@pytest.mark.parametrize("metric", [ExactMatch(), TokenF1(), Words()])
def test_metrics_of_completions_refuse_likelihoods(metric: Metric) -> None:
    with pytest.raises(TypeError, match="LogProb"):
        metric.statistics(example(" a"), [LIKELIHOOD])


@pytest.mark.parametrize("name", registry.METRICS)
def test_every_registered_metric_can_be_made_and_has_a_name(name: str) -> None:
    metric = metric_spec.load(NEEDED.get(name, name))
    assert metric.name
    assert isinstance(metric.is_proportion, bool)
    assert metric.needs


def test_no_two_registered_metrics_share_a_name() -> None:
    names = [metric_spec.load(NEEDED.get(name, name)).name for name in registry.METRICS]
    assert len(set(names)) == len(names)

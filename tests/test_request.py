from dataclasses import replace

import pytest

from evalkit import prompt, request
from evalkit.errors import DataError, TaskError
from evalkit.records import Decoding, Example, Filter, Generate, LogLikelihood, RequestKind, Task
from tests.conftest import count_pieces, item


def built(task: Task, example: Example, *, seed: int = 0) -> tuple[object, ...]:
    [made] = prompt.build(task, [(example, ())], shots=0, count_tokens=count_pieces, window=100)
    assert made is not None
    [requests] = request.build(task, example, made, seed=seed).values()
    return requests


def test_generation_carries_the_rules_of_the_task(quiz: Task) -> None:
    task = replace(quiz, stop=("\n", "."), max_tokens=7, decoding=Decoding(beams=4))
    [made] = built(task, item(1))
    assert isinstance(made, Generate)
    assert made.context == "Answer the questions.\n\nQuestion: word1\nAnswer:"
    assert (made.stop, made.max_tokens, made.decoding) == (("\n", "."), 7, Decoding(beams=4))


def test_seed_of_a_generation_is_its_own_and_fits_64_bits(quiz: Task) -> None:
    def seed_of(task: Task, example: Example, seed: int) -> int:
        [made] = built(task, example, seed=seed)
        assert isinstance(made, Generate)
        return made.seed

    drawn = replace(quiz, decoding=Decoding(temperature=1.0))
    seeds = [seed_of(drawn, item(number), 0) for number in range(50)]
    seeds += [seed_of(drawn, item(0), 1), seed_of(replace(drawn, name="other"), item(0), 0)]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert seed_of(drawn, item(0), 0) == seeds[0]


def test_what_draws_nothing_has_no_seed(quiz: Task) -> None:
    assert built(quiz, item(1), seed=1) == built(replace(quiz, name="other"), item(1), seed=2)


def test_repeats_are_drawn_apart(quiz: Task) -> None:
    made = built(replace(quiz, decoding=Decoding(temperature=1.0), repeats=3), item(1))
    assert len({each.seed for each in made if isinstance(each, Generate)}) == 3
    assert made[:1] == built(replace(quiz, decoding=Decoding(temperature=1.0)), item(1))


def test_each_metric_has_the_requests_that_it_needs(quiz: Task) -> None:
    each = replace(quiz, metrics=("exact_match", "greedy_match"))
    [made] = prompt.build(each, [(item(1), ())], shots=0, count_tokens=count_pieces, window=100)
    assert made is not None
    asked = request.build(each, item(1), made, seed=0)
    assert list(asked) == ["generate", "loglikelihood"]
    assert asked["loglikelihood"] == (LogLikelihood(made.context, " yes"),)


def test_choices_on_their_own_follow_the_answer_context(quiz: Task) -> None:
    each = replace(quiz, kind="choice", metrics=("accuracy(by=unconditional)",), answer_context="Answer:")
    example = replace(item(1), choices=(" no", " yes"))
    [made] = prompt.build(each, [(example, ())], shots=0, count_tokens=count_pieces, window=100)
    assert made is not None
    asked = request.build(each, example, made, seed=0)
    assert asked["unconditional"] == (LogLikelihood("Answer:", " no"), LogLikelihood("Answer:", " yes"))


def test_partial_evaluation_asks_for_one_ending_after_each_choice(quiz: Task) -> None:
    each = replace(
        quiz, kind="partial", metrics=("partial_accuracy",), description="", template="{{ question }} because"
    )
    example = replace(item(1), choices=(" it", " he"), targets=(" it",), ending=" fell")
    made = built(each, example)
    assert made == (LogLikelihood("word1 because it", " fell"), LogLikelihood("word1 because he", " fell"))
    assert prompt.worked(each, example) == "word1 because it fell"


def test_a_metric_that_cannot_score_the_task_is_named(quiz: Task) -> None:
    with pytest.raises(TaskError, match="metric 'accuracy' scores requests of kind 'choice', found a task of kind"):
        request.check(replace(quiz, metrics=("accuracy",)), [])


@pytest.mark.parametrize(
    ("kind", "metric", "choices", "message"),
    [
        ("choice", "accuracy", ("", " no"), "test.jsonl:3: found an empty answer"),
        ("loglikelihood", "greedy_match", (), "test.jsonl:3: found an empty answer"),
        ("choice", "f1_classes", ("a", "", "c"), "test.jsonl:3: found 3 choices, expected 2"),
    ],
)
def test_an_example_that_cannot_be_scored_is_named_with_its_place(
    quiz: Task, kind: RequestKind, metric: str, choices: tuple[str, ...], message: str
) -> None:
    task = replace(quiz, kind=kind, metrics=(metric,), is_verbatim=True)
    bad = replace(item(1), targets=("",), choices=choices, place="test.jsonl:3")
    with pytest.raises(DataError, match=f"quiz: {message}"):
        request.check(task, [replace(item(2), choices=(" yes", " no")), bad])


def test_a_filter_must_be_left_with_enough_answers(quiz: Task) -> None:
    first_two = Filter("few", ({"function": "take_first_k", "k": 2},))
    with pytest.raises(TaskError, match="found 1 answers an example, expected 2 or more; raise the task's 'repeats'"):
        request.check(replace(quiz, filters=(first_two,)), [])
    task = replace(quiz, filters=(first_two,), repeats=3, metrics=("exact_match@few",))
    with pytest.raises(TaskError, match="scores one completion, found 2 an example"):
        request.check(task, [])


def test_choices_are_asked_in_their_order(quiz: Task) -> None:
    example = replace(item(1), choices=(" no", " yes"))
    made = built(replace(quiz, kind="choice", metrics=("accuracy",)), example)
    context = "Answer the questions.\n\nQuestion: word1\nAnswer:"
    assert made == (LogLikelihood(context, " no"), LogLikelihood(context, " yes"))


def test_the_first_target_is_asked_for_where_there_are_no_choices(quiz: Task) -> None:
    example = replace(item(1), targets=(" yes", " true"))
    made = built(replace(quiz, kind="loglikelihood", metrics=("greedy_match",)), example)
    assert [each.continuation for each in made if isinstance(each, LogLikelihood)] == [" yes"]


@pytest.mark.parametrize("tail", ["", " ", "\n", " \n\n"])
def test_context_and_continuation_join_to_the_demonstration(quiz: Task, tail: str) -> None:
    task = replace(
        quiz,
        kind="loglikelihood",
        metrics=("greedy_match",),
        template="Q: {{ question }}\nA:{{ '" + repr(tail)[1:-1] + "' }}",
    )
    [alone] = built(task, item(1))
    [made] = prompt.build(task, [(item(2), [item(1)])], shots=1, count_tokens=count_pieces, window=100)
    assert isinstance(alone, LogLikelihood)
    assert made is not None
    assert alone.context == alone.context.rstrip()
    assert alone.continuation == (tail or " ") + "yes"
    assert made.context.startswith(alone.context + alone.continuation + "\n\n")

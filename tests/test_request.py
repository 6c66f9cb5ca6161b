from dataclasses import replace

import pytest

from evalkit import prompt, request
from evalkit.records import Decoding, Example, Generate, LogLikelihood, Task
from tests.conftest import count_pieces, item


def built(task: Task, example: Example, *, seed: int = 0) -> tuple[object, ...]:
    [made] = prompt.build(task, [(example, ())], shots=0, count_tokens=count_pieces, window=100)
    assert made is not None
    return request.build(task, example, made, seed=seed)


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

    seeds = [seed_of(quiz, item(number), 0) for number in range(50)]
    seeds += [seed_of(quiz, item(0), 1), seed_of(replace(quiz, name="other"), item(0), 0)]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert seed_of(quiz, item(0), 0) == seeds[0]


def test_choices_are_asked_in_their_order(quiz: Task) -> None:
    example = replace(item(1), choices=(" no", " yes"))
    made = built(replace(quiz, kind="choice"), example)
    context = "Answer the questions.\n\nQuestion: word1\nAnswer:"
    assert made == (LogLikelihood(context, " no"), LogLikelihood(context, " yes"))


def test_targets_are_asked_where_there_are_no_choices(quiz: Task) -> None:
    example = replace(item(1), targets=(" yes", " true"))
    made = built(replace(quiz, kind="loglikelihood"), example)
    assert [each.continuation for each in made if isinstance(each, LogLikelihood)] == [" yes", " true"]


@pytest.mark.parametrize("tail", ["", " ", "\n", " \n\n"])
def test_context_and_continuation_join_to_the_demonstration(quiz: Task, tail: str) -> None:
    task = replace(quiz, kind="loglikelihood", template="Q: {{ question }}\nA:{{ '" + repr(tail)[1:-1] + "' }}")
    [alone] = built(task, item(1))
    [made] = prompt.build(task, [(item(2), [item(1)])], shots=1, count_tokens=count_pieces, window=100)
    assert isinstance(alone, LogLikelihood)
    assert made is not None
    assert alone.context == alone.context.rstrip()
    assert alone.continuation == (tail or " ") + "yes"
    assert made.context.startswith(alone.context + alone.continuation + "\n\n")

import re
from collections import Counter
from functools import cache

import pytest
from scipy import stats

from evalkit import dataset, task
from evalkit.arithmetic import KINDS, Problem, draw, examples
from evalkit.errors import TaskError
from evalkit.prompt import question
from evalkit.records import Task
from evalkit.text import generator

NAMES = {"+": "plus", "-": "minus", "*": "times"}
TASKS = task.load("arithmetic")
TWO_OPERANDS = [name for name, kind in KINDS.items() if kind.operands == 2]
SUBTRACTIONS = [name for name in KINDS if name.endswith("subtraction")]


@cache
def problems(kind: str) -> list[Problem]:
    """Draw as the generator does, before repeats are left out, which bends the distribution of small tasks."""
    draws = generator("test of the distribution", kind)
    return [draw(KINDS[kind], draws) for _ in range(10_000)]


def p_value_of_uniform(values: list[int], *, cells: int) -> float:
    counts = Counter(values)
    return float(stats.chisquare([counts[cell] for cell in range(cells)]).pvalue)


def work_out(text: str) -> int:
    """Read an expression from left to right, where its parentheses are."""
    first, *rest = re.findall(r"\d+|[a-z]+|[-+*]", text)
    value = int(first)
    for sign, operand in zip(rest[::2], rest[1::2], strict=True):
        value = {"p": value + int(operand), "m": value - int(operand), "t": value * int(operand)}[
            NAMES.get(sign, sign)[0]
        ]
    return value


@pytest.mark.parametrize("kind", TWO_OPERANDS)
@pytest.mark.parametrize("place", [0, 1])
def test_operands_are_uniform_below_a_power_of_ten(kind: str, place: int) -> None:
    operands = [problem.operands[place] for problem in problems(kind)]
    top = 10 ** KINDS[kind].digits
    assert max(operands) < top
    assert p_value_of_uniform([operand * 100 // top for operand in operands], cells=100) > 0.001


def test_operands_are_independent() -> None:
    table = [[0] * 10 for _ in range(10)]
    for problem in problems("2-digit-addition"):
        table[problem.operands[0] // 10][problem.operands[1] // 10] += 1
    assert stats.chi2_contingency(table).pvalue > 0.001


@pytest.mark.parametrize("kind", SUBTRACTIONS)
def test_half_of_the_differences_are_negative(kind: str) -> None:
    answers = [problem.answer for problem in problems(kind)]
    negative, positive = sum(answer < 0 for answer in answers), sum(answer > 0 for answer in answers)
    assert stats.binomtest(negative, negative + positive).pvalue > 0.001


@pytest.mark.parametrize("place", [0, 1, 2])
def test_composite_digits_are_uniform_from_1_to_9(place: int) -> None:
    digits = [problem.operands[place] for problem in problems("1-digit-composite")]
    assert set(digits) == set(range(1, 10))
    assert p_value_of_uniform([digit - 1 for digit in digits], cells=9) > 0.001


def test_composite_operators_are_uniform_over_both_places() -> None:
    drawn = Counter(problem.operators for problem in problems("1-digit-composite"))
    assert len(drawn) == 9
    assert stats.chisquare(list(drawn.values())).pvalue > 0.001


@pytest.mark.parametrize("each", TASKS, ids=lambda each: each.name)
def test_problems_are_2000_and_unique_and_apart_from_the_pool(each: Task) -> None:
    assert each.pool is not None
    asked = [example.fields["question"] for example in dataset.load(each.source, task=each)]
    pool = [example.fields["question"] for example in dataset.load(each.pool, task=each)]
    assert len(set(asked)) == len(set(pool)) == 2000
    assert not set(asked) & set(pool)


@pytest.mark.parametrize("each", TASKS, ids=lambda each: each.name)
def test_answers_are_right(each: Task) -> None:
    for example in dataset.load(each.source, task=each)[:200]:
        assert example.targets == (f" {work_out(str(example.fields['question']))}",)


def test_form_is_the_released_one() -> None:
    # openai/gpt-3, data/two_digit_addition.jsonl and data/single_digit_three_ops.jsonl, first lines.
    assert Problem((98, 45), "+").question == "98 plus 45"
    assert Problem((9, 8, 2), "+*").question == "(9 + 8) * 2"
    for each in TASKS:
        example = dataset.load(each.source, task=each)[0]
        assert question(each, example) == f"\n\nQ: What is {example.fields['question']}?\n\nA:"


@pytest.mark.parametrize("kind", KINDS)
def test_a_tenth_is_withheld(kind: str) -> None:
    withheld = sum(example.fields["withheld"] is True for example in examples(kind=kind, split="test"))
    assert 0.08 < withheld / 2000 < 0.12


@pytest.mark.parametrize("operator", "+-*")
def test_withheld_is_equal_for_both_orders(operator: str) -> None:
    for a in range(100):
        for b in range(a):
            assert Problem((a, b), operator).is_withheld == Problem((b, a), operator).is_withheld


def test_generation_depends_on_its_seed_alone() -> None:
    first = examples(kind="3-digit-addition", split="test", seed=1, n=50)
    assert first == examples(kind="3-digit-addition", split="test", seed=1, n=50)
    assert first != examples(kind="3-digit-addition", split="test", seed=2, n=50)
    assert first == examples(kind="3-digit-addition", split="test", seed=1, n=80)[:50]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kind": "2-digit-adition", "split": "test"}, "did you mean '2-digit-addition'?"),
        ({"kind": "2-digit-addition", "split": "pol"}, "did you mean 'pool'?"),
        ({"kind": "2-digit-addition", "split": "test", "n": 10_001}, "there are 10000"),
        ({"kind": "1-digit-composite", "split": "pool", "n": 6000}, "there are 6561"),
    ],
)
def test_impossible_settings_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(TaskError) as caught:
        examples(**settings)  # type: ignore[arg-type]
    assert message in str(caught.value)

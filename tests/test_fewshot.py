import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import get_args

import pytest

from evalkit import dataset, fewshot
from evalkit.errors import DataError, UsageError
from evalkit.records import DemonstrationMode, Example, Task
from tests.conftest import item

MODES: tuple[DemonstrationMode, ...] = get_args(DemonstrationMode)
RANDOM_MODES = [mode for mode in MODES if mode != "first"]
EXAMPLES = [item(number, target=(" yes", " no", " maybe")[number % 3]) for number in range(60)]


def ids(drawn: Sequence[Example]) -> list[str]:
    return [example.id for example in drawn]


@pytest.mark.parametrize("mode", MODES)
def test_no_example_is_its_own_demonstration_where_the_pool_is_the_source(quiz: Task, mode: DemonstrationMode) -> None:
    pool = fewshot.prepare(EXAMPLES, task=quiz)
    for example in EXAMPLES:
        drawn = ids(fewshot.draw(pool, example, shots=10, seed=0, mode=mode))
        assert len(set(drawn)) == 10
        assert example.id not in drawn
        # Even where all that is left is asked for.
        assert sorted(ids(fewshot.draw(pool, example, shots=99, seed=0, mode=mode))) == sorted(
            each.id for each in EXAMPLES if each.id != example.id
        )


@pytest.mark.parametrize("mode", MODES)
def test_draw_does_not_depend_on_what_else_is_drawn(quiz: Task, mode: DemonstrationMode) -> None:
    def drawn(examples: Sequence[Example]) -> dict[str, list[str]]:
        pool = fewshot.prepare(EXAMPLES, task=quiz)
        return {each.id: ids(fewshot.draw(pool, each, shots=5, seed=0, mode=mode)) for each in examples}

    everything = drawn(EXAMPLES)
    for part in (EXAMPLES[::-1], EXAMPLES[20:30], dataset.sample(EXAMPLES, limit=7, seed=3)):
        assert drawn(part) == {each.id: everything[each.id] for each in part}


@pytest.mark.parametrize("mode", RANDOM_MODES)
def test_fewer_shots_are_the_last_of_more(quiz: Task, mode: DemonstrationMode) -> None:
    pool = fewshot.prepare(EXAMPLES, task=quiz)
    most = fewshot.draw(pool, EXAMPLES[7], shots=30, seed=0, mode=mode)
    for shots in range(1, 30):
        assert fewshot.draw(pool, EXAMPLES[7], shots=shots, seed=0, mode=mode) == most[-shots:]


@pytest.mark.parametrize("mode", RANDOM_MODES)
def test_seed_and_task_decide_the_draw(quiz: Task, mode: DemonstrationMode) -> None:
    def drawn(task: Task, seed: int) -> list[str]:
        return ids(fewshot.draw(fewshot.prepare(EXAMPLES, task=task), EXAMPLES[0], shots=5, seed=seed, mode=mode))

    assert drawn(quiz, 0) == drawn(quiz, 0)
    assert drawn(quiz, 0) != drawn(quiz, 1)
    assert drawn(quiz, 0) != drawn(replace(quiz, name="other"), 0)


def test_draws_of_examples_are_uniform_over_the_pool(quiz: Task) -> None:
    pool = fewshot.prepare([item(number) for number in range(20)], task=quiz)
    counts = Counter(ids(fewshot.draw(pool, item(100 + n), shots=1, seed=0))[0] for n in range(4000))
    # Chi-square with 19 degrees of freedom exceeds 43.8 once in a thousand.
    assert sum((counts[f"id{number}"] - 200) ** 2 / 200 for number in range(20)) < 43.8


def test_fixed_is_one_set_but_for_the_examples_in_it(quiz: Task) -> None:
    pool = fewshot.prepare(EXAMPLES, task=quiz)
    outsider = item(1000)
    usual = fewshot.draw(pool, outsider, shots=5, seed=0, mode="fixed")
    next_one = fewshot.draw(pool, outsider, shots=6, seed=0, mode="fixed")[0]
    for example in EXAMPLES:
        drawn = fewshot.draw(pool, example, shots=5, seed=0, mode="fixed")
        expected = usual if example not in usual else (next_one, *(each for each in usual if each != example))
        assert drawn == expected


def test_grouped_has_as_many_sets_as_groups(quiz: Task) -> None:
    pool = fewshot.prepare(EXAMPLES, task=quiz)
    outsiders = [item(1000 + number) for number in range(400)]
    drawn = [tuple(ids(fewshot.draw(pool, each, shots=5, seed=0, mode="grouped", groups=8))) for each in outsiders]
    counts = Counter(drawn)
    assert len(counts) == 8
    assert min(counts.values()) > 20  # of 50 expected


def test_first_keeps_the_order_of_the_pool(quiz: Task) -> None:
    pool = fewshot.prepare(EXAMPLES, task=quiz)
    assert ids(fewshot.draw(pool, EXAMPLES[1], shots=3, seed=0, mode="first")) == ["id0", "id2", "id3"]


def test_balanced_shows_each_class_alike(quiz: Task) -> None:
    skewed = [item(number, target=" rare" if number % 10 == 0 else " usual") for number in range(60)]
    pool = fewshot.prepare(skewed, task=quiz)
    for example in skewed:
        for shots in (1, 4, 7, 10):
            drawn = fewshot.draw(pool, example, shots=shots, seed=0, mode="balanced")
            counts = Counter(each.targets[0] for each in drawn)
            assert abs(counts[" rare"] - counts[" usual"]) <= 1


LONG = "the cat sat on a red mat beside one old black dog under tall trees"


@pytest.mark.parametrize(
    "twin",
    [
        replace(item(0), id="id1"),
        item(0, cluster="c"),
        item(0, text=LONG.upper() + "!"),
        item(0, text=" ".join(LONG.split()[::-1])),
        item(0, text=LONG.replace("red", "green")),  # 14 of 16 words: 0.875
    ],
)
def test_near_duplicates_are_never_drawn(quiz: Task, twin: Example) -> None:
    example = item(1, cluster="c", text=LONG)
    others = [item(number, text=f"something else number {number}") for number in range(2, 9)]
    pool = fewshot.prepare([twin, *others], task=quiz)
    assert sorted(ids(fewshot.draw(pool, example, shots=99, seed=0))) == sorted(ids(others))


def test_different_questions_in_the_same_words_of_a_template_are_drawn(addition: Task) -> None:
    task = replace(addition, template="Here is a long preface with many words before the question " + addition.template)
    examples = [item(number, text=f"{number} plus 7") for number in range(10, 20)]
    pool = fewshot.prepare(examples, task=task)
    assert len(fewshot.draw(pool, examples[0], shots=99, seed=0)) == 9


def test_released_rows_meet_generated_ones_as_near_duplicates(addition: Task) -> None:
    pool = fewshot.prepare([item(1, text="45 plus 98"), item(2, text="1 plus 2")], task=addition)
    released = Example("x", {}, (" 143",), question="\n\nQ: What is 98 plus 45?\n\nA:")
    assert ids(fewshot.draw(pool, released, shots=9, seed=0)) == ["id2"]


def test_shots_are_an_upper_bound(quiz: Task) -> None:
    pool = fewshot.prepare(EXAMPLES[:3], task=quiz)
    assert len(fewshot.draw(pool, item(99), shots=50, seed=0)) == 3
    assert fewshot.draw(pool, item(99), shots=0, seed=0) == ()


def test_impossible_draws_are_refused(quiz: Task) -> None:
    empty = fewshot.prepare([], task=quiz)
    with pytest.raises(UsageError, match="found -1 shots"):
        fewshot.draw(empty, item(1), shots=-1, seed=0)
    with pytest.raises(DataError, match="quiz: found an empty pool"):
        fewshot.draw(empty, item(1), shots=1, seed=0)
    assert fewshot.draw(empty, item(1), shots=0, seed=0) == ()


def test_draws_cost_little(addition: Task) -> None:
    assert addition.pool is not None
    pool = fewshot.prepare(dataset.load(addition.pool, task=addition), task=addition)
    examples = dataset.load(addition.source, task=addition)[:400]
    start = time.process_time()
    for example in examples:
        fewshot.draw(pool, example, shots=50, seed=0)
    # 20,000 examples in well under 30 s: 1.5 ms each would be the whole of it.
    assert (time.process_time() - start) / len(examples) < 0.001

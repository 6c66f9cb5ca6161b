"""The tree of what sequences share, and the batches that it is cut into."""

import random

import pytest

from evalkit.decoder.batches import batches, columns
from evalkit.decoder.device import Budget
from evalkit.decoder.tree import LEAST_SAVED, Node, build


def path(node: Node) -> list[int]:
    return (path(node.parent) if node.parent else []) + node.tokens


def drawn(seed: int) -> list[list[int]]:
    """Sequences that begin alike, repeat, and begin each other."""
    draws = random.Random(seed)
    common = [draws.randrange(5) for _ in range(40)]
    made = []
    for _ in range(draws.randint(1, 30)):
        made.append(common[: draws.randint(0, 40)] + [draws.randrange(3) for _ in range(draws.randint(1, 30))])
        if draws.random() < 0.3:
            made.append(made[-1] + [draws.randrange(3) for _ in range(draws.randint(0, 4))])
    return made


@pytest.mark.parametrize("seed", range(50))
def test_every_sequence_ends_once_with_its_own_tokens(seed: int) -> None:
    sequences = drawn(seed)
    ends = {}
    for root in build(sequences):
        assert root.begin == 0
        for node in root.walk():
            assert all(child.parent is node and child.begin == node.end for child in node.children)
            ends |= {job: path(node) for job in node.jobs}
    assert [ends[place] for place in range(len(sequences))] == sequences


def test_a_common_beginning_is_there_once() -> None:
    common = list(range(100))
    [root] = build([[*common, 200, 201], [*common, 300], common])
    assert (root.tokens, root.jobs) == (common, [2])
    assert sorted(child.tokens for child in root.children) == [[200, 201], [300]]


def test_a_beginning_too_short_to_pay_is_computed_by_each() -> None:
    # One token less than a step of its own has to save.
    common = list(range(LEAST_SAVED - 1))
    assert [root.length for root in build([[*common, 90], [*common, 91]])] == [LEAST_SAVED] * 2
    assert len(build([[*common, 80, 90], [*common, 80, 91]])) == 1


def test_sequences_that_go_on_from_one_another_take_no_deep_recursion() -> None:
    sequences = [list(range(1, length)) for length in range(2, 3000)]
    assert sum(len(node.jobs) for root in build(sequences) for node in root.walk()) == len(sequences)


@pytest.mark.parametrize("budget", [1, 40, 200, 10_000])
def test_batches_hold_every_sequence_within_the_budget(budget: int) -> None:
    sequences = drawn(7)
    jobs = []
    seen: set[int] = set()
    for batch in batches(build(sequences), budget=Budget(budget), reserve=lambda _: 0):
        for stretch in batch.prefix:
            if id(stretch) not in seen:
                jobs += stretch.jobs
            seen.add(id(stretch))
        jobs += [job for tree in batch.trees for node in tree.walk() for job in node.jobs]
        assert len(batch.trees) == 1 or len(batch.trees) * max(map(columns, batch.trees)) <= budget
    assert sorted(jobs) == list(range(len(sequences)))


def test_fixed_demonstrations_become_a_prefix_and_choices_stay_with_their_question() -> None:
    demonstrations = list(range(1000))
    questions = [demonstrations + [2000 + number] * 30 for number in range(80)]
    sequences = [question + choice for question in questions for choice in ([1, 2], [3])]
    [batch] = batches(build(sequences), budget=Budget(100_000), reserve=lambda _: 0)
    assert [stretch.tokens for stretch in batch.prefix] == [demonstrations]
    assert sorted(len(tree.children) for tree in batch.trees) == [2] * 80


def test_answers_that_grow_are_counted() -> None:
    trees = build([[number] * 10 for number in range(6)])
    found = [len(batch.trees) for batch in batches(trees, budget=Budget(100), reserve=lambda _: 50)]
    assert found == [2, 2, 2]

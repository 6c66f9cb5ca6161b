import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from evalkit import sources, task
from evalkit.errors import DataError
from evalkit.records import Source, Task


@pytest.fixture
def boolq() -> Task:
    [loaded] = task.load("boolq")
    return loaded


@pytest.fixture
def file(tmp_path: Path) -> Callable[[int], Source]:
    def write(passages: int) -> Source:
        path = tmp_path / f"{passages}.jsonl"
        rows = [
            {"passage": f"Title {n} -- Text {n}.", "question": f"is it {n} {part}", "label": part}
            for n in range(passages)
            for part in (0, 1)
        ]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return Source("file", str(path), {})

    return write


def without_hub(each: Task) -> Task:
    return replace(each, source=Source("hub", "nobody/nothing", {}), pool=None)


def test_the_sample_takes_the_place_of_a_hub_that_cannot_be_reached(boolq: Task) -> None:
    found = sources.gather(without_hub(boolq), has_shots=True)
    assert found.task.source == boolq.sample
    assert len(found.examples) >= 100
    [note] = found.notes
    assert "examples of a sample written for evalkit" in note
    assert "nobody/nothing" in note


def test_without_a_sample_the_error_stands(boolq: Task) -> None:
    with pytest.raises(DataError, match="nobody/nothing"):
        sources.gather(replace(without_hub(boolq), sample=None), has_shots=False)


def test_a_broken_file_is_not_replaced_by_the_sample(boolq: Task, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        sources.gather(replace(boolq, source=Source("file", str(tmp_path / "no.jsonl"), {})), has_shots=False)


def test_data_without_a_pool_gives_up_a_tenth(boolq: Task, file: Callable[[int], Source]) -> None:
    found = sources.gather(replace(boolq, source=file(300), pool=None), has_shots=True)
    assert len(found.examples) + len(found.pool) == 600
    assert 30 <= len(found.pool) <= 90  # 60 on average, by passages of two questions: 5 standard deviations
    assert not {each.cluster for each in found.examples} & {each.cluster for each in found.pool}
    assert f"{len(found.pool)} of the 600 examples, which are held out and not scored" in found.notes[0]


def test_what_is_held_out_depends_on_the_example_alone(boolq: Task, file: Callable[[int], Source]) -> None:
    few, many = (
        {each.cluster for each in sources.gather(replace(boolq, source=file(n), pool=None), has_shots=True).pool}
        for n in (100, 300)
    )
    assert few <= many


def test_nothing_is_held_out_at_zero_shots(boolq: Task, file: Callable[[int], Source]) -> None:
    found = sources.gather(replace(boolq, source=file(50), pool=None), has_shots=False)
    assert len(found.examples) == 100
    assert found.notes == ()


def test_too_few_examples_to_part_are_their_own_pool(boolq: Task, file: Callable[[int], Source]) -> None:
    found = sources.gather(replace(boolq, source=file(1), pool=None), has_shots=True)
    assert found.pool == found.examples

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from evalkit import dataset
from evalkit.errors import DataError, UsageError
from evalkit.records import Example, Source, Task
from tests.conftest import item

ROWS = [{"question": f"q{number}", "answer": f"a{number}"} for number in range(5)]
RELEASED = {
    "context": "\n\nQ: What is 98 plus 45?\n\nA:",
    "completion": " 143",
}  # openai/gpt-3, two_digit_addition.jsonl


def lines(rows: Sequence[Mapping[str, object]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def write(path: Path, content: str | bytes) -> str:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(path)


def load(path: str | Path, task: Task) -> tuple[Example, ...]:
    return dataset.load(dataset.locate(str(path)), task=task)


def message(path: str | Path, task: Task) -> str:
    with pytest.raises(DataError) as caught:
        load(path, task)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_every_format_gives_the_same_examples(tmp_path: Path, quiz: Task) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    (tmp_path / "folder").mkdir()
    write(tmp_path / "a.jsonl", lines(ROWS))
    write(tmp_path / "lines.json", lines(ROWS))
    write(tmp_path / "a.json", json.dumps(ROWS))
    write(tmp_path / "a.csv", "\ufeffquestion,answer\r\n" + "".join(f"q{n},a{n}\r\n" for n in range(5)))
    write(tmp_path / "folder" / "1.jsonl", lines(ROWS[:2]))
    write(tmp_path / "folder" / "2.json", json.dumps(ROWS[2:]))
    write(tmp_path / "folder" / "notes.txt", "not data")
    parquet.write_table(pa.Table.from_pylist(ROWS), tmp_path / "a.parquet")
    loaded = [
        load(tmp_path / name, quiz) for name in ("a.jsonl", "lines.json", "a.json", "a.csv", "a.parquet", "folder")
    ]
    assert [each.targets for each in loaded[0]] == [(f" a{number}",) for number in range(5)]
    assert all(each == loaded[0] for each in loaded)


def test_ids_are_those_of_the_rows_whatever_their_order(tmp_path: Path, quiz: Task) -> None:
    forwards = load(write(tmp_path / "a.jsonl", lines(ROWS)), quiz)
    backwards = load(write(tmp_path / "b.jsonl", lines(ROWS[::-1])), quiz)
    assert forwards == backwards[::-1]
    assert len({example.id for example in forwards}) == 5


def test_equal_rows_get_ids_of_their_own(tmp_path: Path, quiz: Task) -> None:
    first, second, other = load(write(tmp_path / "a.jsonl", lines([ROWS[0], ROWS[0], ROWS[1]])), quiz)
    assert second.id == f"{first.id}-2"
    assert other.id not in (first.id, second.id)


def test_id_and_cluster_columns_are_taken(tmp_path: Path, quiz: Task) -> None:
    row = {**ROWS[0], "id": 17, "doc": 3}
    task = replace(quiz, columns={**quiz.columns, "cluster": "doc"})
    [example] = load(write(tmp_path / "a.jsonl", lines([row])), task)
    assert (example.id, example.cluster) == ("17", "3")


def test_columns_rename_fields(tmp_path: Path, quiz: Task) -> None:
    task = replace(quiz, columns={"question": "q", "target": "a"})
    [example] = load(write(tmp_path / "a.jsonl", lines([{"q": "why?", "a": 42, "extra": True}])), task)
    assert example.fields == {"q": "why?", "a": 42, "extra": True, "question": "why?"}
    assert example.targets == (" 42",)


def test_ids_do_not_depend_on_the_columns(tmp_path: Path, quiz: Task) -> None:
    path = write(tmp_path / "a.jsonl", lines([{"question": "q", "answer": "a", "meta": {"topic": "x"}}]))
    [plain] = load(path, quiz)
    [named] = load(path, replace(quiz, columns={**quiz.columns, "topic": "meta.topic"}))
    assert (named.fields["topic"], named.id) == ("x", plain.id)


def test_an_inner_id_without_a_value_is_none_as_any_other(tmp_path: Path, quiz: Task) -> None:
    path = write(tmp_path / "a.jsonl", lines([{**ROWS[0], "meta": {"id": None}}, {**ROWS[1], "meta": {"id": 7}}]))
    first, second = load(path, replace(quiz, columns={**quiz.columns, "id": "meta.id"}))
    [unnamed, _] = load(path, quiz)
    assert (first.id, second.id) == (unnamed.id, "7")


def test_lists_of_answers_are_all_right(tmp_path: Path, quiz: Task) -> None:
    [example] = load(write(tmp_path / "a.jsonl", lines([{"question": "q", "answer": ["x", "\ny"]}])), quiz)
    assert example.targets == (" x", "\ny")


@pytest.mark.parametrize(("label", "target"), [(True, " yes"), (0, " no"), ("yes", " yes")])
def test_labels_choose_among_the_tasks_choices(tmp_path: Path, quiz: Task, label: object, target: str) -> None:
    task = replace(quiz, kind="choice", choices=("no", "yes"), columns={"question": "question"})
    [example] = load(write(tmp_path / "a.jsonl", lines([{"question": "q", "label": label}])), task)
    assert (example.targets, example.choices) == ((target,), (" no", " yes"))


def test_rows_may_bring_their_own_choices(tmp_path: Path, quiz: Task) -> None:
    task = replace(quiz, kind="choice", columns={"question": "question", "label": "gold", "choices": "options"})
    row = {"question": "q", "gold": 2, "options": ["a", "b", "c"]}
    [example] = load(write(tmp_path / "a.jsonl", lines([row])), task)
    assert (example.targets, example.choices) == ((" c",), (" a", " b", " c"))


def test_released_form_brings_its_own_target(tmp_path: Path, addition: Task) -> None:
    task = dataset.with_data(addition, write(tmp_path / "released.jsonl", lines([RELEASED])))
    [example] = dataset.load(task.source, task=task)
    assert example.fields == RELEASED
    assert example.targets == (" 143",)
    assert task.pool is None


def test_arithmetic_takes_its_own_fields_from_a_file(tmp_path: Path, addition: Task) -> None:
    [example] = load(write(tmp_path / "a.jsonl", lines([{"question": "98 plus 45", "answer": 143}])), addition)
    assert example.targets == (" 143",)


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.jsonl", lines([ROWS[0]]) + "{broken\n", "a.jsonl:2: broken JSON: "),
        ("a.jsonl", lines([ROWS[0]]) + "[1]\n", "a.jsonl:2: found list, expected an object"),
        ("a.jsonl", b'{"question": "q", "answer": "caf\xe9"}\n', "a.jsonl:1: found the byte 0xe9, which is not UTF-8"),
        ("a.jsonl", '{"question": "\\ud800", "answer": "a"}\n', "a.jsonl:1: found half of a surrogate pair"),
        ("a.jsonl", "", "a.jsonl: found no rows, expected at least one"),
        (
            "a.jsonl",
            lines([{"question": "q", "anser": "a"}]),
            "a.jsonl:1: missing column 'answer'; columns found: question, anser",
        ),
        (
            "a.jsonl",
            lines([{"question": "q", "answer": None}]),
            "a.jsonl:1: column 'answer': found nothing, expected text",
        ),
        (
            "a.jsonl",
            lines([{"question": "q", "answer": {"a": 1}}]),
            "a.jsonl:1: column 'answer': found dict, expected text",
        ),
        ("a.jsonl", lines([{"question": "q", "answer": []}]), "a.jsonl:1: column 'answer': found an empty list"),
        ("a.jsonl", lines([{**ROWS[0], "id": 1}, {**ROWS[1], "id": 1}]), "a.jsonl:2: found id '1' again, first at "),
        ("a.jsonl", f'{{"question": {"9" * 5000}}}\n', "a.jsonl:1: broken JSON: found a number of thousands of digits"),
        ("a.json", f'[{{"question": {"9" * 5000}}}]\n', "a.json: broken JSON: found a number of thousands of digits"),
        (
            "a.jsonl",
            lines([ROWS[0]]) + '{"question": "q", "question": "r", "answer": "a"}\n',
            "a.jsonl:2: broken JSON: found key 'question' twice in one object",
        ),
        ("a.json", '[{"question": "q",\n "answer": }]', "a.json:2: broken JSON: "),
        ("a.csv", "question,answer\nq\n", "a.csv:2: found 1 cells, expected 2"),
        ("a.csv", "question,question\nq,r\n", "a.csv:1: found column 'question' twice"),
        ("a.csv", b"question,answer\nq,\xff\n", "a.csv:2: found the byte 0xff, which is not UTF-8"),
        ("a.parquet", "not parquet", "a.parquet: broken Parquet: "),
        ("a.xlsx", "x", "a.xlsx: found a file ending in '.xlsx', expected .jsonl, .json, .csv, .parquet"),
    ],
)
def test_broken_file_is_named_with_its_place(
    tmp_path: Path, quiz: Task, name: str, content: str | bytes, expected: str
) -> None:
    assert expected in message(write(tmp_path / name, content), quiz).replace(f"{tmp_path}/", "")


def test_missing_file_gets_a_suggestion(tmp_path: Path, quiz: Task) -> None:
    write(tmp_path / "two_digit_addition.jsonl", lines(ROWS))
    assert "no such file; did you mean 'two_digit_addition.jsonl'?" in message(
        tmp_path / "two_digit_adition.jsonl", quiz
    )


def test_link_that_leads_round_in_a_circle_is_named(tmp_path: Path, quiz: Task) -> None:
    (tmp_path / "a.jsonl").symlink_to(tmp_path / "a.jsonl")
    assert "found a link that leads to no file" in message(tmp_path / "a.jsonl", quiz)


def test_folder_without_data_is_named(tmp_path: Path, quiz: Task) -> None:
    assert "found no data files in this folder" in message(tmp_path, quiz)


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"question": "q", "answer": "maybe"}, "found the answer ' maybe', expected one of the choices:  no,  yes"),
        ({"question": "q", "label": 2}, "column 'label': found 2, expected 0 to 1 or one of the choices"),
    ],
)
def test_answer_has_to_be_a_choice(tmp_path: Path, quiz: Task, row: dict[str, object], expected: str) -> None:
    columns = {"question": "question"} | ({"target": "answer"} if "answer" in row else {})
    task = replace(quiz, kind="choice", choices=("no", "yes"), columns=columns)
    assert expected in message(write(tmp_path / "a.jsonl", lines([row])), task)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ("owner/name", Source("hub", "owner/name", {})),
        ("owner/name@validation", Source("hub", "owner/name", {"split": "validation"})),
        ("owner/name:en@dev@v1", Source("hub", "owner/name", {"config": "en", "split": "dev", "revision": "v1"})),
        ("hub:boolq", Source("hub", "boolq", {})),
        ("folder/a.jsonl", Source("file", "folder/a.jsonl", {})),
        ("/somewhere/else", Source("file", "/somewhere/else", {})),
    ],
)
def test_paths_are_told_from_hub_ids(data: str, expected: Source) -> None:
    assert dataset.locate(data) == expected


def test_hub_datasets_are_read_and_missing_ones_named(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    write(tmp_path / "data" / "train.jsonl", lines(ROWS))
    code = f"""
from dataclasses import replace
from evalkit import dataset, task
from evalkit.records import Source
one = task.load("arithmetic/2-digit-addition")[0]
source = Source("hub", {str(tmp_path / "data")!r}, {{"split": "train"}})
print([each.targets[0] for each in dataset.load(source, task=one)])
try:
    dataset.load(dataset.locate("nobody/nothing"), task=one)
except Exception as error:
    print(type(error).__name__, error)
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={
            "HF_HUB_OFFLINE": "1",
            "HF_HOME": str(tmp_path / "cache"),
            "PYTHONPATH": str(Path(dataset.__file__).parents[1]),
        },
    )
    first, second = done.stdout.splitlines()[-2:]
    assert first == "[' a0', ' a1', ' a2', ' a3', ' a4']"
    said = "HubError nobody/nothing: no such file or folder here, and split 'test' of a dataset of this name"
    assert second.startswith(said)


def test_sample_keeps_order_and_nests_and_depends_on_its_seed() -> None:
    examples = [item(number) for number in range(1000)]
    small, large = (dataset.sample(examples, limit=limit, seed=0) for limit in (10, 100))
    order = {example.id: place for place, example in enumerate(examples)}
    places = [order[example.id] for example in large]
    assert places == sorted(places)
    assert places != list(range(100))
    assert {example.id for example in small} < {example.id for example in large}
    assert dataset.sample(examples, limit=10, seed=1) != small
    assert dataset.sample(examples, limit=None, seed=0) == tuple(examples)


def test_sample_of_nothing_is_refused() -> None:
    with pytest.raises(UsageError, match="found a limit of 0"):
        dataset.sample([item(1)], limit=0, seed=0)

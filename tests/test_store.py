import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from evalkit import encoding
from evalkit.errors import StorageError
from evalkit.records import (
    Completion,
    Decoding,
    Example,
    Generate,
    LogLikelihood,
    LogProb,
    Prompt,
    Request,
    Response,
    Rolling,
    Sample,
)
from evalkit.store import Store

REQUEST = Generate("Q: 1 + 1?\n\nA:", stop=("\n",), max_tokens=16, decoding=Decoding(), seed=7)
ANSWER = Completion(text=" 2 é \ud800\n", tokens=2, finish="stop")


def add(path: Path, model: str, answers: dict[str, Response]) -> None:
    with Store(path) as store:
        store.add(model, answers.items())


def test_answers_come_back_as_they_were(tmp_path: Path) -> None:
    answers: dict[str, Response] = {
        "a": ANSWER,
        "b": LogProb(total=-1.0000000000000002, tokens=3, bytes=5, is_greedy=True, boundary_merged=False),
        "c": LogProb(total=float("-inf"), tokens=1, bytes=1, is_greedy=False, boundary_merged=True),
    }
    add(tmp_path / "answers", "model", answers)
    with Store(tmp_path / "answers") as store:
        assert store.responses("model") == answers


def test_models_do_not_share_answers(tmp_path: Path) -> None:
    with Store(tmp_path / "answers") as store:
        store.add("one", [("key", ANSWER)])
        assert store.responses("other") == {}


@pytest.mark.parametrize(
    "other",
    [
        replace(REQUEST, context=REQUEST.context + " "),
        replace(REQUEST, stop=("\n", "Q:")),
        replace(REQUEST, stop=()),
        replace(REQUEST, max_tokens=17),
        replace(REQUEST, seed=8),
        replace(REQUEST, decoding=Decoding(temperature=0.5)),
        replace(REQUEST, decoding=Decoding(top_k=1)),
        replace(REQUEST, decoding=Decoding(beams=4)),
        LogLikelihood(REQUEST.context, " 2"),
        Rolling(REQUEST.context, 2048),
    ],
)
def test_requests_that_differ_in_anything_have_other_keys(other: Request) -> None:
    assert encoding.request_key(other) != encoding.request_key(REQUEST)


def test_context_and_continuation_are_told_apart() -> None:
    assert encoding.request_key(LogLikelihood("a", "bc")) != encoding.request_key(LogLikelihood("ab", "c"))


def test_windows_and_strides_of_a_text_are_told_apart() -> None:
    requests = [Rolling("a", 8), Rolling("a", 9), Rolling("a", 8, 4), Rolling("a", 8, 8), Rolling("b", 8)]
    assert len({encoding.request_key(each) for each in requests}) == len(requests)


def test_equal_requests_have_one_key_for_ever() -> None:
    # A change of this value makes every directory of an earlier version ask all its questions again.
    assert encoding.request_key(replace(REQUEST)) == encoding.request_key(REQUEST)
    assert encoding.request_key(REQUEST).startswith("b125240bab210285")
    assert encoding.request_key(LogLikelihood("a", " b")).startswith("5d3d734a9bc9cf5b")
    assert encoding.request_key(Rolling("a", 8)).startswith("a752e9e0b907524c")


EXAMPLE = Example("1", {"question": "q", "n": 1}, (" a", " b"))
SAMPLE = Sample(
    task="quiz",
    shots=1,
    example=EXAMPLE,
    prompt=Prompt("Q: q", ("7",), shots_asked=1, tokens=3, window=8),
    responses=(ANSWER, LogProb(total=-1.5, tokens=3, bytes=5, is_greedy=True, boundary_merged=False)),
    statistics={"exact match": (1.0,)},
    seed=3,
)


@pytest.mark.parametrize(
    "example",
    [
        EXAMPLE,
        replace(EXAMPLE, choices=(" a", " b"), cluster="c"),
        replace(EXAMPLE, question="who?", ending=" was here."),
        replace(EXAMPLE, question=""),
    ],
)
def test_samples_come_back_as_they_were(example: Example) -> None:
    sample = replace(SAMPLE, example=example)
    assert encoding.decode_sample(encoding.encode_sample(sample)) == sample


def test_what_a_plain_example_lacks_is_not_written() -> None:
    # Nor may it be: digests of examples, and so directories of earlier versions, rest on these fields alone.
    assert list(encoding.example_fields(EXAMPLE)) == ["id", "fields", "targets", "choices", "cluster"]
    assert encoding.examples_digest([EXAMPLE]) == "a4c9a89d14857c6e"


def test_samples_of_earlier_versions_are_read() -> None:
    line = (
        '{"task": "quiz", "shots": 0, "example": {"id": "1", "fields": {}, "targets": [" a"], "choices": [], '
        '"cluster": null}, "prompt": null, "responses": [], "statistics": {}}'
    )
    expected = Sample("quiz", 0, Example("1", {}, (" a",)), prompt=None, responses=(), statistics={}, seed=0)
    assert encoding.decode_sample(line) == expected


@pytest.mark.parametrize(
    ("found", "put"),
    [
        ('"targets": [" a"]', '"targets": " a"'),
        ('"choices": []', '"choices": [1]'),
        ('"statistics": {}', '"statistics": {"f1": ["no"]}'),
        ('"statistics": {}', '"statistics": {"f1": [NaN]}'),
        ('"statistics": {}', '"statistics": {"f1": 1}'),
    ],
)
def test_samples_with_values_of_other_kinds_are_refused(found: str, put: str) -> None:
    line = (
        '{"task": "quiz", "shots": 0, "example": {"id": "1", "fields": {}, "targets": [" a"], "choices": [], '
        '"cluster": null}, "prompt": null, "responses": [], "statistics": {}}'
    )
    assert found in line
    with pytest.raises(TypeError, match="expected a list"):
        encoding.decode_sample(line.replace(found, put))


def test_a_second_run_on_the_same_file_is_refused(tmp_path: Path) -> None:
    with Store(tmp_path / "answers"), pytest.raises(StorageError, match="another run is writing"):
        Store(tmp_path / "answers")
    with Store(tmp_path / "answers") as store:
        assert store.responses("model") == {}


def test_a_full_disk_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "answers"
    with Store(path) as store:
        store.add("model", [("kept", ANSWER)])
        pages = store._connection.execute("PRAGMA page_count").fetchone()[0]
        store._connection.execute(f"PRAGMA max_page_count = {pages + 1}")
        many = [(f"{number:064}", replace(ANSWER, text="x" * 500)) for number in range(100)]
        with pytest.raises(StorageError, match="disk is full; free space"):
            store.add("model", many)
    with Store(path) as store:
        assert store.responses("model") == {"kept": ANSWER}
        store.add("model", many)
        assert len(store.responses("model")) == 101


def test_a_file_that_is_no_database_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "answers"
    path.write_text("my thesis\n" * 100)
    with pytest.raises(StorageError, match="not a file of answers"):
        Store(path)
    assert path.read_text() == "my thesis\n" * 100


def test_a_database_of_another_program_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "answers"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE thesis (text)")
    connection.close()
    with pytest.raises(StorageError, match="another program"):
        Store(path)
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT name FROM sqlite_master").fetchall() == [("thesis",)]
    connection.close()


def test_a_damaged_file_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "answers"
    add(path, "model", {f"{number:064}": ANSWER for number in range(500)})
    content = bytearray(path.read_bytes())
    content[4096 : 3 * 4096] = b"\xff" * (2 * 4096)
    path.write_bytes(content)
    with pytest.raises(StorageError, match="damaged"):
        Store(path)


@pytest.mark.parametrize(
    "damaged",
    [
        "{}",
        '{"kind": "completion", "text": 5, "tokens": 2, "finish": "stop"}',
        '{"kind": "completion", "text": "5", "tokens": "2", "finish": "stop"}',
        '{"kind": "logprob", "total": null, "tokens": 1, "bytes": 1, "is_greedy": true, "boundary_merged": true}',
    ],
)
def test_an_answer_that_cannot_be_read_is_reported(tmp_path: Path, damaged: str) -> None:
    path = tmp_path / "answers"
    add(path, "model", {"key": ANSWER})
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE responses SET response = ?", (damaged,))
    connection.close()
    with Store(path) as store, pytest.raises(StorageError, match="cannot be read"):
        store.responses("model")


def test_a_missing_directory_is_reported(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="cannot write"):
        Store(tmp_path / "nowhere" / "answers")

"""Answers read from SQLite, and from and into CSV."""

import contextlib
import re
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evalkit.articles import answers
from evalkit.articles.records import Answer, Participant
from evalkit.articles.web.store import Store
from evalkit.errors import DataError, StorageError
from tests import studies

ADA = Participant(
    "p1", "control", "A", True, True, (Answer("n1", 0, "human", 5, 12.5), Answer("n0", 1, "model", 1, 3.0))
)
BEN = Participant("p2", "nano", "B", False, None, ())
HEADER = "participant,condition,quiz,finished,attended,article,position,writer,choice,seconds\n"
TEXT = HEADER + "p1,control,A,yes,yes,n1,0,human,5,12.5\np1,control,A,yes,yes,n0,1,model,1,3.0\np2,nano,B,no,,,,,,\n"

NAMES = st.text(
    st.characters(exclude_categories=["Cs"]) | st.sampled_from("=+-@\t\r\n'\",;"), min_size=1, max_size=8
).filter(str.strip)
ANSWERS = st.builds(
    Answer,
    article=NAMES,
    position=st.integers(0, 99),
    writer=st.sampled_from(("human", "model")),
    choice=st.integers(1, 5),
    seconds=st.floats(0, 1e6),
)
PARTICIPANTS = st.builds(
    Participant,
    id=NAMES,
    condition=NAMES,
    quiz=st.sampled_from("AB"),
    has_finished=st.booleans(),
    has_attended=st.none() | st.booleans(),
    answers=st.lists(ANSWERS, unique_by=lambda each: each.article, max_size=3).map(tuple),
)


def test_a_line_an_answer(tmp_path: Path) -> None:
    answers.write_csv(tmp_path / "answers.csv", [ADA, BEN])
    assert (tmp_path / "answers.csv").read_text() == TEXT


@settings(max_examples=150, deadline=None)
@given(st.lists(PARTICIPANTS, unique_by=lambda each: each.id, min_size=1, max_size=3))
def test_what_is_written_is_read_back(tmp_path_factory: pytest.TempPathFactory, found: list[Participant]) -> None:
    path = tmp_path_factory.mktemp("csv") / "answers.csv"
    answers.write_csv(path, found)
    assert answers.read_csv(path) == tuple(found)


@pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@x", "\tx", "\rx", "'=1"])
def test_no_cell_begins_as_a_formula_does(name: str) -> None:
    text = answers.render_csv([replace(ADA, id=name, condition=name, answers=(replace(ADA.answers[0], article=name),))])
    line = text.removeprefix(HEADER)
    assert line.count("'" + name) == 3
    assert not re.search(r'(^|,)"?[=+\-@\t\r]', line)


def test_lines_of_a_participant_need_not_stand_together(tmp_path: Path) -> None:
    path = tmp_path / "answers.csv"
    lines = TEXT.splitlines(keepends=True)
    path.write_text("".join([lines[0], lines[1], lines[3], lines[2]]))
    assert answers.read_csv(path) == (ADA, BEN)


def test_what_pandas_writes_is_read(tmp_path: Path) -> None:
    path = tmp_path / "answers.csv"
    path.write_text(
        f"n,{HEADER}0,p1,control,A,True,True,n1,0.0,human,5.0,12.5\n1,p1,control,A,True,True,n0,1.0,model,1.0,3.0\n"
        "2,p2,nano,B,False,,,,,,\n"
    )
    assert answers.read_csv(path) == (ADA, BEN)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("p1,c,C,yes,yes,n,0,human,1,1", "quiz: found 'C', expected A or B"),
        ("p1,c,A,maybe,yes,n,0,human,1,1", "finished: found 'maybe', expected yes or no"),
        ("p1,c,A,,yes,n,0,human,1,1", "finished: found '', expected yes or no"),
        ("p1,c,A,yes,x,n,0,human,1,1", "attended: found 'x', expected yes or no"),
        (",c,A,yes,yes,n,0,human,1,1", "participant: found a blank cell, expected a name"),
        ("p1, ,A,yes,yes,n,0,human,1,1", "condition: found a blank cell, expected a name"),
        ("p1,c,A,yes,yes,,0,human,1,1", "article: found a blank cell, expected a name"),
        ("p1,c,A,yes,yes,n,-1,human,1,1", "position: found '-1', expected a place from 0"),
        ("p1,c,A,yes,yes,n,0.5,human,1,1", "position: found '0.5', expected a place from 0"),
        ("p1,c,A,yes,yes,n,0,robot,1,1", "writer: found 'robot', expected human or model"),
        ("p1,c,A,yes,yes,n,0,human,6,1", "choice: found '6', expected 1 to 5"),
        ("p1,c,A,yes,yes,n,0,human,2.5,1", "choice: found '2.5', expected 1 to 5"),
        ("p1,c,A,yes,yes,n,0,human,I don't know,1", 'choice: found "I don\'t know", expected 1 to 5'),
        ("p1,c,A,yes,yes,n,0,human,1,-1", "seconds: found '-1', expected seconds from 0"),
        ("p1,c,A,yes,yes,n,0,human,1,inf", "seconds: found 'inf', expected seconds from 0"),
        ("p1,c,A,yes,yes,n,0,human,1,", "seconds: found '', expected seconds from 0"),
        ("p1,c,A,yes,yes,n,0,human,1", "found 9 cells, expected 10 as in the first line"),
        ("p0,c,B,yes,yes,n,0,human,1,1", "found another condition, quiz, finished or attended of participant 'p0'"),
        ("p0,c,A,yes,yes,m,0,human,1,1", "found article 'm' of participant 'p0' a second time, expected one answer"),
    ],
)
def test_a_broken_line_is_named(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "answers.csv"
    path.write_text(f"{HEADER}p0,c,A,yes,yes,m,0,human,1,1\n{line}\n")
    with pytest.raises(DataError, match=re.escape(f"{path}:3: {message}")):
        answers.read_csv(path)


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    path = tmp_path / "answers.csv"
    path.write_text(TEXT.replace(",seconds", ",time", 1))
    with pytest.raises(DataError, match=re.escape(f"{path}:1: found no column 'seconds', expected participant,")):
        answers.read_csv(path)


@pytest.mark.parametrize("content", ["", HEADER, "<html><body>login</body></html>"])
def test_a_file_without_answers_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "answers.csv"
    path.write_text(content)
    with pytest.raises(DataError, match=re.escape(str(path))):
        answers.read_csv(path)


def test_answers_are_those_of_their_study(tmp_path: Path) -> None:
    study = studies.study()
    with Store(tmp_path, study=study) as store:
        store.begin("p1")
    assert len(answers.load(tmp_path, study=study)) == 1
    with pytest.raises(StorageError, match="found answers about another study"):
        answers.load(tmp_path, study=replace(study, signature="study|other"))


def test_answers_are_read_while_a_server_writes_and_after_it_has_ended(tmp_path: Path) -> None:
    with Store(tmp_path, study=studies.study()) as store:
        taken = store.begin("p1")
        store.show("p1", "n02")
        store.answer("p1", "n02", position=0, writer="model", choice=4)
        store.attend("p1", 4, asked=2)
        meanwhile = answers.load(tmp_path)
    seconds = meanwhile[0].answers[0].seconds
    expected = Participant("p1", taken.condition, taken.quiz, False, False, (Answer("n02", 0, "model", 4, seconds),))
    assert meanwhile == (expected,)
    assert answers.load(tmp_path) == meanwhile
    assert [path.name for path in tmp_path.iterdir()] == ["answers.sqlite"]


def test_a_directory_without_answers_is_told(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=re.escape(f"{tmp_path}: found no answers.sqlite, expected one; ask people")):
        answers.load(tmp_path)


def test_a_file_of_another_program_is_refused(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "answers.sqlite") as connection:
        connection.execute("CREATE TABLE x (y)")
    connection.close()
    for read in (answers.load, lambda directory: Store(directory, study=studies.study())):
        with pytest.raises(StorageError, match="found a database of another program, expected answers of a study"):
            read(tmp_path)


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "answers.sqlite").write_bytes(b"no database at all, and long enough to be looked at" * 99)
    for read in (answers.load, lambda directory: Store(directory, study=studies.study())):
        with pytest.raises(StorageError) as caught:
            read(tmp_path)
        assert "\n" not in str(caught.value)


def test_answers_of_nobody_are_damage(tmp_path: Path) -> None:
    Store(tmp_path, study=studies.study()).close()
    with contextlib.closing(sqlite3.connect(tmp_path / "answers.sqlite")) as connection, connection:
        connection.execute("INSERT INTO answers VALUES (1, 'ghost', 'a', 0, 'model', 5, 1.0, 2.0)")
    with pytest.raises(StorageError, match="damaged: found answers of 'ghost', who has not begun"):
        answers.load(tmp_path)


def test_the_file_is_its_owners_alone(tmp_path: Path) -> None:
    with Store(tmp_path, study=studies.study()):
        assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}


def test_a_file_whose_server_was_killed_at_its_start_holds_nobody(tmp_path: Path) -> None:
    (tmp_path / "answers.sqlite").touch()
    assert answers.load(tmp_path) == ()

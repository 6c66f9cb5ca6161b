"""Participants' answers, read from a study's answers.sqlite, and from and into answers.csv."""

from __future__ import annotations

import contextlib
import math
import re
import sqlite3
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from evalkit import atomic, rows
from evalkit.articles.directory import ANSWERS
from evalkit.articles.records import CHOICES, QUIZZES, WRITERS, Answer, Participant, Study
from evalkit.articles.settings import MOST_ARTICLES
from evalkit.errors import DataError, StorageError
from evalkit.report.csv import FORMULA, line

APPLICATION = 0x65767374  # "evst": how SQLite files tell whose they are
VERSION = 1

OF_PARTICIPANT = ("participant", "condition", "quiz", "finished", "attended")
OF_ANSWER = ("article", "position", "writer", "choice", "seconds")
COLUMNS = OF_PARTICIPANT + OF_ANSWER
TRUTH = {"yes": True, "true": True, "1": True, "no": False, "false": False, "0": False}
YEAR = 366 * 86_400.0  # seconds
GUARDED = re.compile(f"'*[{re.escape(''.join(FORMULA))}]")  # what has one more apostrophe before it in the file

Value = TypeVar("Value")


def load(directory: Path, *, study: Study | None = None) -> tuple[Participant, ...]:
    """Read everybody who has begun, in that order, from a study's answers.sqlite; a server may be writing to it.

    `study` is the one that they have to be about; None takes any. Raises StorageError where there is no such file, or
    it is damaged, of another program or about another study.
    """
    path = directory / ANSWERS
    if not path.is_file():
        raise StorageError(
            f"{directory}: found no {ANSWERS}, expected one; ask people: evalkit study serve {directory}, or give "
            "answers from elsewhere as CSV"
        )
    try:
        with contextlib.closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as connection:
            # One transaction, so that an answer that comes meanwhile is wholly there or not at all.
            connection.execute("BEGIN")
            (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
            if not tables:  # its server was killed before it had made them
                return ()
            check_kind(connection, path)
            if study is not None:
                check_study(connection, path, study)
            return tuple(_participants(connection, path))
    except sqlite3.Error as error:
        raise StorageError(f"{path}: cannot be read ({error}), expected the answers of a study") from error


def check_kind(connection: sqlite3.Connection, path: Path) -> None:
    """Raise StorageError where a database is not one of answers, or of another version's form."""
    (owner,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if owner != APPLICATION:
        raise StorageError(f"{path}: found a database of another program, expected answers of a study; move it away")
    if version != VERSION:
        raise StorageError(f"{path}: found format {version}, expected {VERSION}; use the evalkit that wrote it")


def check_study(connection: sqlite3.Connection, path: Path, study: Study) -> None:
    """Raise StorageError where a database of answers is not about this study."""
    row = connection.execute("SELECT value FROM about WHERE name = 'study'").fetchone()
    found = "no study" if row is None else row[0]
    if found != study.signature:
        raise StorageError(
            f"{path}: found answers about another study ({found}), expected {study.signature}; move the file away"
        )


def _participants(connection: sqlite3.Connection, path: Path) -> Iterator[Participant]:
    given: defaultdict[str, list[Answer]] = defaultdict(list)
    answers = connection.execute(
        "SELECT participant, article, position, writer, choice, seconds FROM answers ORDER BY number"
    )
    for participant, *answer in answers:
        given[participant].append(Answer(*answer))
    people = connection.execute("SELECT id, condition, quiz, finished, attended FROM participants ORDER BY number")
    for name, condition, quiz, finished, attended in people:
        has_attended = None if attended is None else bool(attended)
        yield Participant(name, condition, quiz, finished is not None, has_attended, tuple(given.pop(name, ())))
    if given:
        raise StorageError(f"{path}: damaged: found answers of {next(iter(given))!r}, who has not begun")


def write_csv(path: Path, participants: Sequence[Participant]) -> None:
    """Write answers as CSV, as `render_csv` does; StorageError where the disk refuses."""
    atomic.write(path, [render_csv(participants)])


def render_csv(participants: Sequence[Participant]) -> str:
    """Write a line an answer; of who has answered nothing, one line whose last five cells are empty.

    Text that a spreadsheet would take for a formula has an apostrophe before it, which `read_csv` takes away.
    """
    lines = [line(COLUMNS)]
    for each in participants:
        states = (_word(each.has_finished), "" if each.has_attended is None else _word(each.has_attended))
        own = (_guarded(each.id), _guarded(each.condition), each.quiz, *states)
        for answer in each.answers:
            about = (answer.position, answer.writer, answer.choice, answer.seconds)
            lines.append(line((*own, _guarded(answer.article), *about)))
        if not each.answers:
            lines.append(line((*own, *[""] * len(OF_ANSWER))))
    return "".join(lines)


def read_csv(path: Path) -> tuple[Participant, ...]:
    """Read participants from CSV with the columns `COLUMNS`, in the order in which they come first.

    Lines of a participant need not stand together; other columns are left out. Raises DataError, with file and line,
    for no line, a missing column, a value of another kind, an article answered twice, and lines that contradict each
    other.
    """
    people: dict[str, Participant] = {}
    given: dict[str, dict[str, Answer]] = {}
    for place, found in rows.read(path):
        if missing := [column for column in COLUMNS if column not in found]:
            raise DataError(f"{path}:1: found no column {missing[0]!r}, expected {','.join(COLUMNS)}")
        row = {column: "" if found[column] is None else str(found[column]) for column in COLUMNS}
        participant = _participant(row, place)
        before = people.setdefault(participant.id, participant)
        if participant != before:
            raise DataError(
                f"{place}: found another condition, quiz, finished or attended of participant {participant.id!r}, "
                "expected the same as in a line before"
            )
        answers = given.setdefault(participant.id, {})
        if not any(row[column] for column in OF_ANSWER):
            continue
        answer = _answer(row, place)
        if answer.article in answers:
            raise DataError(
                f"{place}: found article {answer.article!r} of participant {participant.id!r} a second time, "
                "expected one answer"
            )
        answers[answer.article] = answer
    if not people:
        raise DataError(f"{path}: found no answers, expected lines of {','.join(COLUMNS)}, as /admin exports them")
    return tuple(replace(each, answers=tuple(given[name].values())) for name, each in people.items())


def _participant(row: Mapping[str, str], place: str) -> Participant:
    return Participant(
        id=_name(row, "participant", place),
        condition=_name(row, "condition", place),
        quiz=_one_of(row, "quiz", {quiz: quiz for quiz in QUIZZES}, place),
        has_finished=_one_of(row, "finished", TRUTH, place),
        has_attended=_one_of(row, "attended", TRUTH, place) if row["attended"] else None,
        answers=(),
    )


def _answer(row: Mapping[str, str], place: str) -> Answer:
    return Answer(
        article=_name(row, "article", place),
        position=int(_number(row, "position", place, expected="a place from 0", fits=_is_place)),
        writer=_one_of(row, "writer", {writer: writer for writer in WRITERS}, place),
        choice=int(_number(row, "choice", place, expected=f"1 to {len(CHOICES)}", fits=_is_choice)),
        seconds=_number(
            row, "seconds", place, expected="seconds from 0 to a year", fits=lambda value: 0 <= value < YEAR
        ),
    )


def _name(row: Mapping[str, str], column: str, place: str) -> str:
    found = row[column]
    if not found.strip():
        raise DataError(f"{place}: {column}: found a blank cell, expected a name")
    return found[1:] if found.startswith("'") and GUARDED.match(found) else found


def _one_of(row: Mapping[str, str], column: str, values: Mapping[str, Value], place: str) -> Value:
    # pandas writes True, spreadsheets TRUE.
    found = row[column] if row[column] in values else row[column].lower()
    if found not in values:
        expected = " or ".join(("yes", "no") if values is TRUTH else values)
        raise DataError(f"{place}: {column}: found {row[column]!r}, expected {expected}")
    return values[found]


def _number(row: Mapping[str, str], column: str, place: str, *, expected: str, fits: Callable[[float], bool]) -> float:
    try:
        value = float(row[column])
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or not fits(value):
        raise DataError(f"{place}: {column}: found {row[column]!r}, expected {expected}")
    return value


def _is_place(value: float) -> bool:
    # pandas writes whole numbers as 3.0 where another cell of the column is empty.
    return 0 <= value < MOST_ARTICLES and value.is_integer()


def _is_choice(value: float) -> bool:
    return value in range(1, len(CHOICES) + 1)


def _word(value: bool) -> str:
    return "yes" if value else "no"


def _guarded(value: str) -> str:
    return f"'{value}" if GUARDED.match(value) else value

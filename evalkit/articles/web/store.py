"""Participants and their answers in answers.sqlite: what was acknowledged is on the disk, once."""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import sqlite3
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from evalkit.articles.answers import APPLICATION, VERSION, check_kind, check_study
from evalkit.articles.directory import ANSWERS
from evalkit.articles.records import QUIZZES, Quiz, Study, Writer
from evalkit.database import Advice, check_health, explained, transaction
from evalkit.errors import StorageError
from evalkit.text import generator

Outcome: TypeAlias = Literal["kept", "same", "different", "not shown"]

SECRET_BYTES = 32
ADVICE = Advice(
    locked="another program writes to it; close that program and serve again",
    full=", acknowledged answers are kept",
    unwritable="give the directory write access",
    damaged="move it away and serve again",
    other="acknowledged answers are kept",
)
SCHEMA = (
    """
    CREATE TABLE about (
        name TEXT PRIMARY KEY,  -- study, its signature; secret, which tokens and codes are made with
        value TEXT NOT NULL
    ) WITHOUT ROWID
    """,
    """
    CREATE TABLE participants (
        number INTEGER PRIMARY KEY,  -- the order in which they began
        id TEXT NOT NULL UNIQUE,
        condition TEXT NOT NULL,
        quiz TEXT NOT NULL,
        begun REAL NOT NULL,  -- seconds since 1970, as are the other times
        attention INTEGER,  -- choice at the attention check
        attended INTEGER,  -- 1 where it is the one that was asked for
        finished REAL
    )
    """,
    """
    CREATE TABLE shown (
        participant TEXT NOT NULL,
        article TEXT NOT NULL,
        time REAL NOT NULL,  -- of the first showing
        PRIMARY KEY (participant, article)
    ) WITHOUT ROWID
    """,
    """
    CREATE TABLE answers (
        number INTEGER PRIMARY KEY,  -- the order in which they were given
        participant TEXT NOT NULL,
        article TEXT NOT NULL,
        position INTEGER NOT NULL,
        writer TEXT NOT NULL,
        choice INTEGER NOT NULL,
        seconds REAL NOT NULL,
        time REAL NOT NULL,
        UNIQUE (participant, article),
        UNIQUE (participant, position)
    )
    """,
)


@dataclass(frozen=True, slots=True)
class Taken:
    """Where a participant is in the quiz that was drawn for them."""

    participant: str
    condition: str
    quiz: Quiz
    answered: int  # articles
    latest: int | None  # choice about the last of them; None before any
    has_attended: bool | None  # None before the attention check
    has_finished: bool


class Store:
    """An open answers.sqlite, held by one process at a time; use it in a with statement and from one thread at a time.

    Every method is one transaction, which is on the disk when the method returns. All raise StorageError where the
    disk refuses.
    """

    def __init__(self, directory: Path, *, study: Study) -> None:
        """Open the file or make it; StorageError where it is of another study, damaged, unwritable or in use."""
        self.path = directory / ANSWERS
        self._study = study
        self._lock = _lock(directory)
        try:
            with explained(self.path, ADVICE):
                _make(self.path)
                self._connection = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False)
        except StorageError:
            os.close(self._lock)
            raise
        try:
            with explained(self.path, ADVICE):
                self._open()
                self.secret = self._about()
        except StorageError:
            self.close()
            raise

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Fold the log back into the file, so that the one file can be copied, and let other processes open it."""
        with contextlib.suppress(sqlite3.Error):
            self._connection.execute("PRAGMA journal_mode = DELETE")
        self._connection.close()
        os.close(self._lock)

    def find(self, participant: str) -> Taken | None:
        """Look up a participant; None for one who has not begun."""
        with explained(self.path, ADVICE):
            return self._find(participant)

    def begin(self, participant: str) -> Taken:
        """Give a participant a condition and a quiz, once: of the cells with the fewest participants, one at random."""
        with explained(self.path, ADVICE), transaction(self._connection):
            if (found := self._find(participant)) is not None:
                return found
            counted = dict.fromkeys(((each.name, quiz) for each in self._study.conditions for quiz in QUIZZES), 0)
            rows = self._connection.execute("SELECT condition, quiz, count(*) FROM participants GROUP BY 1, 2")
            counted |= {(condition, quiz): count for condition, quiz, count in rows}
            fewest = min(counted.values())
            draws = generator("cell", self._study.seed, participant)
            condition, quiz = draws.choice([cell for cell, count in counted.items() if count == fewest])
            self._connection.execute(
                "INSERT INTO participants (id, condition, quiz, begun) VALUES (?, ?, ?, ?)",
                (participant, condition, quiz, time.time()),
            )
        return Taken(participant, condition, quiz, 0, None, has_attended=None, has_finished=False)

    def show(self, participant: str, article: str) -> None:
        """Note when an article is shown; only the first time counts."""
        with explained(self.path, ADVICE):
            self._connection.execute(
                "INSERT OR IGNORE INTO shown VALUES (?, ?, ?)", (participant, article, time.time())
            )

    def answer(self, participant: str, article: str, *, position: int, writer: Writer, choice: int) -> Outcome:
        """Keep an answer to an article that was shown at a place of the participant's order; the first one stays.

        The answer to the last article finishes the quiz. `same` and `different` tell of an answer that is there.
        """
        with explained(self.path, ADVICE), transaction(self._connection):
            execute = self._connection.execute
            key = (participant, article)
            before = execute("SELECT choice FROM answers WHERE participant = ? AND article = ?", key).fetchone()
            if before is not None:
                return "same" if before == (choice,) else "different"
            shown = execute("SELECT time FROM shown WHERE participant = ? AND article = ?", key).fetchone()
            if shown is None:
                return "not shown"
            now = time.time()
            seconds = round(max(0.0, now - shown[0]), 3)  # the clock may be set back meanwhile
            execute(
                "INSERT INTO answers (participant, article, position, writer, choice, seconds, time) "
                "VALUES (?, ?, ?, ?, ?, ?, ?)",
                (participant, article, position, writer, choice, seconds, now),
            )
            if position == len(self._study.articles) - 1:
                execute("UPDATE participants SET finished = ? WHERE id = ?", (now, participant))
        return "kept"

    def attend(self, participant: str, choice: int, *, asked: int) -> Outcome:
        """Keep the answer to the attention check; the first one stays."""
        with explained(self.path, ADVICE), transaction(self._connection):
            row = self._connection.execute("SELECT attention FROM participants WHERE id = ?", (participant,)).fetchone()
            if row is None:
                return "not shown"
            if row[0] is not None:
                return "same" if row == (choice,) else "different"
            self._connection.execute(
                "UPDATE participants SET attention = ?, attended = ? WHERE id = ?",
                (choice, int(choice == asked), participant),
            )
        return "kept"

    def _find(self, participant: str) -> Taken | None:
        row = self._connection.execute(
            "SELECT condition, quiz, attended, finished IS NOT NULL, "
            "(SELECT count(*) FROM answers WHERE participant = participants.id), "
            "(SELECT choice FROM answers WHERE participant = participants.id ORDER BY position DESC LIMIT 1) "
            "FROM participants WHERE id = ?",
            (participant,),
        ).fetchone()
        if row is None:
            return None
        condition, quiz, attended, finished, answered, latest = row
        has_attended = None if attended is None else bool(attended)
        return Taken(participant, condition, quiz, answered, latest, has_attended, bool(finished))

    def _open(self) -> None:
        execute = self._connection.execute
        (tables,) = execute("SELECT count(*) FROM sqlite_master").fetchone()
        if tables:
            check_kind(self._connection, self.path)
        execute("PRAGMA journal_mode = WAL")
        # An answer that was acknowledged outlives a failure of the machine, not only of the process.
        execute("PRAGMA synchronous = FULL")
        if not tables:
            with transaction(self._connection):
                for statement in SCHEMA:
                    execute(statement)
                about: Sequence[tuple[str, str]] = (
                    ("study", self._study.signature),
                    ("secret", secrets.token_hex(SECRET_BYTES)),
                )
                self._connection.executemany("INSERT INTO about VALUES (?, ?)", about)
                execute(f"PRAGMA application_id = {APPLICATION}")
                execute(f"PRAGMA user_version = {VERSION}")
        check_health(self._connection, self.path, ADVICE)

    def _about(self) -> bytes:
        """Check whose answers these are, and return the secret."""
        check_study(self._connection, self.path, self._study)
        (secret,) = self._connection.execute("SELECT value FROM about WHERE name = 'secret'").fetchone()
        return bytes.fromhex(secret)


def _make(path: Path) -> None:
    """Make the file where it is missing: the secret in it is the server's alone; SQLite gives its log the same mode."""
    try:
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    except OSError as error:
        raise StorageError(f"{path}: cannot write ({error.strerror}); {ADVICE.unwritable}") from error


def _lock(directory: Path) -> int:
    """Lock a directory until the file descriptor that is returned is closed, or the process ends, however it ends."""
    # The directory itself, so that no file is left over; the database's own locks come and go with its transactions.
    try:
        opened = os.open(directory, os.O_RDONLY)
    except OSError as error:
        raise StorageError(f"{directory}: cannot be read ({error.strerror}); choose a directory of a study") from error
    try:
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(opened)
        raise StorageError(
            f"{directory}: another server asks about this study; stop it first, one writes at a time"
        ) from None
    except OSError as error:
        os.close(opened)
        raise StorageError(f"{directory}: cannot be locked ({error.strerror}); copy it to a local disk") from error
    return opened

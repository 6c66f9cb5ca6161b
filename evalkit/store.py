"""The answers of a run in one SQLite file: what is in it is never asked again, and survives any end of the process."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from evalkit import encoding
from evalkit.database import Advice, check_health, explained, transaction
from evalkit.errors import StorageError
from evalkit.records import Response

APPLICATION = 0x65766B74  # "evkt": how SQLite files tell whose they are
VERSION = 1
SECONDS_BETWEEN_COMMITS = 0.1
SECONDS_TO_WAIT = 1.0  # for the lock of a run that is just ending

ADVICE = Advice(
    locked="another run is writing to this directory; wait for it, stop it, or choose another --out",
    full=" and run the same command, finished answers are kept",
    unwritable="choose another --out",
    damaged="move it away and run again, or choose another --out",
    other="free space or choose another --out, finished answers are kept",
)

SCHEMA = """
CREATE TABLE IF NOT EXISTS responses (
    model TEXT NOT NULL,     -- fingerprint
    request TEXT NOT NULL,   -- digest of everything the request asks
    response TEXT NOT NULL,  -- JSON
    PRIMARY KEY (model, request)
) WITHOUT ROWID
"""


class Store:
    """An open file of answers, held by one process at a time; use it in a with statement."""

    def __init__(self, path: Path) -> None:
        """Open the file or make it; StorageError where it is not ours, damaged, unwritable or in use."""
        self.path = path
        with explained(self.path, ADVICE):
            self._connection = sqlite3.connect(path, timeout=SECONDS_TO_WAIT, isolation_level=None)
        try:
            with explained(self.path, ADVICE):
                self._open()
        except StorageError:
            self._connection.close()
            raise

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        # Closing folds the log back into the file; on a full disk it stays beside it, and is read at the next start.
        with contextlib.suppress(sqlite3.Error):
            self._connection.close()

    def responses(self, model: str) -> dict[str, Response]:
        """Read all answers of the model with this fingerprint, by request key."""
        with explained(self.path, ADVICE):
            rows = self._connection.execute("SELECT request, response FROM responses WHERE model = ?", (model,))
            try:
                return {request: encoding.decode_response(response) for request, response in rows}
            except (ValueError, KeyError, TypeError) as error:
                raise StorageError(f"{self.path}: holds an answer that cannot be read; {ADVICE.damaged}") from error

    def add(self, model: str, answers: Iterable[tuple[str, Response]]) -> None:
        """Commit a batch of (request key, answer) in one transaction: all of it is kept, or nothing."""
        rows = [(model, key, encoding.encode_response(response)) for key, response in answers]
        with explained(self.path, ADVICE), transaction(self._connection):
            self._connection.executemany("INSERT OR IGNORE INTO responses VALUES (?, ?, ?)", rows)

    @contextlib.contextmanager
    def adding(self, model: str) -> Iterator[Callable[[str, Response], None]]:
        """Give a function that keeps single answers: they are committed many at a time, and at the end."""
        waiting: list[tuple[str, Response]] = []
        committed = time.monotonic()

        def keep(key: str, response: Response) -> None:
            nonlocal committed
            waiting.append((key, response))
            if time.monotonic() - committed >= SECONDS_BETWEEN_COMMITS:
                self.add(model, waiting)
                waiting.clear()
                committed = time.monotonic()

        try:
            yield keep
        finally:
            self.add(model, waiting)

    def _open(self) -> None:
        execute = self._connection.execute
        # Exclusive mode keeps the lock until the process ends, however it ends: a second run is refused, and the log
        # needs no shared memory, so network file systems will do.
        execute("PRAGMA locking_mode = EXCLUSIVE")
        execute("PRAGMA journal_mode = WAL")
        execute("PRAGMA synchronous = NORMAL")
        with transaction(self._connection):
            (owner,) = execute("PRAGMA application_id").fetchone()
            (version,) = execute("PRAGMA user_version").fetchone()
            (tables,) = execute("SELECT count(*) FROM sqlite_master").fetchone()
            if tables and owner != APPLICATION:
                raise StorageError(f"{self.path}: a database of another program; choose another --out")
            if tables and version != VERSION:
                raise StorageError(f"{self.path}: format {version}, expected {VERSION}; choose another --out")
            execute(f"PRAGMA application_id = {APPLICATION}")
            execute(f"PRAGMA user_version = {VERSION}")
            execute(SCHEMA)
        check_health(self._connection, self.path, ADVICE)

"""What files of SQLite have in common: a transaction keeps all or nothing, and an error is one line with what to do."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from evalkit.errors import StorageError


@dataclass(frozen=True, slots=True)
class Advice:
    """What to do about the errors of a file: ends of the sentences that say what was found."""

    locked: str  # the whole sentence: who writes to it, and what to do
    full: str  # after "the disk is full; free space"
    unwritable: str
    damaged: str
    other: str


@contextlib.contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Keep what the block writes if it ends, and undo it if it raises; the connection begins none by itself."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        # A full disk has ended the transaction already.
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


@contextlib.contextmanager
def explained(path: Path, advice: Advice) -> Iterator[None]:
    """Raise SQLite's errors in the block as StorageError."""
    try:
        yield
    except sqlite3.Error as error:
        raise StorageError(f"{path}: {_explain(str(error), advice)}") from error


def check_health(connection: sqlite3.Connection, path: Path, advice: Advice) -> None:
    """Raise StorageError where a file is damaged."""
    (health,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if health != "ok":
        raise StorageError(f"{path}: damaged ({' '.join(health.split())}); {advice.damaged}")


def _explain(what: str, advice: Advice) -> str:
    if "locked" in what:
        return advice.locked
    if "full" in what:
        return f"the disk is full; free space{advice.full}"
    if "unable to open" in what or "readonly" in what:
        return f"cannot write ({what}); {advice.unwritable}"
    if "not a database" in what or "malformed" in what:
        return f"damaged, or not a file of answers ({what}); {advice.damaged}"
    return f"{what}; {advice.other}"

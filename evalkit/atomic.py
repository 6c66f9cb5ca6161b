"""Write a file whole or not at all, so that a run that dies leaves no half of one."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from evalkit.errors import StorageError

PARTIAL = ".partial"


def write(path: Path, chunks: Iterable[str]) -> None:
    """Write UTF-8 text beside `path` and move it there; StorageError where that fails, the old file then stays."""
    try:
        # A lone surrogate has no UTF-8 form; as \udc80 it stays readable, and is what JSON calls it.
        with (
            replacing(path) as beside,
            beside.open("w", encoding="utf-8", errors="backslashreplace", newline="\n") as file,
        ):
            file.writelines(chunks)
    except OSError as error:
        raise StorageError(explain(path, error)) from error


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file's bytes beside `path` and move it there; StorageError where that fails, the old file then stays."""
    try:
        with replacing(path) as beside:
            beside.write_bytes(content)
    except OSError as error:
        raise StorageError(explain(path, error)) from error


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Lend a place beside `path`; what is written there takes its place when all went well."""
    beside = path.with_name(f".{path.name}.{os.getpid()}{PARTIAL}")
    try:
        yield beside
        with beside.open("rb+") as file:
            os.fsync(file.fileno())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def explain(path: Path, error: OSError) -> str:
    """Say in one line that `path` cannot be written, why, and what to do."""
    # numpy tells of a disk that is full by the bytes it wrote, without an error number.
    is_full = error.errno in (None, errno.ENOSPC, errno.EDQUOT)
    reason = (error.strerror or str(error)) if error.errno else f"the disk is full, it may be ({error})"
    advice = "free space or choose another --out" if is_full else "choose another --out"
    return f"{path}: cannot write: {reason}; {advice} (what is finished is kept)"

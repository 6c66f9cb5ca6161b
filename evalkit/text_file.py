"""Read whole text files, and say which byte is not UTF-8."""

from __future__ import annotations

from pathlib import Path

from evalkit.errors import DataError, EvalkitError


def read(path: Path, *, shown: str | None = None, error: type[EvalkitError] = DataError) -> str:
    """Read UTF-8 text, with or without a byte order mark; `error` with file and line where it cannot be read.

    Messages call the file what `shown` says.
    """
    place = shown or str(path)
    try:
        content = path.read_bytes()
    except OSError as failure:
        raise error(f"{place}: cannot be read: {failure.strerror}") from failure
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as failure:
        line = content.count(b"\n", 0, failure.start) + 1
        raise error(not_utf8(f"{place}:{line}", failure)) from failure


def not_utf8(place: str, failure: UnicodeDecodeError) -> str:
    """Word the complaint about bytes that are not UTF-8."""
    byte = failure.object[failure.start]
    return f"{place}: found the byte 0x{byte:02x}, which is not UTF-8; save the file as UTF-8"

"""The files of the report that a directory held before, so that those a new one no longer makes do not stay.

A report writes down which files are its own and what they hold; the next one removes what is on that list, is still as
it was written, and was not written again. A file that somebody has changed since stays.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path

from evalkit import atomic
from evalkit.errors import StorageError
from evalkit.report.files import FIGURES

FILE = "report-files.json"
OWN = re.compile(rf"(?:{FIGURES}/)?[\w-][\w.-]*")  # inside the directory


@contextmanager
def replacing(directory: Path) -> Iterator[list[Path]]:
    """Take the files that a report writes, and in the end remove those of an earlier one that are not among them.

    Nothing is removed where the block raises. Raises StorageError where the list of the earlier report cannot be read,
    or the directory not be written.
    """
    before = _read(directory)
    written: list[Path] = []
    yield written
    _replace(directory, written, earlier=before)


def _read(directory: Path) -> Mapping[str, str]:
    """Read the names of an earlier report's files and the SHA-256 of what they held; none where there was no report.

    Raises StorageError where the list cannot be read, or is none.
    """
    path = directory / FILE
    try:
        found = json.loads(path.read_text(encoding="utf-8"))["files"]
        if all(OWN.fullmatch(name) and isinstance(digest, str) for name, digest in found.items()):
            return dict(found)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise StorageError(f"{path}: cannot be read, or damaged; remove it or choose another --out") from error
    raise StorageError(f"{path}: not a list of a report's files; remove it or choose another --out")


def _replace(directory: Path, written: Collection[Path], *, earlier: Mapping[str, str]) -> None:
    """Remove what `earlier` lists and was not written now, and write the new list; StorageError where that fails."""
    try:
        now = {path.relative_to(directory).as_posix(): _digest(path) for path in written}
        for name in earlier.keys() - now.keys():
            path = directory / name
            if path.is_file() and _digest(path) == earlier[name]:
                path.unlink()
        if any(name.startswith(f"{FIGURES}/") for name in earlier):
            with suppress(OSError):  # it holds something, or is gone
                (directory / FIGURES).rmdir()
    except OSError as error:
        raise StorageError(atomic.explain(directory, error)) from error
    atomic.write(directory / FILE, [json.dumps({"files": now}, indent=1, sort_keys=True), "\n"])


def _digest(path: Path) -> str:
    return sha256(path.read_bytes()).hexdigest()

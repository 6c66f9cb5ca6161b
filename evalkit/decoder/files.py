"""What is refused of a checkpoint's files before they are opened."""

from __future__ import annotations

from pathlib import Path

from evalkit.errors import CheckpointError


def plain(path: Path) -> Path:
    """Give a path back; CheckpointError where it is a folder or a pipe, whose reader would wait for ever.

    One where nothing is comes back as well: its reader knows best what is missing.
    """
    if path.exists() and not path.is_file():
        kind = "a folder" if path.is_dir() else "a pipe or device"
        raise CheckpointError(f"{path}: found {kind}, expected a plain file")
    return path

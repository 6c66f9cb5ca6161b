"""Where a checkpoint is looked for, and what is refused of its files before they are opened."""

from __future__ import annotations

import re
from pathlib import Path

from evalkit.errors import CheckpointError

HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")


def local(name: str) -> Path:
    """Give the path that a model's name stands for; CheckpointError where nothing can be looked for there."""
    try:
        path = Path(name).expanduser()
        path.exists()
    except (OSError, RuntimeError) as error:  # such as ~ before an unknown user, a folder that may not be read
        reason = getattr(error, "strerror", None) or str(error).rstrip(".")
        raise CheckpointError(
            f"{name!r:.90} cannot be looked for ({reason}); expected nano, a checkpoint folder or a hub id"
        ) from error
    return path


def is_hub_id(name: str) -> bool:
    """Whether a name has the form of a hub id, such as openai-community/gpt2."""
    return HUB_ID.fullmatch(name) is not None


def plain(path: Path) -> Path:
    """Give a path back; CheckpointError where it is a folder or a pipe, whose reader would wait for ever.

    One where nothing is comes back as well: its reader knows best what is missing.
    """
    if path.exists() and not path.is_file():
        kind = "a folder" if path.is_dir() else "a pipe or device"
        raise CheckpointError(f"{path}: found {kind}, expected a plain file")
    return path

"""How much of the machine's memory copies of weights may take."""

from __future__ import annotations

import math
from pathlib import Path

SHARE = 0.5  # of the memory that is left


def has_room(size: int) -> bool:
    """Say whether the memory that Linux has left can spare so many bytes for copies; elsewhere it is taken to."""
    left = [math.inf]
    try:
        left.append(1024 * _number(Path("/proc/meminfo"), "MemAvailable:"))
        group = Path("/sys/fs/cgroup")  # of a container, say
        used = int((group / "memory.current").read_text(encoding="ascii"))
        used -= _number(group / "memory.stat", "inactive_file")  # files that would make room
        left.append(int((group / "memory.max").read_text(encoding="ascii")) - used)
    except (OSError, ValueError):
        pass  # not Linux, or no group that limits
    return size < SHARE * min(left)


def _number(path: Path, name: str) -> int:
    """Read the number behind a name, one a line; ValueError where there is none."""
    for line in path.read_text(encoding="ascii").splitlines():
        if line.startswith(f"{name} "):
            return int(line.split()[1])
    raise ValueError(name)

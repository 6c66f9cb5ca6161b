"""What a scan looks for, as arrays that processes share as files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from evalkit.contamination.kernels import matches
from evalkit.contamination.kernels.sketches import Sketches
from evalkit.contamination.kernels.substrings import Substrings
from evalkit.contamination.kernels.words import Fold


@dataclass(frozen=True, slots=True)
class Looked:
    """What is looked for: the part of an index that a scan needs, which processes share as files."""

    fold: Fold
    kernel: matches.Index
    sketches: Sketches | None = None  # of edited copies, where these are looked for
    substrings: Substrings | None = None  # of GPT-4's rule, where these are looked for

    def save(self, folder: Path) -> None:
        """Write all arrays; OSError where the disk refuses."""
        folder.mkdir(exist_ok=True)
        for group in (self.fold, self.kernel, self.sketches, self.substrings):
            for name, value in () if group is None else group._asdict().items():
                np.save(folder / f"{type(group).__name__}.{name}.npy", value)


def look_for(folder: Path) -> Looked:
    """Map the arrays that `save` wrote; their pages are shared by all processes."""

    def read(group: type, name: str) -> Any:  # Any: an array, or the number that it holds
        # Mode c: arrays that cannot be written to are another kind for numba.
        array = np.asarray(np.load(folder / f"{group.__name__}.{name}.npy", mmap_mode="c"))
        if array.ndim:
            return array
        return array[()] if array.dtype == np.uint64 else array.item()

    def group(kind: Any) -> Any:  # Any: a named tuple of arrays
        is_there = (folder / f"{kind.__name__}.{kind._fields[0]}.npy").exists()
        return kind(*(read(kind, name) for name in kind._fields)) if is_there else None

    return Looked(group(Fold), group(matches.Index), group(Sketches), group(Substrings))

"""What a finished scan found in each file of its corpus."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evalkit.contamination import directory, scan_report, shard_scan
from evalkit.contamination.corpus import shards
from evalkit.contamination.corpus.shards import Shard
from evalkit.errors import DataError


@dataclass(frozen=True, slots=True)
class Scanned:
    """A finished scan."""

    directory: Path
    run: dict[str, Any]  # Any: JSON, as the scan wrote it
    words: NDArray[np.int64]  # (E,) of each example
    ngram: NDArray[np.int64]  # (E,) N of its task

    @property
    def files(self) -> tuple[Path, ...]:
        """List the files of the corpus in the scan's order."""
        return tuple(Path(each["file"]) for each in self.run["corpus"])

    @property
    def text_field(self) -> str | None:
        """Name the field of the text, where the scan was given one."""
        name: str | None = self.run["identity"]["text_field"]
        return name

    @property
    def text_lines(self) -> bool:
        """Whether each line of a text file was a document."""
        return bool(self.run["settings"]["text_lines"])


@dataclass(frozen=True, slots=True)
class Found:
    """What the scan found in one file."""

    shards: tuple[Shard, ...]
    lines: tuple[int, ...]  # lines or rows of each shard
    documents: int
    unread: int
    matches: NDArray[np.int64]  # (M, 6) example, word in it, words, line or row of the file, begin and end in its text
    unkept: int


def read_scan(place: Path) -> Scanned:
    """Read what a scan found; DataError where it is none, is not finished or is damaged."""
    try:
        run = json.loads((place / directory.FILE).read_text(encoding="utf-8"))
        if run["kind"] != directory.KIND:
            raise KeyError("kind")
        if "signature" not in run:
            raise DataError(f"{place}: found a scan that is not finished; run it to its end first")
        overlaps = scan_report.read_overlaps(place / "overlap.jsonl")
        ngram = [run["n"][each.task] for each in overlaps]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{place}: found no scan that can be read, expected the folder that a scan has written"
        ) from error
    return Scanned(place, run, np.array([each.words for each in overlaps], np.int64), np.array(ngram, np.int64))


def find(scanned: Scanned, path: Path) -> Found:
    """Read what the scan found in a file: matches of N words or a whole example.

    Raises DataError where the file is not the one that was scanned, or the scan could not read all of it.
    """
    plan = shards.plan([str(path)], text_lines=scanned.text_lines)
    lines: list[int] = []
    matches = []
    read = unread = unkept = 0
    for shard in plan:
        result = shard_scan.load(directory.shard_file(scanned.directory, shard, seen=scanned.run["identity"]))
        if result is None:
            raise DataError(f"{path}: changed since the scan, or its results are gone; scan again")
        if result.reading.failure:
            raise DataError(
                f"{path}: only part of it was scanned ({result.reading.failure}); mend it and scan again, or scan "
                "without it"
            )
        rows = result.hits.found[:, :6].copy()
        rows[:, 3] += sum(lines)
        needed = np.minimum(scanned.ngram, scanned.words)[rows[:, 0]]
        matches.append(rows[rows[:, 2] >= needed])
        unkept += int(result.hits.times[:, 1].sum()) - len(matches[-1])
        lines.append(result.reading.lines)
        read += result.reading.documents
        unread += sum(result.reading.trouble.values())
    return Found(plan, tuple(lines), read, unread, np.concatenate(matches), unkept)

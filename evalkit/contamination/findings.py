"""What a scan found, put together from the results of its shards: matches by example, and what was read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evalkit import atomic
from evalkit.contamination import measures, shard_scan
from evalkit.contamination.documents import PLACES, Reading
from evalkit.contamination.index import Index
from evalkit.contamination.measures import Runs
from evalkit.contamination.shards import Shard
from evalkit.errors import DataError, StorageError
from evalkit.records import Match, Overlap

ROWS_AT_ONCE = 1 << 16


@dataclass(frozen=True, slots=True)
class Findings:
    """All matches of a scan, ordered by example."""

    found: NDArray[np.int64]  # (M, FIELDS) as the kernel gives them; documents are numbered over the whole corpus
    first: NDArray[np.int64]  # (E + 1,) the first match of each example
    times: NDArray[np.int64]  # (E,) matches of each example, those that were not kept too
    files: tuple[tuple[Path, int, int], ...]  # file, number of its first document, lines or rows before that in it
    documents: int
    text_bytes: int
    trouble: Mapping[str, int]  # what kept a line from being read -> how often
    places: Mapping[str, tuple[str, ...]]  # the first places of each
    failures: tuple[tuple[str, str], ...]  # file, and why the rest of it could not be read

    def runs(self, example: int, test: Index) -> Runs:
        """Give the matches of one example as measures take them."""
        rows = self.found[self.first[example] : self.first[example + 1]]
        parts = zip(test.items[example].parts, test.part_words[example], strict=True)
        return Runs(
            words=test.length(example),
            part_words=tuple((part.name, words) for part, words in parts),
            start=rows[:, 1],
            length=rows[:, 2],
            document=rows[:, 3],
            place=rows[:, 6],
        )

    def matches(self, example: int, test: Index) -> list[Match]:
        """Give the matches of one example as records, the longest first."""
        item, runs = test.items[example], self.runs(example, test)
        rows = self.found[self.first[example] : self.first[example + 1]]
        made = [
            Match(
                task=item.task,
                example=item.id,
                parts=measures.touched_parts(runs.choose(np.array([i]))),
                word=int(row[1]),
                words=int(row[2]),
                document=self.name(int(row[3])),
                begin=int(row[4]),
                end=int(row[5]),
            )
            for i, row in enumerate(rows)
        ]
        return sorted(made, key=lambda match: -match.words)

    def name(self, document: int) -> str:
        """Name a document by its file and its line or row there, from 1."""
        place = int(np.searchsorted([first for _, first, _ in self.files], document, side="right")) - 1
        path, first, before = self.files[place]
        return f"{path}:{document - first + before + 1}"


def merge(files: Mapping[Shard, Path], test: Index) -> Findings:
    """Put the results of all shards together; StorageError where one is missing."""
    kept: list[NDArray[np.int64]] = []
    named: list[tuple[Path, int, int]] = []
    whole = Reading()
    failures: list[tuple[str, str]] = []
    places: dict[str, tuple[str, ...]] = {}
    times = np.zeros(len(test.items), np.int64)
    before: dict[Path, int] = {}  # lines or rows of each file so far
    for shard, path in files.items():
        result = shard_scan.load(path)
        if result is None:
            raise StorageError(f"{path}: the result of a shard is missing or damaged; run the same command again")
        reading, lines = result.reading, before.get(shard.path, 0)
        named.append((shard.path, whole.lines, lines))
        rows = result.found.copy()
        rows[:, 3] += whole.lines
        kept.append(rows)
        times += result.times
        for what, count in reading.trouble.items():
            whole.trouble[what] = whole.trouble.get(what, 0) + count
            names = tuple(f"{shard.path}:{lines + line + 1}" for line in reading.places[what])
            places[what] = (*places.get(what, ()), *names)[:PLACES]
        if reading.failure:
            failures.append((str(shard.path), reading.failure))
        whole.lines += reading.lines
        whole.documents += reading.documents
        whole.text_bytes += reading.text_bytes
        before[shard.path] = lines + reading.lines
    found = np.concatenate(kept)
    found = found[np.lexsort((found[:, 4], found[:, 3], found[:, 1], found[:, 0]))]
    first = np.searchsorted(found[:, 0], np.arange(len(test.items) + 1))
    return Findings(
        found, first, times, tuple(named), whole.documents, whole.text_bytes, whole.trouble, places, tuple(failures)
    )


def overlaps(findings: Findings, test: Index) -> tuple[Overlap, ...]:
    """Judge every example as GPT-3 did: dirty where N words in a row stand in the corpus, or all of a shorter example.

    The value is the share of the example's words in such runs.
    """
    judged = []
    for number, item in enumerate(test.items):
        words, needed = test.length(number), test.needed(number)
        if needed is None:
            judged.append(Overlap(item.task, item.id, words, None, None, 0, 0, ()))
            continue
        runs = findings.runs(number, test)
        runs = runs.choose(runs.length >= needed)
        judged.append(
            Overlap(
                task=item.task,
                example=item.id,
                words=words,
                value=measures.TokenCoverage(n=needed).value(runs),
                is_dirty=len(runs.start) > 0,
                longest=int(runs.length.max(initial=0)),
                documents=len(np.unique(runs.document)),
                parts=measures.touched_parts(runs),
            )
        )
    return tuple(judged)


def totals(findings: Findings) -> dict[str, Any]:  # Any: JSON
    """List what was read and what was not, for run.json."""
    return {
        "documents": findings.documents,
        "text_bytes": findings.text_bytes,
        "matches": int(findings.times.sum()),
        "matches_kept": len(findings.found),
        "not_read": {
            what: {"count": findings.trouble[what], "first": places} for what, places in findings.places.items()
        },
        "broken_off": [{"file": file, "reason": reason} for file, reason in findings.failures],
    }


def write_matches(path: Path, findings: Findings, test: Index) -> None:
    """Write all matches as parquet, a row each, whole or not at all; StorageError where the disk refuses."""
    import pyarrow
    import pyarrow.parquet

    schema = pyarrow.schema(
        [
            ("task", pyarrow.dictionary(pyarrow.int32(), pyarrow.string())),
            ("example", pyarrow.string()),
            ("word", pyarrow.int32()),
            ("words", pyarrow.int32()),
            ("document", pyarrow.string()),
            ("begin", pyarrow.int64()),
            ("end", pyarrow.int64()),
            ("document_word", pyarrow.int64()),
        ]
    )
    beside = path.with_name(f".{path.name}.partial")
    try:
        with pyarrow.parquet.ParquetWriter(beside, schema, compression="zstd") as writer:
            for begin in range(0, len(findings.found), ROWS_AT_ONCE):
                rows = findings.found[begin : begin + ROWS_AT_ONCE]
                items = [test.items[number] for number in rows[:, 0].tolist()]
                columns = [
                    pyarrow.array([item.task for item in items]).dictionary_encode(),
                    pyarrow.array([item.id for item in items]),
                    rows[:, 1].astype(np.int32),
                    rows[:, 2].astype(np.int32),
                    pyarrow.array([findings.name(document) for document in rows[:, 3].tolist()]),
                    *(rows[:, column] for column in (4, 5, 6)),
                ]
                writer.write_table(pyarrow.table(columns, schema=schema))
        beside.replace(path)
    except (OSError, pyarrow.ArrowException) as error:
        beside.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise StorageError(atomic.explain(path, error)) from error
        raise DataError(f"{path}: cannot be written: {error}") from error

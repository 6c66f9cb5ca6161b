"""What a scan found, put together from the results of its shards: matches by example, and what was read."""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evalkit import atomic
from evalkit.contamination import edited, measures, shard_scan
from evalkit.contamination.corpus.account import Account
from evalkit.contamination.corpus.shards import Shard
from evalkit.contamination.index import Index
from evalkit.contamination.kept import Kept
from evalkit.contamination.kernels import sketches
from evalkit.contamination.kernels.matches import FIELDS, SKIPS
from evalkit.contamination.kernels.substrings import FIELDS as SUBSTRING_FIELDS
from evalkit.contamination.measures import Runs
from evalkit.contamination.surroundings import Around, LongestOfShards
from evalkit.errors import DataError, StorageError
from evalkit.records import Match, Overlap

ROWS_AT_ONCE = 1 << 16
HELD = 1 << 21  # matches of a scan, all of which are kept; of more, each example keeps an equal number, the longest
LEAST_KEPT = 16


@dataclass(frozen=True, slots=True)
class Findings:
    """All matches of a scan, ordered by example."""

    found: NDArray[np.int64]  # (M, FIELDS) as the kernel gives them; documents are numbered over the whole corpus
    first: NDArray[np.int64]  # (E + 1,) the first match of each example
    edited: NDArray[np.int64] | None  # (M, sketches.FIELDS), documents likewise; None where not looked for
    substrings: NDArray[np.int64] | None  # (M, substrings.FIELDS), documents likewise; None where not looked for
    times: NDArray[np.int64]  # (E, 2) as matches.Found, those that were not kept too
    files: tuple[tuple[Path, int, int], ...]  # file, number of its first document, lines or rows before that in it
    read: Account
    is_cut: bool  # whether more edited copies or substrings were found than are kept
    around: tuple[Around, ...]  # the longest match of each dirty example with its text, the longest first

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
            reach=rows[:, 2:3] + _unpacked(rows[:, 6]),
        )

    def longest(self, example: int, test: Index) -> Match:
        """Give the longest match of an example that has one, the first of equal ones."""
        item, begin = test.items[example], int(self.first[example])
        place = int(np.argmax(self.found[begin : self.first[example + 1], 2]))
        row = self.found[begin + place]
        return Match(
            task=item.task,
            example=item.id,
            parts=measures.touched_parts(self.runs(example, test).choose(np.array([place]))),
            word=int(row[1]),
            words=int(row[2]),
            document=self.name(int(row[3])),
            begin=int(row[4]),
            end=int(row[5]),
        )

    def name(self, document: int) -> str:
        """Name a document by its file and its line or row there, from 1."""
        path, first, before = self.files[bisect_right(self.files, document, key=lambda file: file[1]) - 1]
        return f"{path}:{document - first + before + 1}"

    def place(self, document: int) -> str:
        """Name a document for people: by a path from here, where its file is below."""
        name, here = self.name(document), f"{Path.cwd()}{os.sep}"
        return name.removeprefix(here)


def _unpacked(reach: NDArray[np.int64]) -> NDArray[np.int64]:
    """Take the numbers of kernels.matches.reach apart, (M,) to (M, SKIPS)."""
    shifts = 16 * np.arange(SKIPS, dtype=np.uint64)
    return (reach.astype(np.uint64)[:, None] >> shifts & np.uint64(0xFFFF)).astype(np.int64)


def merge(files: Mapping[Shard, Path], test: Index) -> Findings:
    """Put the results of all shards together, in bounded memory; StorageError where one is missing."""
    read = Account()
    named: list[tuple[Path, int, int]] = []
    times = np.zeros((len(test.items), 2), np.int64)
    found = Kept(FIELDS, by=(0,), length=2, limit=HELD, most=_most(len(test.items)))
    pieces = 0 if test.looked.sketches is None else len(test.looked.sketches.example)
    copied = Kept(sketches.FIELDS, by=(0, 1), length=7, limit=HELD, most=_most(pieces))
    drawn = 0 if test.looked.substrings is None else len(test.looked.substrings.example)
    contained = Kept(SUBSTRING_FIELDS, by=(0, 1), length=None, limit=HELD, most=_most(drawn))
    shown = LongestOfShards()
    is_cut = False
    for shard, path in files.items():
        result = shard_scan.load(path)
        if result is None:
            raise StorageError(f"{path}: the result of a shard is missing or damaged; run the same command again")
        named.append((shard.path, read.lines, read.lines_of(shard.path)))
        hits = result.hits
        for kept, rows, document in ((found, hits.found, 3), (copied, hits.edited, 3), (contained, hits.substrings, 2)):
            if rows is not None:
                rows[:, document] += read.lines
                kept.add(rows)
        shown.add(hits.around, before=read.lines)
        times += hits.times
        is_cut |= hits.is_cut
        read.add(shard, result.reading)
    copies, substrings = copied.rows(), contained.rows()
    rows = found.rows()
    rows = rows[np.lexsort((rows[:, 4], rows[:, 3], rows[:, 1], rows[:, 0]))]
    return Findings(
        found=rows,
        first=np.searchsorted(rows[:, 0], np.arange(len(test.items) + 1)),
        edited=copies if test.looked.sketches is not None else None,
        substrings=substrings if test.looked.substrings is not None else None,
        times=times,
        files=tuple(named),
        read=read,
        is_cut=is_cut or copied.is_cut or contained.is_cut,
        around=shown.rows(),
    )


def _most(groups: int) -> int:
    return max(LEAST_KEPT, HELD // max(1, groups))


def overlaps(findings: Findings, test: Index) -> tuple[Overlap, ...]:
    """Judge every example as GPT-3 did: dirty where N words in a row stand in the corpus, or all of a shorter example.

    The value is the share of the example's words in such runs.
    """
    copied, contained = _edited_shares(findings, test), _substring_counts(findings, test)
    judged = []
    for number, item in enumerate(test.items):
        words, needed = test.length(number), test.needed(number)
        if needed is None:
            judged.append(Overlap(item.task, item.id, words, None, None, 0, 0, (), substrings=contained.get(number)))
            continue
        kept = findings.runs(number, test)
        runs = kept.choose(kept.length >= needed)
        judged.append(
            Overlap(
                task=item.task,
                example=item.id,
                words=words,
                value=measures.TokenCoverage(n=needed).value(runs),
                is_dirty=len(runs.start) > 0,
                longest=int(kept.length.max(initial=0)),
                documents=len(np.unique(runs.document)),
                parts=measures.touched_parts(runs),
                edited=copied.get(number),
                substrings=contained.get(number),
            )
        )
    return tuple(judged)


def _edited_shares(findings: Findings, test: Index) -> dict[int, float]:
    """Give the largest share of each example's words that a document has in their order, where that was looked for."""
    if findings.edited is None or test.looked.sketches is None:
        return {}
    lengths = [test.length(number) for number in range(len(test.items))]
    shares = dict.fromkeys(test.looked.sketches.example.tolist(), 0.0)
    for copy in edited.copies(findings.edited, lengths):
        shares[copy.example] = max(shares[copy.example], copy.share)
    return shares


def _substring_counts(findings: Findings, test: Index) -> dict[int, int]:
    """Count each example's substrings that the corpus holds, where any was looked for."""
    if findings.substrings is None or test.looked.substrings is None:
        return {}
    counts = dict.fromkeys(test.looked.substrings.example.tolist(), 0)
    for example, _ in np.unique(findings.substrings[:, :2], axis=0).tolist():
        counts[example] += 1
    return counts


def totals(findings: Findings) -> dict[str, Any]:  # Any: JSON
    """List what was read and what was not, for run.json."""
    read = findings.read
    return {
        "documents": read.documents,
        "text_bytes": read.text_bytes,
        "matches": int(findings.times.sum()),
        "matches_kept": len(findings.found),
        "passages": len(findings.around),
        "not_read": {what: {"count": read.trouble[what], "first": places} for what, places in read.places.items()},
        "left_out": [str(path) for path in read.left_out],
        "broken_off": [{"file": file, "reason": reason} for file, reason in read.failures],
    }


SPAN = ("word", "words", "document", "begin", "end")  # columns after task and example
REACH = ("skip_1", "skip_2", "skip_3", "skip_4")  # words when so many of them may differ
COPIES = (*SPAN, "document_word", "aligned")
SUBSTRINGS = ("substring", "document", "begin", "end")


def write_matches(directory: Path, findings: Findings, test: Index) -> None:
    """Write matches.parquet, and edited.parquet and substrings.parquet where these were looked for: a row a match.

    Each file is written whole or not at all; StorageError where the disk refuses.
    """
    rows = {"matches": (_with_reach(findings.found), (*SPAN, *REACH)), "edited": (findings.edited, COPIES)}
    rows["substrings"] = (findings.substrings, SUBSTRINGS)
    for name, (found, columns) in rows.items():
        path = directory / f"{name}.parquet"
        if found is None:
            path.unlink(missing_ok=True)
        else:
            _write_parquet(path, found, columns, findings, test)


def _with_reach(found: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.concatenate([found[:, :6], found[:, 2:3] + _unpacked(found[:, 6])], axis=1)


def _write_parquet(
    path: Path, found: NDArray[np.int64], columns: tuple[str, ...], findings: Findings, test: Index
) -> None:
    import pyarrow
    import pyarrow.parquet

    kinds = {"document": pyarrow.string(), "begin": pyarrow.int64(), "end": pyarrow.int64()}
    kinds["document_word"] = pyarrow.int64()
    named = [("task", pyarrow.dictionary(pyarrow.int32(), pyarrow.string())), ("example", pyarrow.string())]
    schema = pyarrow.schema([*named, *((column, kinds.get(column, pyarrow.int32())) for column in columns)])
    try:
        with (
            atomic.replacing(path) as beside,
            pyarrow.parquet.ParquetWriter(beside, schema, compression="zstd") as writer,
        ):
            for begin in range(0, len(found), ROWS_AT_ONCE):
                rows = found[begin : begin + ROWS_AT_ONCE]
                items = [test.items[number] for number in rows[:, 0].tolist()]
                values: list[Any] = [  # Any: pyarrow is untyped
                    pyarrow.array([item.task for item in items]).dictionary_encode(),
                    pyarrow.array([item.id for item in items]),
                ]
                for column, value in zip(columns, rows[:, 1:].T, strict=True):
                    if column == "document":
                        known, places = np.unique(value, return_inverse=True)
                        names = pyarrow.array([findings.name(document) for document in known.tolist()])
                        values.append(names.take(pyarrow.array(places)))
                    else:
                        values.append(pyarrow.array(value, schema.field(column).type))
                writer.write_table(pyarrow.table(values, schema=schema))
    except (OSError, pyarrow.ArrowException) as error:
        if isinstance(error, OSError):
            raise StorageError(atomic.explain(path, error)) from error
        raise DataError(f"{path}: cannot be written: {error}") from error

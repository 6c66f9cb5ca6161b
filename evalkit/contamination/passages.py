"""The longest match of each dirty example of a scan: example and document side by side, as they were written."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np

from evalkit import atomic
from evalkit.contamination import directory as directories
from evalkit.contamination import index, items, split
from evalkit.contamination.findings import Findings
from evalkit.contamination.index import Index, Part
from evalkit.contamination.kernels import words as kernel
from evalkit.contamination.kernels.octets import PADDING
from evalkit.contamination.split import Stored
from evalkit.contamination.surroundings import MOST, Excerpt, excerpt
from evalkit.errors import DataError, StorageError
from evalkit.report.content import Passage

FILE = "passages.jsonl"
MARGIN = 300  # characters of an example before and after a run
BETWEEN = b"\n"  # the parts of an example


def write(directory: Path, findings: Findings, test: Index) -> None:
    """Write a line for each passage, the longest first; StorageError where the disk refuses."""
    atomic.write(directory / FILE, _lines(findings, test))


def _lines(findings: Findings, test: Index) -> Iterator[str]:
    for each in findings.around:
        item = test.items[each.example]
        fields = {
            "task": item.task,
            "example_id": item.id,
            "words": each.words,
            "document": findings.place(each.document),
            "in_example": in_parts(item.parts, each.word, each.words, fold=test.looked.fold),
            "in_document": each.text,
        }
        yield json.dumps(fields, ensure_ascii=False) + "\n"


def load(scan: Path) -> tuple[Passage, ...]:
    """Read the passages of a finished scan, the longest first.

    A scan of an earlier version kept no text of its corpus: its passages show the examples alone, which are read
    again. Raises StorageError where there is no finished scan or its files are damaged, DataError where the examples
    are no longer what was scanned.
    """
    stored = split.load(scan)
    try:
        found = read(scan)
    except FileNotFoundError:
        return tuple(_without_corpus(stored))
    expected = _count(scan)
    if expected is not None and len(found) != expected:
        raise StorageError(f"{scan / FILE}: found {len(found):,} passages, expected {expected:,}; run the scan again")
    return found


def _count(scan: Path) -> int | None:
    """Read how many passages a scan has; None where an earlier version did not count them."""
    try:
        found = json.loads((scan / directories.FILE).read_text(encoding="utf-8"))["read"]["passages"]
        return found if isinstance(found, int) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def read(directory: Path) -> tuple[Passage, ...]:
    """Read what `write` wrote; FileNotFoundError where it is not there, StorageError where it is damaged."""
    path = directory / FILE
    try:
        with path.open(encoding="utf-8") as lines:
            return tuple(_read(line, f"{path}:{number}") for number, line in enumerate(lines, start=1))
    except FileNotFoundError:
        raise
    except UnicodeDecodeError as error:
        raise StorageError(f"{path}: not UTF-8; run the scan command again") from error
    except OSError as error:
        raise StorageError(f"{path}: cannot be read ({error.strerror}); run the scan command again") from error


def _read(line: str, place: str) -> Passage:
    try:
        fields = json.loads(line)
        passage = Passage(
            task=fields["task"],
            example=fields["example_id"],
            words=fields["words"],
            document=fields["document"],
            in_example=_excerpt(fields["in_example"]),
            in_document=_excerpt(fields["in_document"]),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise StorageError(f"{place}: not a passage; run the scan command again") from error
    return passage


def _excerpt(value: Sequence[str]) -> Excerpt:
    before, run, after = value
    if not all(isinstance(each, str) for each in value):
        raise TypeError("found no text")
    return before, run, after


def in_parts(parts: Sequence[Part], word: int, words: int, *, fold: kernel.Fold) -> Excerpt:
    """Cut the run of `words` words from `word` on out of an example, parts one below the other, with what is around it.

    Raises ValueError where the example has fewer words.
    """
    spans: list[tuple[int, int]] = []
    whole = bytearray()
    for part in parts:
        raw = part.text.encode("utf-8", "replace")
        spans += ((len(whole) + begin, len(whole) + end) for begin, end in word_spans(raw, fold))
        whole += raw + BETWEEN
    if not 0 <= word < word + words <= len(spans):
        raise ValueError(f"found {len(spans)} words, expected {word + words}")
    text = np.frombuffer(bytes(whole[: -len(BETWEEN)]), np.uint8)
    return excerpt(text, spans[word][0], spans[word + words - 1][1], margin=MARGIN)


def word_spans(raw: bytes, fold: kernel.Fold) -> list[tuple[int, int]]:
    """Tell where the words of a text in UTF-8 begin and end, in bytes."""
    room = kernel.room(len(raw) + 2, 3 * len(raw) + 2 * PADDING)
    data = np.frombuffer(raw + bytes(PADDING), np.uint8).copy()  # writable, as in index.py
    count, _ = kernel.split(data, 0, len(raw), fold, room, len(room.begin))
    return list(zip(room.begin[:count].tolist(), room.end[:count].tolist(), strict=True))


def _without_corpus(stored: Stored) -> Iterator[Passage]:
    settings = directories.stored_settings(stored.directory)
    fold = index.kernel_fold(settings["normaliser"])
    texts = {
        (item.task, item.id): item.parts
        for item in items.gather(stored.tasks, data=stored.data, demonstrations=bool(settings.get("demonstrations")))
    }
    lengths = {(each.task, each.example): each.words for each in stored.overlaps if each.is_dirty}
    longest = sorted(_longest(stored, lengths).items(), key=lambda each: -each[1][1])  # sorted keeps order among equals
    for name, (word, words, document) in islice(longest, MOST):
        parts = texts.get(name, ())
        if sum(len(word_spans(part.text.encode("utf-8", "replace"), fold)) for part in parts) != lengths[name]:
            raise DataError(f"{name[0]}: example {name[1]!r} of the scan is not in the data any more; scan again")
        yield Passage(*name, words, document, in_parts(parts, word, words, fold=fold), None)


def _longest(stored: Stored, dirty: dict[tuple[str, str], int]) -> dict[tuple[str, str], tuple[int, int, str]]:
    """Find the first of the longest matches of each example in `dirty`: word, words and document, in their order."""
    import pyarrow
    import pyarrow.parquet

    path = stored.directory / "matches.parquet"
    columns = ("task", "example", "word", "words", "document")
    found: dict[tuple[str, str], tuple[int, int, str]] = {}
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(columns=list(columns)):
                rows = zip(*(batch.column(name).to_pylist() for name in columns), strict=True)
                for task, example, word, words, document in rows:
                    name = (task, example)
                    if name in dirty and (name not in found or words > found[name][1]):
                        found[name] = (word, words, document)
    except (OSError, pyarrow.ArrowException) as error:
        raise StorageError(f"{path}: cannot be read; run the scan command again") from error
    return {name: found[name] for name in dirty if name in found}

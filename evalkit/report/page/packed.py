"""Samples in little room: every distinct segment of a prompt once, in compressed blocks that a script opens on demand.

The page holds an index, which lists need, and two kinds of blocks, of texts and of records. Each is JSON, deflated,
in base64. A record is `[numbers of its prompt's segments, how many of them are the question, details]`.
"""

from __future__ import annotations

import json
import zlib
from base64 import b64encode
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from evalkit.report.content import ShownSample
from evalkit.report.page import samples

BLOCK = 1 << 18  # characters of a block, before it is compressed
MEMORY = 200_000_000  # characters of distinct text that are held while the page is written
LIMIT = 27_000_000  # bytes of all blocks, as they stand in the page
OVERHEAD = 100  # characters a sample takes beside its texts
SNIPPET = 100  # characters of question and answer in a list

ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), check_circular=False)


@dataclass(frozen=True, slots=True)
class Block:
    """A part of the page's data."""

    name: str  # of its element, such as `text-0`
    content: str  # base64


@dataclass(frozen=True, slots=True)
class Packed:
    """Samples as the page holds them."""

    index: Block
    blocks: tuple[Block, ...]
    count: int
    left_out: int

    @property
    def size(self) -> int:
        """Bytes in the page."""
        return sum(len(block.content) for block in (self.index, *self.blocks))


@dataclass(frozen=True, slots=True)
class _Entry:
    rank: int  # 0 for what is kept first
    facets: tuple[str, str, int, str, str, str, str]  # anchor, model, shots, task, id, outcome, scanned
    snippets: tuple[str, str]  # question and answer
    segments: tuple[str, ...]
    own: int  # of the last segments, that are the question
    details: str  # JSON

    @property
    def question(self) -> tuple[str, ...]:
        """Give the segments that are the question."""
        return self.segments[len(self.segments) - self.own :]


@dataclass(frozen=True, slots=True)
class _Chosen:
    entries: tuple[_Entry, ...]
    size: int  # characters of their distinct texts
    left_out: int


def pack(shown: Iterable[ShownSample], *, limit: int = LIMIT) -> Packed:
    """Pack samples into at most `limit` bytes; beyond that dirty ones stay, then wrong ones, then the first."""
    chosen = _choose(_entries(shown), budget=MEMORY)
    left_out = chosen.left_out
    packed = _pack(chosen.entries, left_out=left_out)
    while packed.size > limit:
        # How well texts compress shows only afterwards.
        chosen = _choose(chosen.entries, budget=int(0.95 * chosen.size * limit / packed.size))
        left_out += chosen.left_out
        packed = _pack(chosen.entries, left_out=left_out)
    return packed


def _entries(shown: Iterable[ShownSample]) -> Iterator[_Entry]:
    for each in shown:
        sample = each.sample
        parts, own = samples.segments(sample)
        yield _Entry(
            rank=0 if each.is_dirty else 1 if each.is_right is False else 2,
            facets=(
                *(samples.anchor(each), each.model, sample.shots, sample.task, sample.example.id),
                *(samples.outcome(each), samples.scanned(each)),
            ),
            snippets=(_snippet(_longest_line(parts[len(parts) - own :])), _snippet(_answer(each))),
            segments=tuple(parts),
            own=own,
            details=_details(each),
        )


def _choose(entries: Iterable[_Entry], *, budget: int) -> _Chosen:
    """Keep entries whose distinct texts have at most `budget` characters."""
    kept: tuple[list[tuple[int, _Entry]], ...] = ([], [], [])
    uses: Counter[str] = Counter()
    known: dict[str, str] = {}  # equal segments are one string in memory, as long as an entry has them
    size = left_out = 0
    for place, found in enumerate(entries):
        entry = replace(found, segments=tuple(known.setdefault(segment, segment) for segment in found.segments))
        kept[entry.rank].append((place, entry))
        size += _own_size(entry) + sum(len(segment) for segment in dict.fromkeys(entry.segments) if not uses[segment])
        uses.update(entry.segments)
        while size > budget:
            _, dropped = next(rank for rank in reversed(kept) if rank).pop()
            uses.subtract(dropped.segments)
            gone = [segment for segment in dict.fromkeys(dropped.segments) if not uses[segment]]
            size -= _own_size(dropped) + sum(map(len, gone))
            for segment in gone:
                del uses[segment], known[segment]
            left_out += 1
    in_order = sorted((each for rank in kept for each in rank), key=lambda each: each[0])
    return _Chosen(tuple(entry for _, entry in in_order), size, left_out)


def _own_size(entry: _Entry) -> int:
    return len(entry.details) + sum(map(len, entry.snippets)) + OVERHEAD


def _pack(entries: Sequence[_Entry], *, left_out: int) -> Packed:
    texts, records = _Blocks("text"), _Blocks("record")
    numbers: dict[str, int] = {}
    # Questions come first, so that a search opens their blocks alone.
    for part in (part for entry in entries for part in entry.question):
        if part not in numbers:
            numbers[part] = texts.add(_json(part))
    texts.end_block()
    questions = len(texts.blocks)
    for part in (part for entry in entries for part in entry.segments):
        if part not in numbers:
            numbers[part] = texts.add(_json(part))
    for entry in entries:
        used = ",".join(str(numbers[part]) for part in entry.segments)
        records.add(f"[[{used}],{entry.own},{entry.details}]")
    texts.end_block()
    records.end_block()
    columns = dict(zip(("anchor", "model", "shots", "task", "id", "outcome", "scanned"), _facets(entries), strict=True))
    columns |= {"question": [each.snippets[0] for each in entries], "answer": [each.snippets[1] for each in entries]}
    names = {name: list(dict.fromkeys(columns[name])) for name in ("model", "task", "outcome", "scanned")}
    places = {name: {value: place for place, value in enumerate(found)} for name, found in names.items()}
    index = {
        "names": names,
        "columns": columns | {name: [places[name][value] for value in columns[name]] for name in names},
        "starts": {"text": texts.starts, "record": records.starts},
        "questions": questions,
    }
    return Packed(
        Block("samples-index", _compressed(_json(index))), (*records.blocks, *texts.blocks), len(entries), left_out
    )


def _facets(entries: Sequence[_Entry]) -> list[list[str | int]]:
    return [[entry.facets[place] for entry in entries] for place in range(7)]


class _Blocks:
    """Numbered pieces of JSON, put together into blocks of about the same size."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.blocks: list[Block] = []
        self.starts: list[int] = []  # the first number of each block
        self._count = self._size = 0
        self._pieces: list[str] = []

    def add(self, piece: str) -> int:
        """Add a piece, and give its number."""
        if self._size > BLOCK:
            self.end_block()
        self._pieces.append(piece)
        self._size += len(piece)
        self._count += 1
        return self._count - 1

    def end_block(self) -> None:
        """Compress what came since the last block."""
        if self._pieces:
            self.starts.append(self._count - len(self._pieces))
            self.blocks.append(Block(f"{self.kind}-{len(self.blocks)}", _compressed(f"[{','.join(self._pieces)}]")))
            self._pieces, self._size = [], 0


def _details(shown: ShownSample) -> str:
    sample, prompt = shown.sample, shown.sample.prompt
    return _json(
        {
            "prompt": None
            if prompt is None
            else {"tokens": prompt.tokens, "window": prompt.window, "demonstrations": prompt.demonstrations},
            "answers": [{"label": each.label, "text": each.text} for each in samples.answers(sample)],
            "likelihoods": [
                {
                    "label": group.label,
                    "rows": [
                        (row.text, *samples.numbers(row), remark)
                        for row, remark in zip(group.rows, samples.remarks(group), strict=True)
                    ],
                }
                for group in samples.likelihoods(sample)
            ],
            "targets": sample.example.targets,
            "statistics": {
                name: " ".join(f"{value:g}" for value in found) for name, found in sample.statistics.items()
            },
            "seed": sample.seed,
            "place": sample.example.place,
        }
    )


def _answer(shown: ShownSample) -> str:
    said = samples.answers(shown.sample)
    if said:
        return said[0].text
    place = samples.chosen(shown.sample)
    if place is not None:
        return shown.sample.example.choices[place]
    groups = samples.likelihoods(shown.sample)
    return groups[0].rows[0].text if groups else ""


def _longest_line(parts: Sequence[str]) -> str:
    return max((line for part in parts[-2:] for line in part.splitlines()), key=len, default="")


def _snippet(value: str) -> str:
    return " ".join(value[: 4 * SNIPPET].split())[:SNIPPET]


def _json(value: object) -> str:
    return ENCODER.encode(value)


def _compressed(content: str) -> str:
    # JSON reads the escape of a lone surrogate back as the surrogate.
    return b64encode(zlib.compress(content.encode("utf-8", "backslashreplace"), 6, wbits=-15)).decode()

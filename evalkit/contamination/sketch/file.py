"""The file of a corpus sketch: shingles in order of their hashes, in pages that are read and checked one by one.

    records   (N, 2 + width) bytes: 16 bits of the hash below those that name its page, highest first, and the place,
              lowest byte first; by page, hash and place
    lines     (P,) uint32: the line or row of its shard that each place belongs to
    starts    (pages + 1,) uint64: the first record of each page
    checks    (pages,) uint32: CRC-32 of each page
    of_lines  uint32: CRC-32 of each LINES_A_PAGE lines
    header    JSON: scheme, corpus, sizes
    trailer   bytes of the header, its CRC-32, MAGIC

Pages hold up to RECORDS_A_PAGE records on average, so one in a thousand lookups of an absent shingle finds one. A
question reads the pages it needs, so a sketch may be larger than the memory.
"""

from __future__ import annotations

import json
import os
import shutil
import struct
import zlib
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from evalkit.errors import DataError

MAGIC = b"evksketch1"
TRAILER = struct.Struct(f"<QI{len(MAGIC)}s")
RECORDS_A_PAGE = 64
PAGES_A_BATCH = 1 << 16  # that are merged at once: up to four million records
LINES_A_PAGE = 1024
BITS = 16  # of a hash that stand in its record
AGAIN = "build it again with `evalkit sketch`"


@dataclass(frozen=True, slots=True)
class Layout:
    """Sizes that are settled before the first record is written."""

    bits: int  # of a hash, from the top, that name its page
    width: int  # bytes of a place
    places: int

    @property
    def pages(self) -> int:
        """How many there are."""
        return 1 << self.bits

    @property
    def batches(self) -> list[tuple[int, int]]:
        """List the first page of each batch, and the one after its last."""
        return [(at, min(at + PAGES_A_BATCH, self.pages)) for at in range(0, self.pages, PAGES_A_BATCH)]


def lay_out(records: int, places: int) -> Layout:
    """Choose the sizes for at most so many records and places."""
    bits = max(1, -(-records // RECORDS_A_PAGE) - 1).bit_length() if records else 1
    return Layout(bits, max(1, ((places - 1).bit_length() + 7) // 8), places)


def write(
    path: Path,
    layout: Layout,
    *,
    folder: Path,
    batches: Iterable[tuple[NDArray[np.uint64], NDArray[np.uint64]]],
    lines: Iterable[NDArray[np.uint32]],
    header: dict[str, Any],  # Any: JSON
) -> int:
    """Write a sketch whole or not at all, and give its records; OSError where the disk refuses.

    It is put together in `folder`, on the same disk. `batches` gives the hashes and places of each of the layout's
    batches, in order.
    """
    names = ("records", "lines", "starts", "checks", "of_lines")
    partial = {name: folder / f"{name}.{os.getpid()}.partial" for name in names}
    try:
        with ExitStack() as stack:
            files = {name: stack.enter_context(place.open("wb")) for name, place in partial.items()}
            files["starts"].write(np.zeros(1, "<u8").tobytes())
            records = 0
            for (first, past), (hashes, places) in zip(layout.batches, batches, strict=True):
                raw, ends = _pages(hashes, places, layout, range(first, past))
                files["records"].write(raw)
                files["starts"].write((records + ends[1:]).astype("<u8").tobytes())
                step = 2 + layout.width
                edges = (ends * step).tolist()
                checks = [zlib.crc32(raw[begin:end]) for begin, end in pairwise(edges)]
                files["checks"].write(np.array(checks, "<u4").tobytes())
                records += len(hashes)
            for piece in _in_pieces(lines):
                files["lines"].write(piece)
                files["of_lines"].write(np.array([zlib.crc32(piece)], "<u4").tobytes())
        raw = json.dumps(
            {**header, "bits": layout.bits, "width": layout.width, "places": layout.places, "records": records}
        ).encode()
        with partial["records"].open("ab") as whole:
            for name in names[1:]:
                with partial[name].open("rb") as part:
                    shutil.copyfileobj(part, whole, 1 << 20)
            whole.write(raw + TRAILER.pack(len(raw), zlib.crc32(raw), MAGIC))
            whole.flush()
            os.fsync(whole.fileno())
        partial["records"].replace(path)
    finally:
        for place in partial.values():
            place.unlink(missing_ok=True)
    return records


def _pages(
    hashes: NDArray[np.uint64], places: NDArray[np.uint64], layout: Layout, pages: range
) -> tuple[bytes, NDArray[np.int64]]:
    """Pack the records of some pages: their bytes, and how many records there are before each page and after all."""
    page = (hashes >> np.uint64(64 - layout.bits)).astype(np.int64) - pages.start
    rows = np.empty((len(hashes), 2 + layout.width), np.uint8)
    rest = _rest(hashes, layout.bits)
    rows[:, 0], rows[:, 1] = rest >> 8, rest & 0xFF
    rows[:, 2:] = places.astype("<u8").view(np.uint8).reshape(-1, 8)[:, : layout.width]
    return rows.tobytes(), np.append(0, np.cumsum(np.bincount(page, minlength=len(pages))))


def _rest(hashes: NDArray[np.uint64], bits: int) -> NDArray[np.uint16]:
    return (hashes << np.uint64(bits) >> np.uint64(64 - BITS)).astype(np.uint16)


def _in_pieces(lines: Iterable[NDArray[np.uint32]]) -> Iterator[bytes]:
    size, held = 4 * LINES_A_PAGE, b""
    for part in lines:
        held += part.astype("<u4").tobytes()
        whole = len(held) // size * size
        yield from (held[at : at + size] for at in range(0, whole, size))
        held = held[whole:]
    if held:
        yield held


class SketchFile:
    """A sketch that was opened; its arrays stay on the disk until they are asked for."""

    def __init__(self, path: Path) -> None:
        """Open a sketch. Raises DataError where it is missing, damaged, or no sketch."""
        self.path = path
        self._checked: set[tuple[str, int]] = set()
        try:
            self._whole = np.memmap(path, np.uint8, mode="r")
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or "it is empty"
            raise DataError(f"{path}: cannot be read ({reason}); give a file that `evalkit sketch` wrote") from error
        size, check, magic = 0, 0, b""
        if len(self._whole) >= TRAILER.size:
            size, check, magic = TRAILER.unpack(self._whole[-TRAILER.size :].tobytes())
        if magic != MAGIC:
            raise DataError(f"{path}: found no sketch, or one that was cut off, expected what `evalkit sketch` wrote")
        raw = self._whole[: -TRAILER.size][-size:].tobytes()
        if zlib.crc32(raw) != check:
            raise self._damaged()
        self.header: dict[str, Any] = json.loads(raw)  # Any: JSON
        self.layout = Layout(*(self.header[name] for name in ("bits", "width", "places")))
        pages, places, step = self.layout.pages, self.layout.places, 2 + self.layout.width
        self._end = 0
        self._records = self._array((self.header["records"], step), np.uint8)
        self._lines = self._array((places,), "<u4")
        self._starts = self._array((pages + 1,), "<u8")
        self._checks = self._array((pages,), "<u4")
        self._of_lines = self._array((-(-places // LINES_A_PAGE),), "<u4")
        if self._end + size + TRAILER.size != len(self._whole):
            raise self._damaged()

        self._first_places = [shard["place"] for shard in self.header["shards"]]

    def __len__(self) -> int:
        """Count the bytes of the file."""
        return len(self._whole)

    def _array(self, shape: tuple[int, ...], kind: DTypeLike) -> NDArray[Any]:  # Any: of this kind
        begin, self._end = self._end, self._end + int(np.prod(shape)) * np.dtype(kind).itemsize
        if self._end > len(self._whole):
            raise self._damaged()
        return np.ndarray(shape, kind, buffer=self._whole, offset=begin)

    def _damaged(self) -> DataError:
        return DataError(
            f"{self.path}: found a damaged sketch, expected it as it was written; copy it again, or {AGAIN}"
        )

    def find(self, hashes: NDArray[np.uint64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Look sorted hashes (Q,) up: the number in 0..Q-1 and the place of each record found, (F,) and (F,).

        Raises DataError where a page that is read is damaged.
        """
        if not len(hashes):
            return np.zeros(0, np.int64), np.zeros(0, np.int64)
        asked: list[NDArray[np.int64]] = []
        places: list[NDArray[np.int64]] = []
        pages, first = np.unique(hashes >> np.uint64(64 - self.layout.bits), return_index=True)
        rests = _rest(hashes, self.layout.bits)
        for page, begin, end in zip(pages.tolist(), first, np.append(first[1:], len(hashes)), strict=True):
            rows = self._page(page)
            held = rows[:, 0].astype(np.uint16) << 8 | rows[:, 1]
            left, right = (np.searchsorted(held, rests[begin:end], side=side) for side in ("left", "right"))
            counts = right - left
            number = np.repeat(np.arange(begin, end), counts)
            at = np.arange(len(number)) - np.repeat(np.cumsum(counts) - counts - left, counts)
            wide = np.zeros((len(at), 8), np.uint8)
            wide[:, : self.layout.width] = rows[at, 2:]
            asked.append(number)
            places.append(wide.view("<i8")[:, 0])
        return np.concatenate(asked), np.concatenate(places)

    def _page(self, page: int) -> NDArray[np.uint8]:
        begin, end = int(self._starts[page]), int(self._starts[page + 1])
        if not begin <= end <= len(self._records):
            raise self._damaged()
        self._check("records", page, self._records[begin:end], self._checks[page])
        found: NDArray[np.uint8] = self._records[begin:end]
        return found

    def is_one(self, place: int, other: int) -> bool:
        """Whether two places are of one document."""
        return self._line(place) == self._line(other)

    def name(self, place: int) -> str:
        """Name the document of a place by its file and its line or row there, from 1."""
        number, line = self._line(place)
        shard = self.header["shards"][number]
        return f"{shard['file']}:{shard['line'] + line + 1}"

    def _line(self, place: int) -> tuple[int, int]:
        """Give the shard of a place, and its line or row there."""
        if place >= len(self._lines):
            raise self._damaged()
        page = place // LINES_A_PAGE
        self._check("lines", page, self._lines[page * LINES_A_PAGE :][:LINES_A_PAGE], self._of_lines[page])
        return bisect_right(self._first_places, place) - 1, int(self._lines[place])

    def _check(self, what: str, page: int, held: NDArray[Any], check: int) -> None:  # Any: of either kind
        if (what, page) not in self._checked:
            if zlib.crc32(held.tobytes()) != check:
                raise self._damaged()
            self._checked.add((what, page))

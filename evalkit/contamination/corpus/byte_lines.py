"""The bytes of the lines that belong to a shard, from a plain file, a compressed one, or some frames of one.

A cut may fall anywhere. Of a plain file, a shard has the lines that begin in its range. Of a compressed one it has
those that begin after its first byte and no later than at its end, which need not be looked for in what lies before it.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
import pyarrow
from numpy.typing import NDArray

from evalkit.contamination.corpus.block import Limits
from evalkit.contamination.corpus.shards import Shard
from evalkit.contamination.kernels.octets import PADDING

STEP_BYTES = 1 << 16
NEWLINE = 10


class Room:
    """Buffers for the lines of a block and for their texts, which grow with the longest line."""

    def __init__(self, size: int) -> None:
        self.resize(size)

    def resize(self, size: int) -> None:
        """Hold `size` bytes of lines."""
        self.raw = np.zeros(size + PADDING, np.uint8)
        self.out = np.zeros(size + 2 * PADDING, np.uint8)

    @property
    def size(self) -> int:
        """Bytes of lines there is room for."""
        return len(self.raw) - PADDING


class Source(Protocol):
    """Where the bytes of a shard's lines come from."""

    def read(self, room: NDArray[np.uint8]) -> int:
        """Fill the front of `room`; 0 at the end of the lines, OSError where they break off."""

    @property
    def position(self) -> int:
        """Bytes of the shard read so far, as they lie on the disk."""


def whole_lines(shard: Shard, limits: Limits) -> Iterator[tuple[Room, int, int]]:
    """Yield a buffer, the bytes of whole lines at its front, and the bytes of the shard read so far.

    The buffer is used again. Raises OSError where the file breaks off, once all lines before that were given.
    """
    room = Room(limits.block)
    with shard.path.open("rb", buffering=0) as file:
        source: Source = _Plain(file, shard) if shard.compression is None else _Compressed(file, shard)
        held = 0  # bytes of an unfinished line, at the front of the buffer
        while True:
            if held == room.size:
                if held >= limits.longest:
                    raise OSError(f"a line is longer than {limits.longest:,} bytes")
                raw = room.raw[:held].copy()
                room.resize(2 * room.size)
                room.raw[:held] = raw
            got, failure = _fill(source, room.raw[held : room.size])
            filled = held + got
            is_last = got == 0 and failure is None
            end = filled if is_last else _after_newline(room.raw[:filled])
            if end:
                yield room, end, source.position
            held = filled - end
            room.raw[:held] = room.raw[end:filled].copy()
            if failure is not None:
                raise failure
            if is_last:
                return


def _fill(source: Source, room: NDArray[np.uint8]) -> tuple[int, Exception | None]:
    """Read into room until it is full or the lines end: bytes read, and what broke them off."""
    filled = 0
    try:
        while filled < len(room):
            got = source.read(room[filled:])
            if not got:
                break
            filled += got
    except (OSError, EOFError, pyarrow.ArrowException) as error:
        return filled, error
    return filled, None


def _after_newline(raw: NDArray[np.uint8]) -> int:
    """Give the byte after the last newline, 0 where there is none."""
    step = 1 << 12
    for end in range(len(raw), 0, -step):
        found = np.flatnonzero(raw[max(0, end - step) : end] == NEWLINE)
        if len(found):
            return max(0, end - step) + int(found[-1]) + 1
    return 0


def _first_newline(raw: NDArray[np.uint8]) -> int | None:
    found = int(np.argmax(raw == NEWLINE))
    return found if raw[found] == NEWLINE else None


class _Plain:
    """The lines that begin in a range of a file."""

    def __init__(self, file: io.FileIO, shard: Shard) -> None:
        self._file = file
        first, self._end = (self._line_begin(edge) for edge in (shard.begin, shard.end))
        self._at = first
        self._range = shard.begin, shard.bytes
        file.seek(first)

    def _line_begin(self, edge: int) -> int:
        """Find where the first line begins that does so at `edge` or after it."""
        if edge == 0:
            return 0
        self._file.seek(edge - 1)
        room = np.zeros(STEP_BYTES, np.uint8)
        at = edge - 1
        while got := self._file.readinto(room.data):
            newline = _first_newline(room[:got])
            if newline is not None:
                return at + newline + 1
            at += got
        return at

    @property
    def position(self) -> int:
        begin, length = self._range
        return min(max(0, self._at - begin), length)

    def read(self, room: NDArray[np.uint8]) -> int:
        left = self._end - self._at
        got = self._file.readinto(room[:left].data) or 0 if left else 0
        if left and not got:
            raise EOFError(f"the file ends {left:,} bytes early; it changed during the scan")
        self._at += got
        return got


class _Compressed:
    """The lines of a compressed file, or of the frames in a range of it."""

    def __init__(self, file: io.FileIO, shard: Shard) -> None:
        self._shard, self._file = shard, file
        self._inside = _Segment(file, shard.begin, shard.end)
        self._stream = self._decompress(self._inside)
        self._begins_inside_line = shard.begin > 0
        self._is_behind = False  # reading the end of a line that began in the range
        self._is_over = False

    def _decompress(self, segment: _Segment) -> Any:  # Any: pyarrow is untyped
        # Arrow's stream goes on over the members or frames of a file, and fails where the last one is cut off.
        return pyarrow.CompressedInputStream(pyarrow.PythonFile(segment, mode="r"), self._shard.compression)

    @property
    def position(self) -> int:
        return self._inside.position

    def read(self, room: NDArray[np.uint8]) -> int:
        # In small steps, since a decompressor that fails gives nothing of the step it fails in.
        room = room[:STEP_BYTES]
        while not self._is_over:
            got = int(self._stream.readinto(room.data))
            if got and self._begins_inside_line:
                newline = _first_newline(room[:got])
                if newline is None:
                    continue
                self._begins_inside_line = False
                rest = room[newline + 1 : got].copy()
                room[: len(rest)] = rest
                got = len(rest)
                if not got:
                    continue
            if got and self._is_behind:
                newline = _first_newline(room[:got])
                if newline is not None:
                    self._is_over = True
                    return newline + 1
            if got:
                return got
            # A range without a newline lies within a line of the shard before, which reads all of it.
            if self._is_behind or self._begins_inside_line or self._shard.end == self._shard.size:
                self._is_over = True
            else:
                self._is_behind = True
                self._stream = self._decompress(_Segment(self._file, self._shard.end, self._shard.size))
        return 0


class _Segment(io.RawIOBase):
    """A range of a file, as a file."""

    def __init__(self, file: io.FileIO, begin: int, end: int) -> None:
        self._file, self._left, self.position = file, end - begin, 0
        file.seek(begin)

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        """Read up to `size` bytes; fewer at the end."""
        got = self._file.read(self._left if size < 0 else min(size, self._left)) or b""
        self._left -= len(got)
        self.position += len(got)
        return got

"""Where the frames of a zstd file begin, told by their headers alone (RFC 8878); nothing is decompressed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

FRAME = 0xFD2FB528
SKIPPABLE, SKIPPABLE_MASK = 0x184D2A50, 0xFFFFFFF0
DICTIONARY_BYTES = (0, 1, 2, 4)
CONTENT_SIZE_BYTES = (0, 2, 4, 8)
RLE, RESERVED = 1, 3  # types of a block
LARGEST_BLOCK = 1 << 17  # bytes
# A file that was written as one frame would cost a seek for each of its blocks, only to learn that it cannot be cut.
LONGEST_FRAME = 1 << 30  # bytes


def cuts(path: Path, *, piece: int) -> list[int]:
    """List the bytes where frames begin at which the file falls into pieces of about `piece` bytes.

    There are none where the file is not what RFC 8878 describes from its first byte to its last, or a frame is longer
    than LONGEST_FRAME. Raises OSError where it cannot be read.
    """
    with path.open("rb", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        count = -(-size // piece)
        if count < 2:
            return []
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_RANDOM)
        found: list[int] = []
        next_cut = size // count
        try:
            for begin in _frames(file.fileno(), size):
                if begin >= next_cut:
                    found.append(begin)
                    next_cut = size * (begin * count // size + 1) // count
        except ValueError:
            return []
        return found


def _frames(file: int, size: int) -> Iterator[int]:
    """Yield where each frame that holds data begins. Raises ValueError for what is no zstd file."""
    at = 0
    while at < size:
        header = os.pread(file, 8, at)
        magic = int.from_bytes(header[:4], "little")
        if magic & SKIPPABLE_MASK == SKIPPABLE and len(header) == 8:
            at += 8 + int.from_bytes(header[4:], "little")
        elif magic == FRAME and len(header) > 4:
            yield at
            at = _end(file, at, header[4])
        else:
            raise ValueError(f"found no frame at byte {at:,}")
    if at != size:
        raise ValueError(f"found a frame that ends at byte {at:,}, expected {size:,}")


def _end(file: int, begin: int, descriptor: int) -> int:
    """Give the byte after a frame, by the header of each of its blocks."""
    is_single_segment = bool(descriptor & 0x20)
    if descriptor & 0x08:
        raise ValueError("found a reserved bit that is set")
    content_size = CONTENT_SIZE_BYTES[descriptor >> 6] or int(is_single_segment)
    at = begin + 5 + (not is_single_segment) + DICTIONARY_BYTES[descriptor & 3] + content_size
    is_last = False
    while not is_last:
        header = os.pread(file, 3, at)
        if len(header) < 3 or at - begin > LONGEST_FRAME:
            raise ValueError("found a frame without an end")
        block = int.from_bytes(header, "little")
        is_last, kind, length = bool(block & 1), block >> 1 & 3, block >> 3
        if kind == RESERVED or length > LARGEST_BLOCK:
            raise ValueError(f"found no block at byte {at:,}")
        at += 3 + (1 if kind == RLE else length)
    return at + (4 if descriptor & 0x04 else 0)

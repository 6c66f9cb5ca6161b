"""Tables of hashes as the kernels look them up: a bitmap that is asked first, open addressing behind it."""

from __future__ import annotations

import math
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from evalkit.contamination.kernels import matches

BITS_A_KEY = 16  # of the bitmap: less than one probe in sixty goes on to the table in vain


class HashTable(TypedDict):
    """The fields of the kernels' records that make up a table; see matches.Index."""

    shift: np.uint64
    bitmap: NDArray[np.uint64]
    keys: NDArray[np.uint64]
    slots: NDArray[np.int32]


def build(hashes: NDArray[np.uint64]) -> HashTable:
    """Enter sorted hashes (P,): the slot of each tells where those equal to it begin and end."""
    distinct, starts = np.unique(hashes, return_index=True)
    bits = max(12, math.ceil(math.log2(max(1, len(distinct)) * BITS_A_KEY)))
    size = 1 << max(4, math.ceil(math.log2(2 * max(1, len(distinct)))))
    table = HashTable(
        shift=np.uint64(64 - bits),
        bitmap=np.zeros(1 << (bits - 6), np.uint64),
        keys=np.zeros(size, np.uint64),
        slots=np.zeros((size, 2), np.int32),
    )
    edges = np.append(starts, len(hashes)).astype(np.int32)
    matches.fill_table(distinct, edges, table["keys"], table["slots"], table["bitmap"], table["shift"])
    return table

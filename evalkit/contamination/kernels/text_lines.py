"""Documents that are lines of text, taken from the bytes without a Python object a line."""

from __future__ import annotations

import numpy as np
from numba import njit

from evalkit.contamination.kernels.octets import WIDE, among, copy, lowest

NEWLINE, RETURN = np.uint8(0x0A), np.uint8(0x0D)


@njit(nogil=True, cache=True)
def read(data, begin, end, taken):
    """Take all lines in [begin, end), which a newline or `end` ends, that hold more than blanks: (texts, lines)."""
    put = np.int64(0)
    texts, line = 0, 0
    at = begin
    while at < end:
        start = put
        while True:
            copy(data, at, taken.out, put)
            step = lowest(among(data, at, 0, NEWLINE, 1))
            if step >= end - at:  # what stands behind `end` may be anything
                put += end - at
                at = end
                break
            at += step
            put += step
            if step < WIDE:
                break
        if put > start and taken.out[put - 1] == RETURN:
            put -= 1
        first = start
        while first < put and (taken.out[first] == 0x20 or 0x09 <= taken.out[first] <= 0x0D):
            first += 1
        if first < put:
            taken.offsets[texts] = start
            taken.lines[texts] = line
            texts += 1
        else:
            put = start
        at += 1
        line += 1
    taken.offsets[texts] = put
    return texts, line

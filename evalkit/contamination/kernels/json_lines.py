"""The text field of JSON lines, taken from the bytes: what `json.loads` gives, without a Python object a document.

A line that is anything but an object with the field as a string is reported, and the caller asks `json` what it is.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from evalkit.contamination.kernels.octets import WIDE, ZERO, among, below, copy, count_ones, encode, lowest

TEXT, BLANK, UNCLEAR = 0, 1, 2  # what a line holds

QUOTE, BACKSLASH, NEWLINE = np.uint8(0x22), np.uint8(0x5C), np.uint8(0x0A)


@njit(inline="always")
def special(data, at):
    """Say of 64 bytes which are a quote, a backslash or a control character."""
    return among(data, at, 0, QUOTE, 1) | among(data, at, 0, BACKSLASH, 1) | among(data, at, 0, 0, 0x20)


@njit(inline="always")
def skip_blanks(data, at, end):
    """Give the first byte that is no blank of JSON's."""
    while at < end and (data[at] == 0x20 or data[at] == 0x09 or data[at] == 0x0D):
        at += 1
    return at


@njit(nogil=True, cache=True)
def skip_string(data, at, end):
    """Give the byte after the quote that ends a string, whose content begins at `at`; -1 where none does."""
    while at < end:
        marks = special(data, at)
        at += lowest(marks)
        if marks == ZERO:
            continue
        if at >= end:
            return -1
        if data[at] == QUOTE:
            return at + 1
        if data[at] == NEWLINE or (data[at] == BACKSLASH and data[at + 1] == NEWLINE):
            return -1
        if data[at] == BACKSLASH:
            at += 2
        else:
            at += 1
    return -1


@njit(inline="always")
def hexadecimal(data, at):
    """Read four hexadecimal digits; -1 where they are none."""
    value = np.int64(0)
    for i in range(4):
        byte = np.int64(data[at + i])
        if 48 <= byte <= 57:
            digit = byte - 48
        elif 97 <= (byte | 0x20) <= 102:
            digit = (byte | 0x20) - 87
        else:
            return np.int64(-1)
        value = value * 16 + digit
    return value


@njit(nogil=True, cache=True)
def unescape(data, at, end, out, put):
    """Copy the content of a string that begins at `at`: (byte after its closing quote, end in `out`); -1 if broken."""
    while at < end:
        copy(data, at, out, put)
        marks = special(data, at)
        at += lowest(marks)
        put += lowest(marks)
        if marks == ZERO:
            continue
        if at >= end:
            return -1, put
        byte = data[at]
        if byte == QUOTE:
            return at + 1, put
        if byte != BACKSLASH:
            return -1, put  # a control character, which JSON does not allow in a string
        kind = data[at + 1]
        at += 2
        if kind == 0x75:  # u
            code = hexadecimal(data, at)
            at += 4
            if code < 0:
                return -1, put
            if 0xD800 <= code < 0xDC00 and data[at] == BACKSLASH and data[at + 1] == 0x75:
                low = hexadecimal(data, at + 2)
                if 0xDC00 <= low < 0xE000:
                    code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00)
                    at += 6
            if 0xD800 <= code < 0xE000:
                code = np.int64(0xFFFD)  # half of a pair is no character
            put = encode(out, put, code)
            continue
        if kind == 0x6E:  # n
            kind = np.uint8(0x0A)
        elif kind == 0x74:  # t
            kind = np.uint8(0x09)
        elif kind == 0x72:  # r
            kind = np.uint8(0x0D)
        elif kind == 0x62:  # b
            kind = np.uint8(0x08)
        elif kind == 0x66:  # f
            kind = np.uint8(0x0C)
        elif kind != QUOTE and kind != BACKSLASH and kind != 0x2F:
            return -1, put
        out[put] = kind
        put += 1
    return -1, put


@njit(inline="always")
def skip_value(data, at, end):
    """Give the byte after a value, whose inside is checked for strings and brackets alone; -1 where it has no end."""
    if at >= end:
        return -1
    if data[at] == QUOTE:
        return skip_string(data, at + 1, end)
    depth = 0
    begin = at
    while at < end:
        byte = data[at]
        if byte == QUOTE:
            at = skip_string(data, at + 1, end)
            if at < 0:
                return -1
            continue
        if byte == 0x7B or byte == 0x5B:
            depth += 1
        elif byte == 0x7D or byte == 0x5D:
            if depth == 0:
                return at if at > begin else -1
            depth -= 1
            if depth == 0:
                return at + 1
        elif byte == 0x2C and depth == 0:
            return at if at > begin else -1
        elif byte == NEWLINE:
            return -1
        at += 1
    return -1


@njit(nogil=True, cache=True)
def read_line(data, begin, end, field, out, put):
    """Take the field's text from the object at `begin`: (TEXT, BLANK or UNCLEAR, last byte looked at, end in `out`)."""
    at = skip_blanks(data, begin, end)
    if at >= end or data[at] == NEWLINE:
        return BLANK, at, put
    if data[at] != 0x7B:
        return UNCLEAR, at, put
    at = skip_blanks(data, at + 1, end)
    found = False
    while at < end and data[at] == QUOTE:
        key = at + 1
        at = skip_string(data, key, end)
        if at < 0:
            return UNCLEAR, key, put
        is_field = at - 1 - key == len(field)
        for i in range(at - 1 - key):
            if data[key + i] == BACKSLASH:
                return UNCLEAR, key, put
            is_field = is_field and data[key + i] == field[i]
        at = skip_blanks(data, at, end)
        if at >= end or data[at] != 0x3A:
            return UNCLEAR, key, put
        value = skip_blanks(data, at + 1, end)
        if is_field:
            if found or value >= end or data[value] != QUOTE:
                return UNCLEAR, key, put
            at, put = unescape(data, value + 1, end, out, put)
            found = True
        else:
            at = skip_value(data, value, end)
        if at < 0:
            return UNCLEAR, key, put
        at = skip_blanks(data, at, end)
        if at < end and data[at] == 0x2C:
            at = skip_blanks(data, at + 1, end)
            if at < end and data[at] == QUOTE:
                continue
            return UNCLEAR, at, put
        if at < end and data[at] == 0x7D:
            after = skip_blanks(data, at + 1, end)
            if found and (after >= end or data[after] == NEWLINE):
                return TEXT, after, put
        break
    return UNCLEAR, min(at, end), put


class Taken(NamedTuple):
    """Room for the texts of some lines; L lines."""

    out: NDArray[np.uint8]  # as much as the lines have bytes, and PADDING
    offsets: NDArray[np.int64]  # (L + 1,) where each text begins in `out`
    lines: NDArray[np.int64]  # (L,) the line it stood in
    unclear: NDArray[np.int64]  # (L, 3) line, begin and end of lines that are no object with the field as a string


@njit(nogil=True, cache=True)
def read(data, begin, end, field, taken):
    """Take the texts of all lines in [begin, end), which a newline or `end` ends: (texts, unclear lines, lines)."""
    put = np.int64(0)
    texts, odd, line = 0, 0, 0
    at = begin
    while at < end:
        start = at
        kind, at, past = read_line(data, start, end, field, taken.out, put)
        if kind == TEXT:
            taken.offsets[texts] = put
            taken.lines[texts] = line
            texts += 1
            put = past
        elif kind == UNCLEAR:
            at = next_line(data, max(at, start), end)
            taken.unclear[odd, 0], taken.unclear[odd, 1], taken.unclear[odd, 2] = line, start, at
            odd += 1
        at = min(at + 1, end)
        line += 1
    taken.offsets[texts] = put
    return texts, odd, line


@njit(nogil=True, cache=True)
def next_line(data, at, end):
    """Give the next newline, or `end`."""
    while at < end:
        marks = among(data, at, 0, NEWLINE, 1)
        at += lowest(marks)
        if marks:
            break
    return min(at, end)


@njit(nogil=True, cache=True)
def count_lines(data, begin, end):
    """Count lines, the last one with or without its newline."""
    if begin == end:
        return 0
    lines = 0 if data[end - 1] == NEWLINE else 1
    for at in range(begin, end, WIDE):
        lines += count_ones(among(data, at, 0, NEWLINE, 1) & below(end - at))
    return lines

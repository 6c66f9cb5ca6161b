"""Bytes eight at a time, and UTF-8."""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

PADDING = 64  # bytes that have to follow a text in its buffer, whatever they hold

U = np.uint64
ONE, ZERO = U(1), U(0)
ALL = ~ZERO
EVERY = U(0x0101010101010101)  # times a byte: that byte in all eight places
HIGH = EVERY * U(0x80)


@intrinsic
def load(typing_context: Any, data: Any, at: Any) -> Any:  # Any: numba's own types
    """Read eight bytes of an array from any place, the first one lowest."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        place = builder.gep(array.data, [arguments[1]])
        return builder.load(builder.bitcast(place, ir.IntType(64).as_pointer()), align=1)

    return types.uint64(data, types.int64), generate


@intrinsic
def store(typing_context: Any, data: Any, at: Any, value: Any) -> Any:  # Any: numba's own types
    """Write eight bytes to any place of an array."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        place = builder.gep(array.data, [arguments[1]])
        builder.store(arguments[2], builder.bitcast(place, ir.IntType(64).as_pointer()), align=1)
        return context.get_dummy_value()

    return types.void(data, types.int64, types.uint64), generate


@intrinsic
def lowest(typing_context: Any, bits: Any) -> Any:  # Any: numba's own types
    """Give the place of the lowest bit that is set."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(types.uint64), generate


@njit(inline="always")
def has_zero(x):
    """Set the high bit of the first byte that is zero, and of none before it."""
    return (x - EVERY) & ~x & HIGH


@njit(inline="always")
def code_point(data, at, end):
    """Decode one code point: (code point, bytes); U+FFFD for a byte that is not UTF-8."""
    first = np.int64(data[at])
    if first < 0x80:
        return first, 1
    if first < 0xC2 or first > 0xF4:
        return 0xFFFD, 1
    count = 2 if first < 0xE0 else 3 if first < 0xF0 else 4
    if at + count > end:
        return 0xFFFD, 1
    code = first & (0x7F >> count)
    for i in range(1, count):
        byte = np.int64(data[at + i])
        if byte & 0xC0 != 0x80:
            return 0xFFFD, 1
        code = (code << 6) | (byte & 0x3F)
    if (count == 3 and (code < 0x800 or 0xD800 <= code < 0xE000)) or (count == 4 and not 0x10000 <= code < 0x110000):
        return 0xFFFD, 1
    return code, count


@njit(inline="always")
def encode(form, at, code):
    """Append a code point in UTF-8; gives the new end."""
    if code < 0x80:
        form[at] = code
        return at + 1
    if code < 0x800:
        form[at] = 0xC0 | (code >> 6)
        form[at + 1] = 0x80 | (code & 0x3F)
        return at + 2
    if code < 0x10000:
        form[at] = 0xE0 | (code >> 12)
        form[at + 1] = 0x80 | ((code >> 6) & 0x3F)
        form[at + 2] = 0x80 | (code & 0x3F)
        return at + 3
    form[at] = 0xF0 | (code >> 18)
    form[at + 1] = 0x80 | ((code >> 12) & 0x3F)
    form[at + 2] = 0x80 | ((code >> 6) & 0x3F)
    form[at + 3] = 0x80 | (code & 0x3F)
    return at + 4


@njit(nogil=True, cache=True)
def is_utf8(data, begin, end):
    """Whether the bytes [begin, end) are UTF-8."""
    while begin < end:
        if begin + 8 <= end and load(data, begin) & HIGH == ZERO:
            begin += 8
            continue
        code, size = code_point(data, begin, end)
        if code == 0xFFFD and size == 1:
            return False
        begin += size
    return True

"""Bytes eight and 64 at a time, and UTF-8."""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

PADDING = 128  # bytes that have to follow a text in its buffer, whatever they hold
WIDE = 64  # bytes of a block that is looked at as a whole, one bit for each

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
def lowest(typing_context: Any, bits: Any) -> Any:  # Any: numba's own types
    """Give the place of the lowest bit that is set; 64 where none is."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 0))

    return types.int64(types.uint64), generate


@intrinsic
def count_ones(typing_context: Any, bits: Any) -> Any:  # Any: numba's own types
    """Count the bits that are set."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.ctpop(arguments[0])

    return types.int64(types.uint64), generate


@intrinsic
def among(typing_context: Any, data: Any, at: Any, case: Any, first: Any, count: Any) -> Any:  # Any: numba's own types
    """Say of 64 bytes which, with the bits of `case` set, are one of `count` from `first` on; the first byte lowest.

    As a vector in LLVM's own terms it is two compares for all of them where the machine has AVX2, and right anywhere.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        lanes = ir.VectorType(ir.IntType(8), WIDE)
        zeros = ir.Constant(ir.VectorType(ir.IntType(32), WIDE), None)

        def everywhere(value: Any) -> Any:
            one = builder.insert_element(ir.Constant(lanes, ir.Undefined), value, ir.Constant(ir.IntType(32), 0))
            return builder.shuffle_vector(one, ir.Constant(lanes, ir.Undefined), zeros)

        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        place = builder.gep(array.data, [arguments[1]])
        block = builder.load(builder.bitcast(place, lanes.as_pointer()), align=1)
        case, first, count = map(everywhere, arguments[2:])
        found = builder.icmp_unsigned("<", builder.sub(builder.or_(block, case), first), count)
        return builder.bitcast(found, ir.IntType(64))

    return types.uint64(data, types.int64, types.uint8, types.uint8, types.uint8), generate


@intrinsic
def fetch(typing_context: Any, data: Any, at: Any) -> Any:  # Any: numba's own types
    """Ask for the part of memory where an element of an array lies, which is read later."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        number, pointer = ir.IntType(32), ir.IntType(8).as_pointer()
        kind = ir.FunctionType(ir.VoidType(), [pointer, number, number, number])
        called = builder.module.declare_intrinsic("llvm.prefetch", [pointer], kind)
        place = builder.bitcast(builder.gep(array.data, [arguments[1]]), pointer)
        builder.call(called, [place, number(0), number(3), number(1)])  # for reading, to be kept, data
        return context.get_dummy_value()

    return types.void(data, types.uint64), generate


@intrinsic
def copy(typing_context: Any, data: Any, at: Any, out: Any, put: Any) -> Any:  # Any: numba's own types
    """Copy 64 bytes from any place of an array to any place of another one."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        lanes = ir.VectorType(ir.IntType(8), WIDE).as_pointer()
        places = []
        for i in (0, 2):
            array = context.make_array(signature.args[i])(context, builder, arguments[i])
            places.append(builder.bitcast(builder.gep(array.data, [arguments[i + 1]]), lanes))
        builder.store(builder.load(places[0], align=1), places[1], align=1)
        return context.get_dummy_value()

    return types.void(data, types.int64, out, types.int64), generate


@njit(inline="always")
def below(count):
    """Set the lowest `count` bits, or all where there are no more."""
    return ALL if count >= WIDE else (ONE << U(max(count, 0))) - ONE


@njit(inline="always")
def beyond_ascii(data, at):
    """Say of 64 bytes which are not ASCII."""
    return among(data, at, 0, 0x80, 0x80)


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


@njit(inline="always")
def out_of_range(data, at):
    """Say of 64 bytes which begin a code point that has a shorter form, is half of a pair, or past U+10FFFF."""
    begins = among(data, at, 0, 0xE0, 1), among(data, at, 0, 0xED, 1), among(data, at, 0, 0xF0, 5)
    if (begins[0] | begins[1] | begins[2]) == ZERO:
        return ZERO
    return (
        (begins[0] & among(data, at + 1, 0, 0x80, 0x20))
        | (begins[1] & among(data, at + 1, 0, 0xA0, 0x20))
        | (among(data, at, 0, 0xF0, 1) & among(data, at + 1, 0, 0x80, 0x10))
        | (among(data, at, 0, 0xF4, 1) & among(data, at + 1, 0, 0x90, 0x30))
    )


@njit(nogil=True, cache=True)
def is_utf8(data, begin, end):
    """Whether the bytes [begin, end) are UTF-8."""
    owed = ZERO  # bytes of a block that go on with the last character of the one before
    while begin < end:
        within = below(end - begin)
        high = beyond_ascii(data, begin) & within
        if high | owed:
            two = among(data, begin, 0, 0xC2, 0x33) & within  # begin a character of two bytes or more
            three = among(data, begin, 0, 0xE0, 0x15) & within
            four = among(data, begin, 0, 0xF0, 0x05) & within
            later = among(data, begin, 0, 0x80, 0x40) & within
            called_for = (two << ONE) | (three << U(2)) | (four << U(3)) | owed
            if ((two | later) ^ high) | (called_for ^ later) | (out_of_range(data, begin) & within):
                return False
            owed = (two >> U(63)) | (three >> U(62)) | (four >> U(61))
        begin += WIDE
    return owed == ZERO

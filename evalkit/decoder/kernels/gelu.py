"""GELU's tanh form (Hendrycks 2016) in place, one pass over numbers in float32 or bfloat16, computed in float32."""

from __future__ import annotations

import math
from functools import cache

from llvmlite import ir

from evalkit.decoder.kernels.code import FLOAT, INTEGER, SHORT, Code, Value
from evalkit.decoder.kernels.compiled import Kernel, lanes

CHUNK = 2**13  # numbers that a thread takes at a time
CLOSED = -120.0  # binary logarithm below which 2^x adds nothing to 1, and the sigmoid is 0

# 0.5 x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) = x / (1 + 2^-(x (SLOPE + CUBIC x^2)))
SLOPE = 2 * math.sqrt(2 / math.pi) / math.log(2)
CUBIC = 0.044715 * SLOPE


@cache
def compiled(*, is_half: bool) -> Kernel:
    """Compile it for bfloat16, or for float32.

    Its arguments are an address and how many numbers lie there, a multiple of `lanes()`.
    """
    module = ir.Module()
    code = Code(module, "gelu", [INTEGER.as_pointer()], lanes=lanes())
    [given] = code.places()
    kind = SHORT if is_half else FLOAT
    numbers, count = code.memory(given[0], kind), given[1]

    @code.shared(given + 2, (count + (CHUNK - 1)) // CHUNK)
    def _chunk(task: Value) -> None:
        begin = task * CHUNK

        @code.loop(begin, (begin + CHUNK).least(count), lanes())
        def _vector(at: Value) -> None:
            read = numbers.vector(at, kind)
            x = read.widened() if is_half else read
            opened = x * code.multiply_add(x * x, code.vector(CUBIC), code.vector(SLOPE))
            shut = code.power((code.vector(0.0) - opened).least(-CLOSED))
            found = code.vector(0.0).where(opened < CLOSED, x / (shut + 1.0))
            numbers[at] = found.narrowed() if is_half else found

    code.end()
    return Kernel(module, "gelu")

"""A short way to write LLVM's instructions: numbers and vectors with operators, memory with brackets, loops.

What is written here is not computed in Python: each operator adds an instruction to a function that is compiled later.
A loop is a decorated function, run once to write its body; the name it defines is then what its last round gave:

    @code.loop(0, count, state=[code.vector(0.0)])
    def sums(at, total):
        return [total + numbers.vector(at)]
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir

INTEGER, SMALL, SHORT, BIT, FLOAT = ir.IntType(64), ir.IntType(32), ir.IntType(16), ir.IntType(1), ir.FloatType()

# 2^f for -0.5 <= f <= 0.5, interpolated at Chebyshev's nodes: off by 2.6e-9, and in float32 by 1e-7 of the power.
POWERS = (1.0, 0.693147207, 0.240226509, 0.0555032723, 0.00961805668, 0.00134004282, 0.000154614447)
LEAST_EXPONENT = -126.0  # of a normal float32
BIAS, MANTISSA = 127, 23  # of a float32: added to its exponent; bits below it
LOW = 16  # bits that a float32 has and a bfloat16 has not


class Value:
    """A number or a vector that the compiled function computes; Python's own numbers become constants of its type."""

    def __init__(self, code: Code, made: Any) -> None:  # Any: llvmlite is untyped
        self.code = code
        self.made = made

    def __add__(self, other: Value | float) -> Value:
        """Add."""
        return self._with(other, "add")

    def __sub__(self, other: Value | float) -> Value:
        """Subtract."""
        return self._with(other, "sub")

    def __mul__(self, other: Value | float) -> Value:
        """Multiply."""
        return self._with(other, "mul")

    def __floordiv__(self, other: Value | float) -> Value:
        """Divide integers, towards zero."""
        return Value(self.code, self.code.builder.sdiv(self.made, self._same(other)))

    def __mod__(self, other: Value | float) -> Value:
        """Give what is left of a division of integers."""
        return Value(self.code, self.code.builder.srem(self.made, self._same(other)))

    def __truediv__(self, other: Value | float) -> Value:
        """Divide floating-point numbers."""
        return Value(self.code, self.code.builder.fdiv(self.made, self._same(other)))

    def __lt__(self, other: Value | float) -> Value:
        """Compare; false where either is NaN."""
        return self._compare("<", other)

    def __gt__(self, other: Value | float) -> Value:
        """Compare; false where either is NaN."""
        return self._compare(">", other)

    def __and__(self, other: Value) -> Value:
        """Say whether both hold."""
        return Value(self.code, self.code.builder.and_(self.made, other.made))

    def __or__(self, other: Value) -> Value:
        """Say whether either holds."""
        return Value(self.code, self.code.builder.or_(self.made, other.made))

    def where(self, condition: Value, other: Value | float) -> Value:
        """Take this where the condition holds and the other elsewhere."""
        return Value(self.code, self.code.builder.select(condition.made, self.made, self._same(other)))

    def least(self, other: Value | float) -> Value:
        """Take the smaller; the other where this is NaN."""
        return self.where(self < other, other)

    def most(self, other: Value | float) -> Value:
        """Take the larger; the other where this is NaN."""
        return self.where(self > other, other)

    def everywhere(self) -> Value:
        """Put this number in every lane of a vector."""
        builder, kind = self.code.builder, ir.VectorType(self.made.type, self.code.lanes)
        empty, first = ir.Constant(kind, ir.Undefined), ir.Constant(ir.VectorType(SMALL, self.code.lanes), None)
        one = builder.insert_element(empty, self.made, ir.Constant(SMALL, 0))
        return Value(self.code, builder.shuffle_vector(one, empty, first))

    def small(self) -> Value:
        """Give an integer in 32 bits."""
        return Value(self.code, self.code.builder.trunc(self.made, SMALL))

    def large(self) -> Value:
        """Give a 32-bit integer in 64 bits."""
        return Value(self.code, self.code.builder.sext(self.made, INTEGER))

    def widened(self) -> Value:
        """Give the float32 numbers of a vector of bfloat16, which are 16-bit integers here."""
        builder, kind = self.code.builder, ir.VectorType(SMALL, self.code.lanes)
        bits = builder.shl(builder.zext(self.made, kind), self.code.constant(LOW, kind))
        return Value(self.code, builder.bitcast(bits, ir.VectorType(FLOAT, self.code.lanes)))

    def narrowed(self) -> Value:
        """Round a vector of float32 to bfloat16, halves to even."""
        builder, kind = self.code.builder, ir.VectorType(SMALL, self.code.lanes)
        bits = Value(self.code, builder.bitcast(self.made, kind))
        low = self.code.constant(LOW, kind)
        is_odd = Value(self.code, builder.lshr(bits.made, low)) & Value(self.code, self.code.constant(1, kind))
        rounded = bits + is_odd + (2 ** (LOW - 1) - 1)
        return Value(self.code, builder.trunc(builder.lshr(rounded.made, low), ir.VectorType(SHORT, self.code.lanes)))

    def _same(self, other: Value | float) -> Any:
        return other.made if isinstance(other, Value) else self.code.constant(other, self.made.type)

    def _with(self, other: Value | float, operation: str) -> Value:
        name = f"f{operation}" if _is_float(self.made.type) else operation
        return Value(self.code, getattr(self.code.builder, name)(self.made, self._same(other)))

    def _compare(self, relation: str, other: Value | float) -> Value:
        builder = self.code.builder
        compare = builder.fcmp_ordered if _is_float(self.made.type) else builder.icmp_signed
        return Value(self.code, compare(relation, self.made, self._same(other)))


class Memory:
    """Numbers of one type that lie beside each other, from a place on."""

    def __init__(self, code: Code, place: Any) -> None:  # Any: llvmlite is untyped
        self.code = code
        self.place = place

    def __add__(self, offset: Value | int) -> Memory:
        """Give what lies so many numbers further."""
        return Memory(self.code, self._at(offset))

    def __getitem__(self, at: Value | int) -> Value:
        """Read a number."""
        return Value(self.code, self.code.builder.load(self._at(at)))

    def __setitem__(self, at: Value | int, value: Value) -> None:
        """Write a number, or a vector from here on."""
        builder, place = self.code.builder, self._at(at)
        if isinstance(value.made.type, ir.VectorType):
            builder.store(
                value.made, builder.bitcast(place, value.made.type.as_pointer()), align=_bytes(value.made.type)
            )
        else:
            builder.store(value.made, place)

    def vector(self, at: Value | int = 0, kind: Any = FLOAT) -> Value:
        """Read a vector from here on."""
        place = self.code.builder.bitcast(self._at(at), ir.VectorType(kind, self.code.lanes).as_pointer())
        return Value(self.code, self.code.builder.load(place, align=_bytes(kind)))

    def _at(self, offset: Value | int) -> Any:
        made = offset.made if isinstance(offset, Value) else ir.Constant(INTEGER, offset)
        return self.code.builder.gep(self.place, [made])


class Code:
    """Writes one function."""

    def __init__(self, module: Any, name: str, parameters: Sequence[Any], *, lanes: int) -> None:
        """Begin a function without a result; vectors have so many lanes."""
        self.lanes = lanes
        self.function = ir.Function(module, ir.FunctionType(ir.VoidType(), parameters), name)
        self.builder = ir.IRBuilder(self.function.append_basic_block())

    def constant(self, number: float, kind: Any) -> Any:
        """Give a constant of a type, in every lane where that is a vector."""
        if isinstance(kind, ir.VectorType):
            return ir.Constant(kind, [number] * kind.count)
        return ir.Constant(kind, number)

    def number(self, number: int) -> Value:
        """Give an integer."""
        return Value(self, ir.Constant(INTEGER, number))

    def vector(self, number: float) -> Value:
        """Give a floating-point number in every lane."""
        return Value(self, self.constant(number, ir.VectorType(FLOAT, self.lanes)))

    def places(self) -> list[Memory]:
        """Give those parameters that are addresses."""
        return [Memory(self, each) for each in self.function.args if each.type.is_pointer]

    def numbers(self) -> list[Value]:
        """Give those parameters that are numbers."""
        return [Value(self, each) for each in self.function.args if not each.type.is_pointer]

    def room(self, count: int, kind: Any = FLOAT) -> Memory:
        """Keep room for so many numbers while the function runs."""
        made = self.builder.alloca(ir.ArrayType(kind, count))
        made.align = 64
        return Memory(self, self.builder.bitcast(made, kind.as_pointer()))

    def memory(self, address: Value, kind: Any = FLOAT) -> Memory:
        """Take numbers at an address."""
        return Memory(self, self.builder.inttoptr(address.made, kind.as_pointer()))

    def float_of(self, bits: Value) -> Value:
        """Take the low bits of an integer as a floating-point number."""
        return Value(self, self.builder.bitcast(bits.small().made, FLOAT))

    def multiply_add(self, one: Value, other: Value, added: Value) -> Value:
        """Give one x other + added, in a single instruction where the machine has one."""
        return self._intrinsic("llvm.fmuladd", one, other, added)

    def power(self, exponent: Value) -> Value:
        """Raise 2 to a vector of at most 127; the least normal number where it is below -126, NaN where it is NaN."""
        exponent = self.vector(LEAST_EXPONENT).where(exponent < LEAST_EXPONENT, exponent)
        whole = self._intrinsic("llvm.rint", exponent)
        rest = exponent - whole
        found = self.vector(POWERS[-1])
        for factor in POWERS[-2::-1]:
            found = self.multiply_add(found, rest, self.vector(factor))
        kind = ir.VectorType(SMALL, self.lanes)
        bits = Value(self, self.builder.fptosi(whole.made, kind)) + BIAS
        shifted = self.builder.shl(bits.made, self.constant(MANTISSA, kind))
        return found * Value(self, self.builder.bitcast(shifted, exponent.made.type))

    def loop(
        self, begin: Value | int, end: Value | int, step: int = 1, *, state: Sequence[Value] = ()
    ) -> Callable[[Callable[..., Sequence[Value] | None]], list[Value]]:
        """Write a loop over begin <= at < end, whose body takes and gives the values that change with each round."""
        first, last = (each if isinstance(each, Value) else self.number(each) for each in (begin, end))
        builder = self.builder

        def write(body: Callable[..., Sequence[Value] | None]) -> list[Value]:
            before, rounds, after = builder.block, builder.append_basic_block(), builder.append_basic_block()
            builder.cbranch((first < last).made, rounds, after)
            builder.position_at_end(rounds)
            at, *now = (builder.phi(each.made.type) for each in (first, *state))
            given = body(Value(self, at), *(Value(self, each) for each in now)) or ()
            following = Value(self, at) + step
            ending = builder.block
            for phi, old, new in zip((at, *now), (first, *state), (following, *given), strict=True):
                phi.add_incoming(old.made, before)
                phi.add_incoming(new.made, ending)
            builder.cbranch((following < last).made, rounds, after)
            builder.position_at_end(after)
            found = []
            for old, new in zip(state, given, strict=True):
                phi = builder.phi(old.made.type)
                phi.add_incoming(old.made, before)
                phi.add_incoming(new.made, ending)
                found.append(Value(self, phi))
            return found

        return write

    def shared(self, counter: Memory, total: Value) -> Callable[[Callable[[Value], None]], None]:
        """Write a loop over 0 <= at < total whose rounds the threads share out by a counter in memory."""
        builder = self.builder

        def write(body: Callable[[Value], None]) -> None:
            take, work, after = (builder.append_basic_block() for _ in range(3))
            builder.branch(take)
            builder.position_at_end(take)
            at = Value(self, builder.atomic_rmw("add", counter.place, ir.Constant(INTEGER, 1), "monotonic"))
            builder.cbranch((at < total).made, work, after)
            builder.position_at_end(work)
            body(at)
            builder.branch(take)
            builder.position_at_end(after)

        return write

    def when(self, condition: Value) -> Any:
        """Write what runs where a condition holds, as a context."""
        return self.builder.if_then(condition.made)

    def call(self, other: Code, *values: Value | Memory) -> None:
        """Call another function of the module."""
        given = [each.made if isinstance(each, Value) else each.place for each in values]
        self.builder.call(other.function, given)

    def end(self) -> None:
        """End the function."""
        self.builder.ret_void()

    def _intrinsic(self, name: str, *vectors: Value) -> Value:
        kind, module = vectors[0].made.type, self.builder.module
        full = f"{name}.v{self.lanes}f32"
        declared = module.globals.get(full) or ir.Function(module, ir.FunctionType(kind, [kind] * len(vectors)), full)
        return Value(self, self.builder.call(declared, [each.made for each in vectors]))


def _bytes(kind: Any) -> int:
    """Count the bytes of a number of a type, or of one in a vector."""
    number = kind.element if isinstance(kind, ir.VectorType) else kind
    return 4 if isinstance(number, ir.FloatType) else int(number.width) // 8


def _is_float(kind: Any) -> bool:
    return isinstance(kind.element if isinstance(kind, ir.VectorType) else kind, ir.FloatType)

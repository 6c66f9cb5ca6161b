"""Attention in one pass (Dao 2022) for the CPU, in float32: over keys that all rows share, then over a row's own.

A block of queries lies in the lanes of vectors: scores of a key are a vector, so that maxima, exponentials and sums
need nothing but vectors of the same shape, and keys and values are read where they lie, a number at a time into all
lanes. Twelve sums stay in registers throughout: of four keys, or four numbers of a value, for three vectors of queries.
Keys are taken in parts that stay in the first cache; what was mixed so far is weighed down when a larger score comes.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

from llvmlite import ir

from evalkit.decoder.kernels.code import FLOAT, INTEGER, SMALL, Code, Memory, Value
from evalkit.decoder.kernels.compiled import Kernel, lanes

VECTORS = 3  # of queries, side by side
TILE = 4  # keys, or numbers of a value, for which sums are in registers
PART = 3072  # numbers of the scores that are in memory at a time, 12 KB
HIDDEN = -1e30  # score of a key that a query does not see, and below any that it does

ARGUMENTS = (
    *(
        "query",
        "query_row",
        "query_head",
        "query_token",
    ),  # where queries lie, and how many numbers from one to the next
    *("mixed", "mixed_row", "mixed_head", "mixed_token"),
    *("shared_keys", "shared_keys_head", "shared_keys_token"),
    *("shared_values", "shared_values_head", "shared_values_token"),
    *("keys", "keys_row", "keys_head", "keys_token"),
    *("values", "values_row", "values_head", "values_token"),
    *("first", "end", "limits_row"),  # own keys that a query sees: first <= key < end, as 32-bit integers a token
    *("rows", "heads", "fold", "tokens", "shared"),  # `fold` heads of queries share one of keys; `shared` counts keys
    "scale",  # the bits of a float32: of scores, times the binary logarithm of e
)


@cache
def compiled(size: int) -> Kernel:
    """Compile attention for heads of so many numbers, a multiple of TILE."""
    return Kernel(write(size, lanes=lanes()), "attend")


def write(size: int, *, lanes: int) -> Any:  # Any: llvmlite is untyped
    """Write the module, for vectors of so many lanes."""
    module = ir.Module()
    part = _write_part(module, size, lanes=lanes)
    _write_attend(module, part, size, lanes=lanes)
    return module


class Block:
    """Memory for one block of queries: numbers lie (.., lane), the vectors of a line beside each other."""

    def __init__(self, code: Code, size: int) -> None:
        self.code = code
        self.size = size  # of a head
        self.width = VECTORS * code.lanes

    def read(self, memory: Memory, line: Value | int = 0, *, kind: Any = FLOAT) -> list[Value]:
        """Read the vectors of a line."""
        return [memory.vector(self._place(line, each), kind) for each in range(VECTORS)]

    def write(self, memory: Memory, vectors: list[Value], line: Value | int = 0) -> None:
        """Write the vectors of a line."""
        for each, vector in enumerate(vectors):
            memory[self._place(line, each)] = vector

    def _place(self, line: Value | int, vector: int) -> Value | int:
        return line * self.width + vector * self.code.lanes


def _write_part(module: Any, size: int, *, lanes: int) -> Code:
    """Write what attends from a block of queries to some keys, and adds that to what was mixed before."""
    float_place, small_place = FLOAT.as_pointer(), SMALL.as_pointer()
    places = [float_place] * 5 + [small_place] * 2 + [float_place] * 2
    code = Code(module, "part", [*places, *[INTEGER] * 5], lanes=lanes)
    query, mixed, top, total, scores, first, end, keys, values = code.places()
    count, key_token, value_token, begin, is_masked = code.numbers()
    block = Block(code, size)

    def score(tile: int) -> Any:
        def body(key: Value) -> None:
            lines = [keys + (key + each) * key_token for each in range(tile)]

            @code.loop(0, size, state=[code.vector(0.0)] * (tile * VECTORS))
            def found(number: Value, *sums: Value) -> list[Value]:
                asked = block.read(query, number)
                spread = [line[number].everywhere() for line in lines]
                return [
                    code.multiply_add(asked[each], spread[row], sums[row * VECTORS + each])
                    for row in range(tile)
                    for each in range(VECTORS)
                ]

            for row in range(tile):
                block.write(scores, found[row * VECTORS : (row + 1) * VECTORS], key + row)

        return body

    tiled = count - count % TILE
    code.loop(0, tiled, TILE)(score(TILE))
    code.loop(tiled, count)(score(1))

    with code.when(is_masked > 0):
        lowest, highest = block.read(first, kind=SMALL), [each - 1 for each in block.read(end, kind=SMALL)]

        @code.loop(0, count)
        def _hide(key: Value) -> None:
            at = (begin + key).small().everywhere()
            line = block.read(scores, key)
            hidden = [(at < lowest[each]) | (at > highest[each]) for each in range(VECTORS)]
            block.write(scores, [code.vector(HIDDEN).where(hidden[each], line[each]) for each in range(VECTORS)], key)

    before = block.read(top)

    @code.loop(0, count, state=before)
    def now(key: Value, *highest: Value) -> list[Value]:
        return [score.most(best) for score, best in zip(block.read(scores, key), highest, strict=True)]

    block.write(top, now)
    fading = [code.power(old - new) for old, new in zip(before, now, strict=True)]

    @code.loop(0, count, state=[sum_ * less for sum_, less in zip(block.read(total), fading, strict=True)])
    def sums(key: Value, *so_far: Value) -> list[Value]:
        weights = [code.power(score - best) for score, best in zip(block.read(scores, key), now, strict=True)]
        block.write(scores, weights, key)
        return [sum_ + weight for sum_, weight in zip(so_far, weights, strict=True)]

    block.write(total, sums)

    @code.loop(0, size, TILE)
    def _mix(number: Value) -> None:
        lines = [block.read(mixed, number + row) for row in range(TILE)]
        so_far = [old * less for line in lines for old, less in zip(line, fading, strict=True)]

        @code.loop(0, count, state=so_far)
        def found(key: Value, *sums: Value) -> list[Value]:
            weights = block.read(scores, key)
            value = values + (key * value_token + number)
            spread = [value[row].everywhere() for row in range(TILE)]
            return [
                code.multiply_add(weights[each], spread[row], sums[row * VECTORS + each])
                for row in range(TILE)
                for each in range(VECTORS)
            ]

        for row in range(TILE):
            block.write(mixed, found[row * VECTORS : (row + 1) * VECTORS], number + row)

    code.end()
    return code


@dataclass(frozen=True, slots=True)
class Room:
    """What one thread keeps of the block of queries that it computes."""

    query: Memory  # (D, lanes), scaled
    mixed: Memory  # (D, lanes), weighted values so far
    top: Memory  # (lanes) the largest score so far
    total: Memory  # (lanes) sum of exponentials so far, below the largest score
    scores: Memory  # (keys of a part, lanes)
    first: Memory  # (lanes) the first own key that a query sees
    end: Memory  # (lanes) the first one after these


def _write_attend(module: Any, part: Code, size: int, *, lanes: int) -> None:
    """Write the function that computes all blocks of queries, of every row and head."""
    code = Code(module, "attend", [INTEGER.as_pointer()], lanes=lanes)
    [given] = code.places()
    number = {name: given[at] for at, name in enumerate(ARGUMENTS)}
    block = Block(code, size)
    width = block.width
    query, mixed, top, total, scores = map(code.room, (size * width, size * width, width, width, PART))
    room = Room(query, mixed, top, total, scores, code.room(width, SMALL), code.room(width, SMALL))
    blocks = (number["tokens"] + (width - 1)) // width

    @code.shared(given + len(ARGUMENTS), number["rows"] * number["heads"] * blocks)
    def _compute(task: Value) -> None:
        begin = task % blocks * width
        head, row = task // blocks % number["heads"], task // blocks // number["heads"]
        group = head // number["fold"]
        count = (number["tokens"] - begin).least(width)

        def at(name: str, *, head: Value, row: Value | None = None) -> Memory:
            offset = head * number[f"{name}_head"]
            return code.memory(number[name]) + (offset if row is None else offset + row * number[f"{name}_row"])

        def attend(kind: str, bounds: Bounds | None, end: Value, *, row: Value | None) -> None:
            keys, values = (at(f"{kind}{name}", head=group, row=row) for name in ("keys", "values"))
            steps = [number[f"{kind}{name}_token"] for name in ("keys", "values")]

            @code.loop(code.number(0) if bounds is None else bounds.earliest_first, end, PART // width)
            def _part(key: Value) -> None:
                end_here = (key + PART // width).least(end)
                is_masked = code.number(0)
                if bounds is not None:
                    is_cut = (key < bounds.latest_first) | (end_here > bounds.earliest_end)
                    is_masked = code.number(1).where(is_cut, is_masked)
                places = (room.query, room.mixed, room.top, room.total, room.scores, room.first, room.end)
                lines = (keys + key * steps[0], values + key * steps[1])
                code.call(part, *places, *lines, end_here - key, *steps, key, is_masked)

        query = at("query", head=head, row=row) + begin * number["query_token"]
        limits = [code.memory(number[name], SMALL) + (row * number["limits_row"] + begin) for name in ("first", "end")]
        bounds = _lay(block, room, query, number, limits, count)
        attend("shared_", None, number["shared"], row=None)
        attend("", bounds, bounds.latest_end, row=row)
        mixed = at("mixed", head=head, row=row) + begin * number["mixed_token"]
        _give(block, room, mixed, number["mixed_token"], count)

    code.end()


class Bounds(NamedTuple):
    """Between which own keys the limits of a block's queries lie."""

    earliest_first: Value
    latest_first: Value
    earliest_end: Value
    latest_end: Value


def _lay(
    block: Block, room: Room, query: Memory, number: dict[str, Value], limits: list[Memory], count: Value
) -> Bounds:
    """Lay `count` queries, times the scale, and their limits into lanes; nothing is mixed yet."""
    scale = block.code.float_of(number["scale"])
    code, width = block.code, block.width

    @code.loop(0, width, state=[code.number(2**31), code.number(0), code.number(2**31), code.number(0)])
    def bounds(lane: Value, *so_far: Value) -> list[Value]:
        at = lane.least(count - 1)  # lanes without a query repeat the last one
        line = query + at * number["query_token"]

        @code.loop(0, block.size)
        def _number(each: Value) -> None:
            room.query[each * width + lane] = line[each] * scale

        found = []
        for which, (limit, seen) in enumerate(zip(limits, (room.first, room.end), strict=True)):
            seen[lane] = limit[at]
            bound = limit[at].large()
            found += [bound.least(so_far[2 * which]), bound.most(so_far[2 * which + 1])]
        return found

    block.write(room.top, [code.vector(HIDDEN)] * VECTORS)
    block.write(room.total, [code.vector(0.0)] * VECTORS)
    code.loop(0, block.size)(lambda each: block.write(room.mixed, [code.vector(0.0)] * VECTORS, each))
    return Bounds(*bounds)


def _give(block: Block, room: Room, mixed: Memory, step: Value, count: Value) -> None:
    """Divide what was mixed by the sums of exponentials, and write that of `count` queries where it belongs."""
    code, width = block.code, block.width
    block.write(room.total, [code.vector(1.0) / each for each in block.read(room.total)])

    @code.loop(0, count)
    def _query(lane: Value) -> None:
        line, share = mixed + lane * step, room.total[lane]

        @code.loop(0, block.size)
        def _number(each: Value) -> None:
            line[each] = room.mixed[each * width + lane] * share

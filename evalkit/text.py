"""Words, digests and seeded draws: what has to come out the same on every machine."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator
from dataclasses import asdict, is_dataclass
from hashlib import sha256

_WORD = re.compile(r"[^\W_]+")


def words(text: str) -> list[str]:
    """Split as the normaliser `gpt3` does: fold case, turn all but alphanumerics into blanks (Brown 2020, App. C)."""
    return _WORD.findall(text.casefold())


def digest(*parts: object, length: int = 16) -> str:
    """Hash JSON-able values and dataclasses to `length` hex digits; equal for equal values, whatever their key order.

    Raises TypeError for other values, ValueError for NaN and infinities, which JSON cannot hold.
    """
    return sha256(_canonical(parts)).hexdigest()[:length]


def generator(*parts: object) -> random.Random:
    """Make a random generator that depends on nothing but `parts`, such as (seed, task, example id)."""
    return random.Random(int.from_bytes(sha256(_canonical(parts)).digest()))


def shuffled(size: int, draws: random.Random) -> Iterator[int]:
    """Yield 0..size-1 in random order, lazily, so that k draws cost O(k); the first draws do not depend on k.

    Fisher and Yates's shuffle, which remembers only the places it has touched.
    """
    moved: dict[int, int] = {}
    for position in range(size):
        chosen = draws.randrange(position, size)
        yield moved.get(chosen, chosen)
        moved[chosen] = moved.get(position, position)


def _canonical(parts: tuple[object, ...]) -> bytes:
    return json.dumps(parts, sort_keys=True, separators=(",", ":"), allow_nan=False, default=_plain).encode()


def _plain(value: object) -> object:
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    raise TypeError(f"cannot hash a value of type {type(value).__name__}; expected JSON-able values or dataclasses")

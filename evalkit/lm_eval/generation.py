"""What lm_eval's `generation_kwargs` ask for: where an answer ends, how long it may be, how tokens are picked."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from evalkit import decoding
from evalkit.errors import TaskError
from evalkit.records import Decoding
from evalkit.registry import suggest
from evalkit.signatures import found

LENGTHS = ("max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens")  # the first that is given counts
DEFAULT_LENGTH = 256
KNOWN = ("until", "do_sample", "temperature", "top_p", "top_k", "num_beams", *LENGTHS)


@dataclass(frozen=True, slots=True)
class Generation:
    """How answers are generated."""

    stop: tuple[str, ...]
    max_tokens: int
    decoding: Decoding


def read(keys: Mapping[str, object] | None, *, delimiter: str) -> Generation:
    """Read `generation_kwargs`; without `until` an answer ends at the delimiter of demonstrations.

    Greedy where `do_sample` is false, or is missing with a temperature of 0. Raises TaskError.
    """
    keys = keys or {}
    for key in keys:
        if key not in KNOWN:
            raise TaskError(f"unknown key {key!r}, which evalkit's decoder has nothing for; {suggest(key, KNOWN)}")
    lengths = [(key, keys[key]) for key in LENGTHS if keys.get(key) is not None]
    return Generation(
        stop=_stop(keys.get("until", [delimiter])),
        max_tokens=_whole(*lengths[0]) if lengths else DEFAULT_LENGTH,
        decoding=_decoding(keys),
    )


def _stop(until: object) -> tuple[str, ...]:
    texts = [until] if isinstance(until, str) else [] if until is None else until
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise TaskError(f"key 'until': found {found(until)}, expected text or a list of texts")
    return tuple(dict.fromkeys(text for text in texts if text))


def _decoding(keys: Mapping[str, object]) -> Decoding:
    samples = keys.get("do_sample")
    if samples is not None and not isinstance(samples, bool):
        raise TaskError(f"key 'do_sample': found {found(samples)}, expected true or false")
    temperature = _number("temperature", keys.get("temperature") or 0.0, least=0)
    if samples and temperature == 0:
        raise TaskError(
            "key 'do_sample': found true without a temperature above 0; give a temperature, or leave it out"
        )
    beams = _whole("num_beams", keys.get("num_beams") or 1)
    if samples is False or temperature == 0:
        rule = Decoding(beams=beams)
    else:
        top_p, top_k = keys.get("top_p"), keys.get("top_k")
        rule = Decoding(
            temperature=temperature,
            top_k=None if not top_k else _whole("top_k", top_k),
            top_p=None if top_p is None else _number("top_p", top_p, least=0),
            beams=beams,
        )
    if wrong := decoding.complaint(rule):
        raise TaskError(f"key {wrong[0]!r}: {wrong[1]}")
    return rule


def _whole(key: str, value: object) -> int:
    """Read a whole number of 1 or more, which may stand in quotes or be written as 5.0."""
    number = _number(key, value, least=1)
    if not number.is_integer():
        raise TaskError(f"key {key!r}: found {found(value)}, expected a whole number")
    return int(number)


def _number(key: str, value: object, *, least: float) -> float:
    """Read a number, which may stand in quotes."""
    try:
        number = float(value) if isinstance(value, int | float | str) and not isinstance(value, bool) else None
    except (ValueError, OverflowError):
        number = None
    if number is None or not least <= number < math.inf:
        raise TaskError(f"key {key!r}: found {found(value)}, expected a number of {least:g} or more")
    return number

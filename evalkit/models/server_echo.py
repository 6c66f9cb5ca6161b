"""What a server tells of a prompt that it echoes with log-probabilities, checked before it is believed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from evalkit.errors import ServerError
from evalkit.models import server_llama


@dataclass(frozen=True, slots=True)
class Echo:
    """A prompt as the server read it; shape (T,) each."""

    tokens: tuple[str, ...]
    logprobs: tuple[float | None, ...]  # None for the first
    best: tuple[float | None, ...]  # of the likeliest token at each place


def read(answer: dict[str, Any], choice: dict[str, Any], *, name: str) -> Echo:  # Any: JSON
    """Read the prompt's part of a completion; ServerError, which names the model, where it is not there."""
    told: Any = choice.get("logprobs")  # Any: JSON
    count = count_of(answer, "prompt_tokens")
    try:
        tokens, logprobs, tops = told["tokens"], told["token_logprobs"], told["top_logprobs"]
        count = len(tokens) - 1 if count is None else count
        best = [max(map(_number, top.values())) if top else None for top in tops[:count]]
        found = [None if value is None else _number(value) for value in logprobs[:count]]
    except (TypeError, KeyError, ValueError, AttributeError) as error:
        raise ServerError(_complaint(name)) from error
    if not len(tokens) >= count == len(found) == len(best) or not all(isinstance(each, str) for each in tokens):
        raise ServerError(_complaint(name))
    for each in (*found, *best):
        if each is not None:
            server_llama.check(each, name=name)
    return Echo(tuple(tokens[:count]), tuple(found), tuple(best))


def total(echo: Echo, start: int, *, name: str) -> tuple[float, bool]:
    """Add up the log-probabilities from a token on, and say whether each is the likeliest."""
    totals: list[float] = []
    greedy = True
    for logprob, best in zip(echo.logprobs[start:], echo.best[start:], strict=True):
        if logprob is None or best is None:
            raise ServerError(f"{name}: the server returns no logprobs for a token of the continuation")
        totals.append(logprob)
        greedy &= logprob >= best
    return math.fsum(totals), greedy


def count_of(answer: dict[str, Any], key: str) -> int | None:  # Any: JSON
    """Read a number of tokens off the usage that a server reports."""
    usage = answer.get("usage")
    value = usage.get(key) if isinstance(usage, dict) else None
    return value if type(value) is int and value >= 0 else None


def _number(value: Any) -> float:  # Any: JSON
    """Take a finite number; ValueError for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{value!r} is no log-probability")
    return float(value)


def _complaint(name: str) -> str:
    return (
        f"{name}: the server returns no logprobs of the prompt, which log-likelihoods are read from; "
        "expected one that knows echo with logprobs, as vLLM and SGLang do"
    )

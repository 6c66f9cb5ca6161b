"""Requests as token ids: each text tokenized once, whole, and split where its context ends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from evalkit.decoder.tokenizer import Tokenizer
from evalkit.errors import UsageError, WindowError
from evalkit.records import Generate, LogLikelihood


@dataclass(frozen=True, slots=True)
class Span:
    """Token ids of a text, and where its continuation begins."""

    ids: list[int]
    start: int  # position of the continuation's first token; the number of ids where there is no continuation
    bytes: int  # of the continuation in UTF-8
    boundary_merged: bool  # the continuation's first token begins in the context


def spans(tokenizer: Tokenizer, requests: Sequence[LogLikelihood | Generate]) -> list[Span]:
    """Tokenize requests; the start token stands before each, or end-of-text before an empty context."""
    scored = iter(tokenizer.continued([(r.context, r.continuation) for r in requests if isinstance(r, LogLikelihood)]))
    prompts = iter(tokenizer.ids([r.context for r in requests if isinstance(r, Generate)]))
    found = []
    for request in requests:
        if isinstance(request, Generate):
            ids = next(prompts)
            first = _first(tokenizer, before=len(ids))
            found.append(Span(first + ids, len(first) + len(ids), bytes=0, boundary_merged=False))
            continue
        made = next(scored)
        if made.before == len(made.ids):
            raise UsageError(f"the continuation of {request.context[-40:]!r} has no tokens; expected some text")
        first = _first(tokenizer, before=made.before)
        size = len(request.continuation.encode())
        found.append(Span(first + made.ids, len(first) + made.before, bytes=size, boundary_merged=made.is_merged))
    return found


def _first(tokenizer: Tokenizer, *, before: int) -> list[int]:
    """Give the token that stands before a context of so many tokens, or none."""
    if tokenizer.start is not None:
        return [tokenizer.start]
    return [] if before else [tokenizer.end_of_text]


def count_tokens(tokenizer: Tokenizer, texts: Sequence[str]) -> list[int]:
    """Count the tokens of whole contexts, the start token included; an empty one always begins with a token."""
    start = int(tokenizer.start is not None)
    return [max(1, start + len(ids)) for ids in tokenizer.ids(texts)]


def check_window(request: LogLikelihood | Generate, span: Span, *, name: str, window: int) -> None:
    """Raise WindowError where not even one token of an answer fits."""
    needed = len(span.ids) + (1 if isinstance(request, Generate) else 0)
    if needed > window:
        raise WindowError(
            f"the request that begins {request.context[:40]!r} needs {needed} tokens, the window of {name} holds "
            f"{window}; shorten it or drop demonstrations"
        )

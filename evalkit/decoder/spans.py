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
    texts = [r.context + (r.continuation if isinstance(r, LogLikelihood) else "") for r in requests]
    found = []
    for request, encoding in zip(requests, tokenizer.encode(texts), strict=True):
        edge = len(request.context)
        before = sum(end <= edge for _, end in encoding.offsets)
        merged = before < len(encoding.ids) and encoding.offsets[before][0] < edge
        ids = encoding.ids
        if tokenizer.start is not None or before == 0:
            ids = [tokenizer.end_of_text if tokenizer.start is None else tokenizer.start, *ids]
            before += 1
        continuation = request.continuation if isinstance(request, LogLikelihood) else ""
        if isinstance(request, LogLikelihood) and before == len(ids):
            raise UsageError(f"the continuation of {request.context[-40:]!r} has no tokens; expected some text")
        found.append(Span(ids, before, bytes=len(continuation.encode()), boundary_merged=merged))
    return found


def count_tokens(tokenizer: Tokenizer, texts: Sequence[str]) -> list[int]:
    """Count the tokens of whole contexts, the start token included; an empty one always begins with a token."""
    start = int(tokenizer.start is not None)
    return [max(1, start + len(encoding.ids)) for encoding in tokenizer.encode(texts)]


def check_window(request: LogLikelihood | Generate, span: Span, *, name: str, window: int) -> None:
    """Raise WindowError where not even one token of an answer fits."""
    needed = len(span.ids) + (1 if isinstance(request, Generate) else 0)
    if needed > window:
        raise WindowError(
            f"the request that begins {request.context[:40]!r} needs {needed} tokens, the window of {name} holds "
            f"{window}; shorten it or drop demonstrations"
        )

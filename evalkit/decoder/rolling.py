"""Texts of any length in windows, every token predicted exactly once: for rolling log-likelihoods and token scores.

The windows are those of lm_eval's `loglikelihood_rolling`: the first token is predicted from the token that begins a
text, and a window of W reads W tokens and predicts as many, the next one of each. With a stride it predicts that many
new ones, and the rest of it is their context (the strided evaluation of transformers' documentation on perplexity).
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

from evalkit.decoder.spans import Span
from evalkit.decoder.tokenizer import Tokenizer
from evalkit.errors import UsageError, WindowError
from evalkit.records import LogProb, PerToken, Rolling, TokenScores, Windowed


@dataclass(frozen=True, slots=True)
class Text:
    """A request as token ids."""

    request: Windowed
    ids: array[int]  # the token that begins a text, then the text's own
    texts: tuple[str, ...] = ()  # that its own tokens add, where they are asked for

    @property
    def tokens(self) -> int:
        """Tokens to predict."""
        return len(self.ids) - 1


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of a text's ids, the last of which are predicted."""

    begin: int  # the first id it reads
    start: int  # the first id it predicts
    end: int  # one more than the last id it predicts


def check(request: Windowed, *, name: str, window: int) -> None:
    """Raise WindowError where a window is too long for the model, UsageError where it or its stride is none."""
    if request.window > window:
        raise WindowError(
            f"windows of {request.window} tokens are asked for, the window of {name} holds {window}; ask for {window} "
            "at most"
        )
    if request.window < 1:
        raise UsageError(f"found a rolling window of {request.window} tokens, expected at least 1")
    if request.stride is not None and not 1 <= request.stride <= request.window:
        raise UsageError(f"found a stride of {request.stride} tokens, expected 1 to the window's {request.window}")


def tokenize(tokenizer: Tokenizer, request: Windowed) -> Text:
    """Tokenize a text once, whole; it begins with the start token, or with end-of-text where there is none."""
    first = tokenizer.end_of_text if tokenizer.start is None else tokenizer.start
    (encoding,) = tokenizer.encode([request.text])
    begins = [begin for begin, _ in encoding.offsets] if isinstance(request, PerToken) else []
    return Text(request, array("i", [first, *encoding.ids]), _texts(request.text, begins))


def windows(text: Text) -> Iterator[Window]:
    """Yield the windows of a text; the last one has the longest context too."""
    size = text.request.window
    end = min(size, text.tokens)  # the last token predicted so far, counted from 1
    if end:
        yield Window(0, 1, end + 1)
    while end < text.tokens:
        new = min(text.request.stride or size, text.tokens - end)
        end += new
        yield Window(end - size, end - new + 1, end + 1)


def spans(text: Text) -> tuple[Span, ...]:
    """Give the windows of a text as what is computed of them."""
    return tuple(
        Span(text.ids[each.begin : each.end].tolist(), each.start - each.begin, bytes=0, boundary_merged=False)
        for each in windows(text)
    )


def total(request: Rolling, parts: Sequence[LogProb]) -> LogProb:
    """Add up the answers of all windows, in any order."""
    return LogProb(
        total=math.fsum(part.total for part in parts),
        tokens=sum(part.tokens for part in parts),
        bytes=len(request.text.encode()),
        is_greedy=all(part.is_greedy for part in parts),
        boundary_merged=False,
    )


def joined(parts: Sequence[TokenScores]) -> TokenScores:
    """Put the answers of all windows, which come in their order, behind each other."""
    return TokenScores(
        texts=tuple(text for part in parts for text in part.texts),
        logprobs=tuple(logprob for part in parts for logprob in part.logprobs),
        ranks=tuple(rank for part in parts for rank in part.ranks),
        entropies=tuple(entropy for part in parts for entropy in part.entropies),
        variances=tuple(variance for part in parts for variance in part.variances),
    )


def _texts(text: str, begins: Sequence[int]) -> tuple[str, ...]:
    """Cut a text where its tokens begin; of tokens that begin with the same character, the last one has it."""
    edges = [0, *accumulate(begins[1:], max), len(text)] if begins else []
    return tuple(text[begin:end] for begin, end in pairwise(edges))

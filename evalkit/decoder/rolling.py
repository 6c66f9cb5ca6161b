"""Rolling log-likelihoods: a text of any length in windows, every token predicted exactly once.

The windows are those of lm_eval's `loglikelihood_rolling`: the first token is predicted from the token that begins a
text, and a window of W reads W tokens and predicts as many, the next one of each. With a stride it predicts that many
new ones, and the rest of it is their context (the strided evaluation of transformers' documentation on perplexity).
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from evalkit.decoder.scoring import Span
from evalkit.decoder.tokenizer import Tokenizer
from evalkit.errors import ModelMemoryError, UsageError, WindowError
from evalkit.records import LogProb, Rolling


@dataclass(frozen=True, slots=True)
class Text:
    """A request as token ids."""

    request: Rolling
    ids: array[int]  # the token that begins a text, then the text's own

    @property
    def tokens(self) -> int:
        """Tokens to predict."""
        return len(self.ids) - 1


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of a text's ids, the last of which are predicted."""

    text: int  # place of its text
    begin: int  # the first id it reads
    start: int  # the first id it predicts
    end: int  # one more than the last id it predicts

    @property
    def length(self) -> int:
        """Tokens computed: the last one is predicted, and not read."""
        return self.end - self.begin - 1


def check(request: Rolling, *, name: str, window: int) -> None:
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


def tokenize(tokenizer: Tokenizer, request: Rolling) -> Text:
    """Tokenize a text once, whole; it begins with the start token, or with end-of-text where there is none."""
    first = tokenizer.end_of_text if tokenizer.start is None else tokenizer.start
    (encoding,) = tokenizer.encode([request.text])
    return Text(request, array("i", [first, *encoding.ids]))


def windows(text: Text, *, place: int = 0) -> Iterator[Window]:
    """Yield the windows of a text, which is number `place` of its batch; the last one has the longest context too."""
    size = text.request.window
    end = min(size, text.tokens)  # the last token predicted so far, counted from 1
    if end:
        yield Window(place, 0, 1, end + 1)
    while end < text.tokens:
        new = min(text.request.stride or size, text.tokens - end)
        end += new
        yield Window(place, end - size, end - new + 1, end + 1)


def score(
    texts: Sequence[Text], compute: Callable[[Sequence[Span]], list[LogProb]], *, batch_tokens: int
) -> list[LogProb]:
    """Score whole texts, their windows together in batches of like length, the longest first.

    A batch that `compute` finds too large is computed in parts, as are all after it. Raises ModelMemoryError where a
    single window is too large.
    """
    waiting = [window for place, text in enumerate(texts) for window in windows(text, place=place)]
    waiting.sort(key=lambda window: -window.length)
    totals: list[list[float]] = [[] for _ in texts]
    is_greedy = [True] * len(texts)
    done = 0
    while done < len(waiting):
        longest = waiting[done].length
        batch = waiting[done : done + max(1, batch_tokens // longest)]
        try:
            found = compute([_span(texts[window.text], window) for window in batch])
        except ModelMemoryError:
            if len(batch) == 1:
                raise
            batch_tokens = longest * (len(batch) // 2)
            continue
        for window, answer in zip(batch, found, strict=True):
            totals[window.text].append(answer.total)
            is_greedy[window.text] &= answer.is_greedy
        done += len(batch)
    return [
        LogProb(
            total=math.fsum(parts),
            tokens=text.tokens,
            bytes=len(text.request.text.encode()),
            is_greedy=greedy,
            boundary_merged=False,
        )
        for text, parts, greedy in zip(texts, totals, is_greedy, strict=True)
    ]


def _span(text: Text, window: Window) -> Span:
    ids = text.ids[window.begin : window.end].tolist()
    return Span(ids, window.start - window.begin, bytes=0, boundary_merged=False)

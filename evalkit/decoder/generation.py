"""Generation: one prefill of all prompts, then a token a step in every row that is not finished."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from evalkit.decoder.cache import KVCache
from evalkit.decoder.model import Decoder
from evalkit.decoder.sampling import pick
from evalkit.decoder.tokenizer import TextStream, Tokenizer
from evalkit.records import Completion, FinishReason, Generate

COMPACT_SHARE = 0.25  # of a batch that has to be finished before the cache is rewritten without it


class Row:
    """One answer as it grows."""

    def __init__(self, request: Generate, tokenizer: Tokenizer, *, room: int) -> None:
        self.request = request
        self.text = ""
        self.tokens = 0
        self.finish: FinishReason | None = None
        self._limit = min(request.max_tokens, room)
        self._full: FinishReason = "max-tokens" if request.max_tokens <= room else "window"
        self._generator = random.Random(request.seed)
        self._stream = TextStream(tokenizer)
        self._end_of_text = tokenizer.end_of_text
        self._longest_stop = max(map(len, request.stop), default=0)
        self._shown = 0
        if self._limit <= 0:
            self.finish = self._full

    def draw(self) -> float:
        """Give the uniform number that decides the next token."""
        return self._generator.random()

    def push(self, token: int) -> None:
        """Take the next token: the row is finished at end-of-text, a stop string, or its limit."""
        self.tokens += 1
        if token == self._end_of_text:
            self._close("end-of-text")
            return
        searched = max(0, len(self.text) - self._longest_stop + 1)
        self.text += self._stream.push(token)
        if (cut := first_stop(self.text, self.request.stop, start=searched)) is not None:
            self.text, self.finish = self.text[:cut], "stop"
        elif self.tokens >= self._limit:
            self._close(self._full)

    def _close(self, finish: FinishReason) -> None:
        self.text += self._stream.close()
        self.finish = finish

    def news(self) -> str:
        """Give the text that has come since the last call and cannot be part of a stop string."""
        safe = len(self.text) if self.finish else max(self._shown, len(self.text) - max(0, self._longest_stop - 1))
        text, self._shown = self.text[self._shown : safe], safe
        return text

    def completion(self) -> Completion:
        """Give the answer of a finished row."""
        assert self.finish is not None
        return Completion(self.text, self.tokens, self.finish)


def first_stop(text: str, stop: Sequence[str], *, start: int = 0) -> int | None:
    """Find where the first of the stop strings begins, none before `start`."""
    found = [place for place in (text.find(string, start) for string in stop if string) if place >= 0]
    return min(found, default=None)


def complete(
    decoder: Decoder, tokenizer: Tokenizer, prompts: Sequence[list[int]], requests: Sequence[Generate], *, window: int
) -> Iterator[tuple[list[str], list[Completion]]]:
    """Generate all answers; after each step yield every row's new text, and with the last step the answers."""
    rows = [Row(request, tokenizer, room=window - len(ids)) for ids, request in zip(prompts, requests, strict=True)]
    capacity = max(min(window, len(ids) + row.request.max_tokens) for ids, row in zip(prompts, rows, strict=True))
    cache, hidden = prefill(decoder, prompts, capacity=capacity)
    running = list(range(len(rows)))  # the row of each line of the cache; a finished one stays until compaction
    while any(rows[line].finish is None for line in running):
        active = [rows[line] for line in running]
        rules = [row.request.decoding for row in active]
        uniforms = [row.draw() if row.finish is None else 0.0 for row in active]
        tokens = pick(decoder.logits(hidden), rules, uniforms)  # (B,)
        for row, token in zip(active, tokens.tolist(), strict=True):
            if row.finish is None:
                row.push(token)
        yield [row.news() for row in rows], []
        going = [line for line, row in enumerate(active) if row.finish is None]
        if not going:
            break
        # A finished row goes on growing with the others, so it must leave before it outgrows the cache.
        is_full = len(going) < len(active) and cache.longest >= cache.capacity
        if is_full or len(active) - len(going) >= COMPACT_SHARE * len(active):
            kept = torch.tensor(going, device=tokens.device)
            cache.select(kept)
            tokens, running = tokens[kept], [running[line] for line in going]
        hidden = decoder(tokens[:, None], cache=cache)[:, -1]
        cache.advance()
    yield [row.news() for row in rows], [row.completion() for row in rows]


def prefill(decoder: Decoder, prompts: Sequence[list[int]], *, capacity: int) -> tuple[KVCache, Tensor]:
    """Compute all prompts at once; give their cache and the hidden state (B, d) of each one's last token."""
    device, dtype = decoder.tokens.device, decoder.tokens.dtype
    lengths = [len(ids) for ids in prompts]
    tokens = pad_sequence([torch.tensor(ids) for ids in prompts], batch_first=True).to(device)  # (B, T)
    cache = KVCache(decoder.config, rows=len(prompts), capacity=max(capacity, *lengths, 1), device=device, dtype=dtype)
    last = torch.tensor(lengths, device=device)[:, None] - 1  # (B, 1)
    hidden = decoder(tokens, cache=cache, wanted=last)[:, 0]
    cache.set_lengths(lengths)
    return cache, hidden

"""Generation by continuous batching: a token a step in every row; finished rows leave, new ones enter."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import TypeAlias

import torch
from torch import Tensor

from evalkit.decoder import beam, finite
from evalkit.decoder.beam import Beams
from evalkit.decoder.cache import KVCache
from evalkit.decoder.model import Decoder
from evalkit.decoder.sampling import pick
from evalkit.decoder.tokenizer import TextStream, Tokenizer
from evalkit.records import Completion, FinishReason, Generate

COMPACT_SHARE = 0.25  # of the rows that have to be finished before the cache is rewritten without them


class Row:
    """One answer as it grows."""

    rows = 1

    def __init__(self, request: Generate, tokenizer: Tokenizer, *, room: int) -> None:
        self.request = request
        self.text = ""
        self.tokens = 0
        self.finish: FinishReason | None = None
        self.limit = min(request.max_tokens, room)
        self._full: FinishReason = "max-tokens" if request.max_tokens <= room else "window"
        self._generator = random.Random(request.seed)
        self._stream = TextStream(tokenizer)
        self._ends = tokenizer.ends
        self._longest_stop = max(map(len, request.stop), default=0)
        self._shown = 0
        if self.limit <= 0:
            self.finish = self._full

    @property
    def is_done(self) -> bool:
        """Whether the answer is whole."""
        return self.finish is not None

    def draw(self) -> float:
        """Give the uniform number that decides the next token."""
        return self._generator.random()

    def push(self, token: int) -> None:
        """Take the next token: the row is finished at end-of-text, a stop string, or its limit."""
        self.tokens += 1
        if token in self._ends:
            self._close("end-of-text")
            return
        searched = max(0, len(self.text) - self._longest_stop + 1)
        self.text += self._stream.push(token)
        if (cut := first_stop(self.text, self.request.stop, start=searched)) is not None:
            self.text, self.finish = self.text[:cut], "stop"
        elif self.tokens >= self.limit:
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


Growing: TypeAlias = Row | Beams


def first_stop(text: str, stop: Sequence[str], *, start: int = 0) -> int | None:
    """Find where the first of the stop strings begins, none before `start`."""
    found = [place for place in (text.find(string, start) for string in stop if string) if place >= 0]
    return min(found, default=None)


def begin(request: Generate, tokenizer: Tokenizer, *, room: int) -> Growing:
    """Begin an answer for which the window has `room` tokens."""
    return (Beams if request.decoding.beams > 1 else Row)(request, tokenizer, room=room)


class Pool:
    """Answers that grow together, all after one prefix."""

    def __init__(self, decoder: Decoder, *, name: str) -> None:
        """Begin with no answer; errors call the decoder `name`."""
        self._decoder = decoder
        self._name = name
        self._cache: KVCache | None = None
        self._hidden = torch.empty(0)  # (N, d) of the last token of each row
        self.members: list[Growing] = []  # their rows lie in this order; a finished Row stays until compaction
        self._settled = 0  # columns before which all rows of a member are equal

    @property
    def growing(self) -> int:
        """Count the answers that are not whole."""
        return sum(not member.is_done for member in self.members)

    @property
    def held(self) -> int:
        """Count the tokens that the answers have room for."""
        return 0 if self._cache is None else len(self._cache.lengths) * self._cache.capacity

    def admit(self, members: Sequence[Growing], cache: KVCache, hidden: Tensor) -> None:
        """Take in answers whose prompts lie in the rows of a cache (B), with the hidden states (B, d) of their ends."""
        shortest = min(cache.lengths.tolist())
        if self._cache is None:
            self._cache, self._hidden, self.members, self._settled = cache, hidden, list(members), shortest
            return
        kept = torch.tensor([row for row, member in self._rows() if not member.is_done], device=hidden.device)
        self._cache.select(kept)
        self._cache.join(cache)
        self._hidden = torch.cat([self._hidden[kept], hidden])
        self.members = [member for member in self.members if not member.is_done] + list(members)
        self._settled = min(self._settled, shortest)

    def step(self) -> list[Growing]:
        """Add a token to every answer; give those that are whole now. CheckpointError where logits are not finite."""
        assert self._cache is not None
        growing = [member for member in self.members if not member.is_done]
        before = self._owners()
        alive = [row for row, member in self._rows() if not member.is_done]
        logits = self._decoder.logits(self._hidden)
        largest = logits.amax(dim=1)  # NaN where one of them is
        rows, tokens = self._pick(logits)
        # Only now, where the tokens are there: a device is not waited for twice.
        found = largest.tolist()
        finite.check((found[row] for row in alive), name=self._name, dtype=self._decoder.tokens.dtype)
        done = [member for member in growing if member.is_done]
        if len(done) == len(growing):
            self._cache, self.members = None, []
            return done
        chosen = torch.tensor(rows, device=self._hidden.device)
        if self._owners() != before:
            self._cache.select(chosen)
        elif rows != list(range(len(rows))):
            self._cache.exchange(chosen, begin=self._settled)
        made = torch.tensor(tokens, device=self._hidden.device)[:, None]  # (N, 1)
        self._hidden = self._decoder(made, cache=self._cache)[:, -1]
        self._cache.advance()
        return done

    def _rows(self) -> Iterator[tuple[int, Growing]]:
        """Yield every row with the answer that it belongs to."""
        row = 0
        for member in self.members:
            for _ in range(member.rows):
                yield row, member
                row += 1

    def _owners(self) -> list[int]:
        return [id(member) for _, member in self._rows()]

    def _pick(self, logits: Tensor) -> tuple[list[int], list[int]]:
        """Pick the tokens of the next step, and the row that each of them follows; forget who leaves."""
        assert self._cache is not None
        first: dict[int, int] = {}  # id of a member -> its first row
        for row, member in self._rows():
            first.setdefault(id(member), row)
        singles = [member for member in self.members if isinstance(member, Row)]
        searches = [(member, first[id(member)]) for member in self.members if isinstance(member, Beams)]
        chosen: dict[int, tuple[list[int], list[int]]] = {}  # id of a member -> rows, tokens
        if singles:
            rules = [member.request.decoding for member in singles]
            uniforms = [0.0 if member.is_done else member.draw() for member in singles]
            own = logits[[first[id(member)] for member in singles]] if searches else logits
            for member, token in zip(singles, pick(own, rules, uniforms).tolist(), strict=True):
                if not member.is_done:
                    member.push(token)
                chosen[id(member)] = [first[id(member)]], [token]
        for (search, begin), origins in zip(searches, beam.advance(searches, logits), strict=True):
            chosen[id(search)] = [begin + origin for origin in origins], [each.last for each in search.live]
        finished = sum(member.is_done for member in singles)
        # A finished row goes on growing with the others, so it must leave before it outgrows the cache.
        is_full = self._cache.longest >= self._cache.capacity
        if searches or is_full or finished >= COMPACT_SHARE * len(singles):
            self.members = [member for member in self.members if not member.is_done]
        rows = [row for member in self.members for row in chosen[id(member)][0]]
        return rows, [token for member in self.members for token in chosen[id(member)][1]]

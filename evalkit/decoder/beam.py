"""Beam search with GNMT's length penalty (Wu 2016, eq. 14), as GPT-3 used it for free-form tasks: width 4, alpha 0.6.

A hypothesis of n tokens, end-of-text or stop string included, scores log P / ((5 + n) / 6) ** alpha. The search for a
prompt ends when no beam that is still growing can reach the score of the worst of `width` finished hypotheses.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from evalkit.decoder.generation import first_stop, prefill
from evalkit.decoder.model import Decoder
from evalkit.decoder.tokenizer import Tokenizer
from evalkit.records import Completion, FinishReason, Generate


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """A beam: its tokens and the sum of their log-probabilities in nats."""

    ids: tuple[int, ...]
    logprob: float


@dataclass(slots=True)
class Beams:
    """The search for one prompt's answer."""

    request: Generate
    limit: int  # tokens the answer may have
    full: FinishReason  # why it ends there
    live: list[Hypothesis]  # the best first
    finished: list[tuple[float, Completion]] = field(default_factory=list)

    def penalised(self, logprob: float, length: int) -> float:
        """Score a hypothesis of `length` tokens."""
        penalty: float = ((5 + length) / 6) ** self.request.decoding.length_penalty
        return logprob / penalty

    def is_done(self) -> bool:
        """Whether no live beam can still enter the best `width` finished ones."""
        if not self.live:
            return True
        if len(self.finished) < self.request.decoding.beams:
            return False
        reachable = self.penalised(self.live[0].logprob, self.limit)  # log P only falls, the divisor only grows
        return self.finished[self.request.decoding.beams - 1][0] >= reachable

    def extend(self, candidates: Sequence[tuple[int, int, float]], tokenizer: Tokenizer) -> list[int]:
        """Take (beam, token, log P) candidates, the best first; give the beam that each new live one grew from."""
        width = self.request.decoding.beams
        live: list[Hypothesis] = []
        origins: list[int] = []
        for beam, token, logprob in candidates:
            grown = Hypothesis((*self.live[beam].ids, token), logprob)
            completion = self._completion(grown, tokenizer)
            if completion is not None:
                self.finished.append((self.penalised(logprob, len(grown.ids)), completion))
            elif len(live) < width:
                live.append(grown)
                origins.append(beam)
        self.finished.sort(key=lambda scored: -scored[0])
        self.live = live
        return origins

    def _completion(self, grown: Hypothesis, tokenizer: Tokenizer) -> Completion | None:
        """Give the answer where a hypothesis ends it."""
        text = tokenizer.decode(grown.ids)
        if grown.ids[-1] == tokenizer.end_of_text:
            return Completion(text, len(grown.ids), "end-of-text")
        if (cut := first_stop(text, self.request.stop)) is not None:
            return Completion(text[:cut], len(grown.ids), "stop")
        return Completion(text, len(grown.ids), self.full) if len(grown.ids) >= self.limit else None

    def best(self) -> Completion:
        """Give the finished hypothesis with the highest score."""
        return self.finished[0][1] if self.finished else Completion("", 0, self.full)


def search(
    decoder: Decoder, tokenizer: Tokenizer, prompts: Sequence[list[int]], requests: Sequence[Generate], *, window: int
) -> list[Completion]:
    """Answer requests of one beam width, all beams of all prompts in one batch."""
    beams = []
    for ids, request in zip(prompts, requests, strict=True):
        room = window - len(ids)
        limit = min(request.max_tokens, room)
        full: FinishReason = "max-tokens" if request.max_tokens <= room else "window"
        beams.append(Beams(request, limit, full, live=[Hypothesis((), 0.0)] if limit > 0 else []))
    capacity = max(len(ids) + search.limit for ids, search in zip(prompts, beams, strict=True))
    cache, hidden = prefill(decoder, prompts, capacity=capacity)
    active = [number for number, one in enumerate(beams) if not one.is_done()]
    if len(active) < len(beams):
        rows = torch.tensor(active, dtype=torch.long, device=hidden.device)
        cache.select(rows)
        hidden = hidden[rows]
    while active:
        origins: list[int] = []
        tokens: list[int] = []
        following: list[int] = []
        first = 0
        logprobs = decoder.logits(hidden).log_softmax(dim=-1)  # (beams of all prompts, V)
        for number in active:
            one = beams[number]
            scores = logprobs[first : first + len(one.live)].double()
            scores += torch.tensor([[beam.logprob] for beam in one.live], device=scores.device, dtype=scores.dtype)
            # Twice the width: at most one token of each beam can be end-of-text, so enough others remain.
            best = scores.flatten().topk(min(2 * one.request.decoding.beams, scores.numel()))
            picks = [divmod(place, scores.shape[1]) for place in best.indices.tolist()]
            candidates = [
                (beam, token, value) for (beam, token), value in zip(picks, best.values.tolist(), strict=True)
            ]
            grown_from = one.extend(candidates, tokenizer)
            if not one.is_done():
                following.append(number)
                origins += [first + beam for beam in grown_from]
                tokens += [beam.ids[-1] for beam in one.live]
            first += scores.shape[0]
        active = following
        if active:
            cache.select(torch.tensor(origins, device=hidden.device))
            hidden = decoder(torch.tensor(tokens, device=hidden.device)[:, None], cache=cache)[:, -1]
            cache.advance()
    return [one.best() for one in beams]

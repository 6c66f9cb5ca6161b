"""Beam search with GNMT's length penalty (Wu 2016, eq. 14), as GPT-3 used it for free-form tasks: width 4, alpha 0.6.

A hypothesis of n tokens, end-of-text or stop string included, scores log P / ((5 + n) / 6) ** alpha. The search for a
prompt ends when no beam that is still growing can reach the score of the worst of `width` finished hypotheses.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from evalkit.decoder.tokenizer import Tokenizer
from evalkit.records import Completion, FinishReason, Generate


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """A beam: the bytes of its tokens and the sum of their log-probabilities in nats."""

    last: int  # its last token
    tokens: int
    text: bytes
    logprob: float


class Beams:
    """The search for one prompt's answer."""

    def __init__(self, request: Generate, tokenizer: Tokenizer, *, room: int) -> None:
        """Begin with an empty hypothesis; `room` is what the window has left."""
        self.request = request
        self.width = request.decoding.beams
        self.limit = min(request.max_tokens, room)
        self._full: FinishReason = "max-tokens" if request.max_tokens <= room else "window"
        self._tokenizer = tokenizer
        self._stops = [string.encode() for string in request.stop if string]
        self._longest_stop = max(map(len, self._stops), default=0)
        self.live = [Hypothesis(-1, 0, b"", 0.0)] if self.limit > 0 else []  # the best first
        self.finished: list[tuple[float, Completion]] = []

    @property
    def ends(self) -> frozenset[int]:
        """Give the tokens that end a text."""
        return self._tokenizer.ends

    @property
    def rows(self) -> int:
        """Count the beams that grow."""
        return len(self.live)

    @property
    def is_done(self) -> bool:
        """Whether no live beam can still enter the best `width` finished ones."""
        if not self.live:
            return True
        if len(self.finished) < self.width:
            return False
        reachable = self.penalised(self.live[0].logprob, self.limit)  # log P only falls, the divisor only grows
        return self.finished[self.width - 1][0] >= reachable

    def penalised(self, logprob: float, length: int) -> float:
        """Score a hypothesis of `length` tokens."""
        penalty: float = ((5 + length) / 6) ** self.request.decoding.length_penalty
        return logprob / penalty

    def extend(self, candidates: Sequence[tuple[int, int, float]]) -> list[int]:
        """Take (beam, token, log P) candidates, the best first; give the beam that each new live one grew from."""
        live: list[Hypothesis] = []
        origins: list[int] = []
        for beam, token, logprob in candidates:
            before = self.live[beam]
            grown = Hypothesis(token, before.tokens + 1, before.text + self._tokenizer.bytes_of(token), logprob)
            completion = self._completion(grown, begin=len(before.text))
            if completion is not None:
                self.finished.append((self.penalised(logprob, grown.tokens), completion))
            elif len(live) < self.width:
                live.append(grown)
                origins.append(beam)
        self.finished.sort(key=lambda scored: -scored[0])
        self.live = live
        return origins

    def _completion(self, grown: Hypothesis, *, begin: int) -> Completion | None:
        """Give the answer where a hypothesis ends it with the bytes from `begin` on."""
        finish: FinishReason | None = None
        text = grown.text
        searched = max(0, begin - self._longest_stop + 1)
        stops = [place for stop in self._stops if (place := text.find(stop, searched)) >= 0]
        if grown.last in self._tokenizer.ends:
            finish, text = "end-of-text", text[:begin]
        elif stops:
            finish, text = "stop", text[: min(stops)]
        elif grown.tokens >= self.limit:
            finish = self._full
        return None if finish is None else Completion(text.decode(errors="replace"), grown.tokens, finish)

    def completion(self) -> Completion:
        """Give the finished hypothesis with the highest score."""
        return self.finished[0][1] if self.finished else Completion("", 0, self._full)


def advance(searches: Sequence[tuple[Beams, int]], logits: Tensor) -> list[list[int]]:
    """Take one step of searches whose live beams lie in logits (N, V) from a row on; give each one's `extend`."""
    if not searches:
        return []
    logprobs = logits.log_softmax(dim=-1)
    origins: dict[int, list[int]] = {}
    alike: dict[tuple[int, int], list[int]] = defaultdict(list)  # searches of one width and number of live beams
    for place, (search, _) in enumerate(searches):
        alike[search.width, search.rows].append(place)
    vocabulary = logits.shape[1]
    for (width, rows), places in alike.items():
        taken = [searches[place][1] + row for place in places for row in range(rows)]
        before = torch.tensor(
            [beam.logprob for place in places for beam in searches[place][0].live],
            dtype=torch.float64,
            device="cpu" if logits.device.type == "mps" else logits.device,
        )
        scores = logprobs[taken].to(before.device, torch.float64) + before[:, None]
        scores = scores.view(len(places), rows * vocabulary)
        # So many that enough remain where as many as there are of each beam end its text.
        ends = len(searches[places[0]][0].ends)
        best = scores.topk(min((1 + ends) * width, scores.shape[1]))
        for place, indices, values in zip(places, best.indices.tolist(), best.values.tolist(), strict=True):
            candidates = [
                (index // vocabulary, index % vocabulary, value) for index, value in zip(indices, values, strict=True)
            ]
            origins[place] = searches[place][0].extend(candidates)
    return [origins[place] for place in range(len(searches))]

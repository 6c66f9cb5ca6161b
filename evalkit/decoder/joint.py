"""What one decoder makes of a text, and what it would make of tokens that another decoder draws in its place."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from evalkit.decoder import finite, rolling
from evalkit.decoder.device import reported_memory
from evalkit.decoder.engine import DecoderModel
from evalkit.decoder.model import Decoder
from evalkit.decoder.scoring import LEAST, LOGITS_AT_ONCE
from evalkit.decoder.tokenizer import Tokenizer
from evalkit.errors import UsageError
from evalkit.records import PerToken


@dataclass(frozen=True, slots=True)
class JointScores:
    """Of each token of a text, in order: its log-probability, and that of a token drawn in its place."""

    logprobs: tuple[float, ...]  # nats, by the decoder that judges
    means: tuple[float, ...]  # of the same for a token that the other decoder draws; minus the cross-entropy
    variances: tuple[float, ...]  # of the same, in nats squared


class TwoModels:
    """A model that judges tokens and another that draws them; they share a vocabulary."""

    def __init__(self, judge: DecoderModel, other: DecoderModel) -> None:
        """Take two models; UsageError where their tokenizers do not give equal ids to equal tokens."""
        if complaint := _difference(judge.tokenizer, other.tokenizer):
            raise UsageError(f"{judge.name} and {other.name} {complaint}; {ADVICE}")
        self._judge = judge
        self._other = other

    def check(self, requests: Iterable[PerToken]) -> None:
        """Raise what can be told of requests before any is scored.

        WindowError where a window is too long for one of the models, UsageError where they tokenize a text differently.
        """
        for request in requests:
            self._tokenize(request)

    def score(self, request: PerToken) -> JointScores:
        """Score every token of a text in the request's windows.

        Raises what `check` does, CheckpointError where numbers are not finite, ModelMemoryError where a window is too
        large.
        """
        judge, other = self._judge, self._other
        text = self._tokenize(request)
        with reported_memory("use smaller models or a smaller --window"):
            parts = [score(judge.decoder, other.decoder, span.ids, start=span.start) for span in rolling.spans(text)]
        found = JointScores(
            logprobs=tuple(value for part in parts for value in part.logprobs),
            means=tuple(value for part in parts for value in part.means),
            variances=tuple(value for part in parts for value in part.variances),
        )
        for model, numbers in ((judge, found.logprobs), (other, found.means)):
            finite.check(numbers, name=model.name, dtype=model.decoder.tokens.dtype)
        return found

    def _tokenize(self, request: PerToken) -> rolling.Text:
        """Cut a text into the tokens that both models see."""
        judge, other = self._judge, self._other
        for model in (judge, other):
            rolling.check(request, name=model.name, window=model.window)
        text = rolling.tokenize(judge.tokenizer, request)
        if text.ids != rolling.tokenize(other.tokenizer, request).ids:
            raise UsageError(f"{judge.name} and {other.name} cut {request.text[:40]!r} into other tokens; {ADVICE}")
        return text


ADVICE = "expected one vocabulary; give two models of a family, which share a tokenizer"


def _difference(one: Tokenizer, other: Tokenizer) -> str | None:
    """Say in what two tokenizers differ, as far as their vocabularies tell; None where they do not."""
    first, second = (each.backend.get_vocab(with_added_tokens=True) for each in (one, other))
    if first != second:
        odd = sum(second.get(token) != place for token, place in first.items())
        odd += sum(token not in first for token in second)
        return f"differ in {odd:,} of {len(first):,} and {len(second):,} tokens"
    begins = [each.end_of_text if each.start is None else each.start for each in (one, other)]
    return None if begins[0] == begins[1] else "begin texts with other tokens"


@torch.inference_mode()
def score(
    judge: Decoder, other: Decoder, ids: Sequence[int], *, start: int, at_once: int = LOGITS_AT_ONCE
) -> JointScores:
    """Score the ids from place `start` on, each in the context of those before it; both decoders read the same ids.

    Logits are there for some positions at a time, in two tensors of `at_once` numbers together. Where one decoder's
    vocabulary is padded further than the other's, tokens that only one knows are left out of both.
    """
    if not 1 <= start <= len(ids):
        raise ValueError(f"found place {start} of {len(ids)} ids, expected 1 or more, so that there is a context")
    places = list(range(start - 1, len(ids) - 1))
    if not places:
        return JointScores((), (), ())
    of_judge, of_other = (_hidden(each, ids[:-1], places) for each in (judge, other))  # (T, d) each
    device = of_judge.device
    targets = torch.tensor(ids[start:], device=device)
    vocabulary = min(judge.config.vocab_size, other.config.vocab_size)
    size = max(1, at_once // (2 * max(judge.config.vocab_size, other.config.vocab_size)))
    logprobs: list[float] = []
    means: list[float] = []
    variances: list[float] = []
    for begin in range(0, len(places), size):
        judged = judge.logits(of_judge[begin : begin + size])[:, :vocabulary].log_softmax(dim=1)  # (n, V)
        drawn = other.logits(of_other[begin : begin + size])[:, :vocabulary].softmax(dim=1).to(device)
        logprobs += judged.gather(1, targets[begin : begin + size, None]).squeeze(1).tolist()
        judged.clamp_(min=LEAST)  # what is never drawn adds 0, not 0 times infinity
        mean = (drawn * judged).sum(dim=1)
        means += mean.tolist()
        variances += drawn.mul_(judged.sub_(mean[:, None]).square_()).sum(dim=1).tolist()
    return JointScores(tuple(logprobs), tuple(means), tuple(variances))


def _hidden(decoder: Decoder, ids: Sequence[int], places: Sequence[int]) -> Tensor:
    """Give the hidden states (T, d) at the places of one sequence."""
    device = decoder.tokens.device
    wanted = torch.tensor([places], device=device)
    return decoder(torch.tensor([ids], device=device), wanted=wanted)[0]  # type: ignore[no-any-return]  # untyped call

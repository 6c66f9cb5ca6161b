"""Log-likelihoods: one forward over context and continuation, logits at the continuation's positions alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from evalkit.decoder.model import Decoder
from evalkit.records import LogProb

LOGIT_POSITIONS = 2048  # scored at once: (2048, V) is the largest tensor that scoring makes


@dataclass(frozen=True, slots=True)
class Span:
    """Token ids of a text, and where its continuation begins."""

    ids: list[int]
    start: int  # position of the continuation's first token; the number of ids where there is no continuation
    bytes: int  # of the continuation in UTF-8
    boundary_merged: bool  # the continuation's first token begins in the context


def score(decoder: Decoder, spans: Sequence[Span]) -> list[LogProb]:
    """Score the continuations of a batch in one forward."""
    device = decoder.tokens.device
    # The last token predicts nothing that is asked for, so it is not computed.
    rows = [torch.tensor(span.ids[:-1]) for span in spans]
    places = [torch.arange(span.start - 1, len(span.ids) - 1) for span in spans]
    wanted = pad_sequence(places, batch_first=True).to(device)  # (B, Q); what pads it is not read below
    hidden = decoder(pad_sequence(rows, batch_first=True).to(device), wanted=wanted)  # (B, Q, d)
    filled = torch.arange(wanted.shape[1]) < torch.tensor([len(place) for place in places])[:, None]  # (B, Q)
    target = [token for span in spans for token in span.ids[span.start :]]
    totals, greedy = token_logprobs(decoder, hidden[filled.to(device)], torch.tensor(target, device=device))
    results, begin = [], 0
    for span in spans:
        end = begin + len(span.ids) - span.start
        results.append(
            LogProb(
                total=sum(totals[begin:end]),
                tokens=end - begin,
                bytes=span.bytes,
                is_greedy=all(greedy[begin:end]),
                boundary_merged=span.boundary_merged,
            )
        )
        begin = end
    return results


def token_logprobs(decoder: Decoder, hidden: Tensor, targets: Tensor) -> tuple[list[float], list[bool]]:
    """Give each target's log-probability in nats and whether it is the likeliest token; hidden (N, d), targets (N,)."""
    logprobs: list[float] = []
    greedy: list[bool] = []
    for begin in range(0, len(targets), LOGIT_POSITIONS):
        logits = decoder.logits(hidden[begin : begin + LOGIT_POSITIONS])  # (n, V)
        wanted = targets[begin : begin + LOGIT_POSITIONS]
        chosen = logits.gather(1, wanted[:, None]).squeeze(1) - logits.logsumexp(dim=1)
        logprobs += chosen.double().tolist()
        greedy += (logits.argmax(dim=1) == wanted).tolist()
    return logprobs, greedy

"""What a decoder makes of tokens, from the hidden states before them; never of more positions than are asked for."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from evalkit.decoder.model import Decoder

LOGITS_AT_ONCE = 2**23  # numbers of the largest tensor that scoring makes
LEAST = -1000.0  # of a log-probability: its exponential is 0 in any format, and its square is finite in any


@dataclass(frozen=True, slots=True)
class Scored:
    """What was found of targets (M), and of those of them that are described (D)."""

    logprobs: list[float]  # (M), nats
    greedy: list[bool]  # (M), whether it is the likeliest token
    ranks: list[int]  # (D), 1 is the likeliest token
    entropies: list[float]  # (D), nats
    variances: list[float]  # (D), of the log-probability of a token drawn, in nats squared


def score_tokens(
    decoder: Decoder, hidden: Tensor, *, rows: Sequence[int], targets: Sequence[int], described: Sequence[int]
) -> Scored:
    """Score targets; describe those whose places among them are in `described` (D), ascending.

    Target m (M) follows the hidden state `rows[m]`, ascending, of (N, d): logits are computed once for all targets of
    a state, for some states at a time.
    """
    logprobs: list[float] = []
    greedy: list[bool] = []
    ranks: list[int] = []
    entropies: list[float] = []
    variances: list[float] = []
    device = hidden.device
    wanted, owner = torch.tensor(targets, device=device), torch.tensor(rows, device=device)
    size = max(1, LOGITS_AT_ONCE // decoder.config.vocab_size)
    for begin in range(0, len(hidden), size):
        logits = decoder.logits(hidden[begin : begin + size])  # (n, V)
        first, last = bisect_left(rows, begin), bisect_left(rows, begin + size)
        places, chosen = owner[first:last] - begin, wanted[first:last]
        logprobs += (logits[places, chosen] - logits.logsumexp(dim=1)[places]).tolist()
        greedy += (logits.argmax(dim=1)[places] == chosen).tolist()
        asked = described[bisect_left(described, first) : bisect_left(described, last)]
        if asked:
            taken = torch.tensor(asked, device=device) - first
            found = describe(logits, rows=places[taken], targets=chosen[taken])
            ranks += found[0]
            entropies += found[1]
            variances += found[2]
    return Scored(logprobs, greedy, ranks, entropies, variances)


def describe(logits: Tensor, *, rows: Tensor, targets: Tensor) -> tuple[list[int], list[float], list[float]]:
    """Give the rank of each target (M) among the logits (N, V) of its row, and entropy and variance of that row.

    Rank 1 is the likeliest token; only strictly larger logits are better. The entropy is in nats, the variance, of the
    log-probability of a token drawn from the row, in nats squared: the sum of p (log p + entropy)^2.
    """
    ranks: list[int] = []
    entropies: list[float] = []
    variances: list[float] = []
    size = max(1, len(logits) // 3)  # so that the rows taken, exponentials and products fill no more than the logits do
    for begin in range(0, len(rows), size):
        taken = logits[rows[begin : begin + size]]  # (m, V)
        ranks += (1 + (taken > taken.gather(1, targets[begin : begin + size, None])).sum(dim=1)).tolist()
        # Below the largest logit, all is summed with one sign; and what cannot come adds 0, not 0 times infinity.
        taken.sub_(taken.amax(dim=1, keepdim=True)).clamp_(min=LEAST)
        shares = taken.exp()
        total = shares.sum(dim=1)
        mean = (shares * taken).sum(dim=1) / total
        entropies += (total.log() - mean).tolist()
        # Squares of deviations, as the mean square minus the squared mean loses all digits where both are large.
        variances += (shares.mul_(taken.sub_(mean[:, None]).square_()).sum(dim=1) / total).tolist()
    return ranks, entropies, variances

"""Log-probabilities of tokens, from the hidden states before them; never of more positions than are asked for."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from evalkit.decoder.model import Decoder

LOGITS_AT_ONCE = 2**23  # numbers of the largest tensor that scoring makes


def token_logprobs(
    decoder: Decoder, hidden: Tensor, *, rows: Sequence[int], targets: Sequence[int]
) -> tuple[list[float], list[bool]]:
    """Give each target's log-probability in nats, and whether it is the likeliest token.

    Target m (M) follows the hidden state `rows[m]`, ascending, of (N, d): logits are computed once for all targets of
    a state, for some states at a time.
    """
    logprobs: list[float] = []
    greedy: list[bool] = []
    device = hidden.device
    wanted, owner = torch.tensor(targets, device=device), torch.tensor(rows, device=device)
    size = max(1, LOGITS_AT_ONCE // decoder.config.vocab_size)
    for begin in range(0, len(hidden), size):
        logits = decoder.logits(hidden[begin : begin + size])  # (n, V)
        first, last = torch.searchsorted(owner, torch.tensor([begin, begin + size], device=device)).tolist()
        places, chosen = owner[first:last] - begin, wanted[first:last]
        found = logits[places, chosen] - logits.logsumexp(dim=1)[places]
        logprobs += found.double().tolist()
        greedy += (logits.argmax(dim=1)[places] == chosen).tolist()
    return logprobs, greedy

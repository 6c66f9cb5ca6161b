"""The rule that picks the next token: greedy, temperature, top-k, top-p.

One uniform number a token decides a draw, and it comes from the request's own generator: what else is in the batch
cannot change it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from evalkit.records import Decoding


def pick(logits: Tensor, rules: Sequence[Decoding], uniforms: Sequence[float]) -> Tensor:
    """Pick a token (B,) from logits (B, V), each row by its own rule and its own number in [0, 1)."""
    likeliest = logits.argmax(dim=-1)
    drawn = [row for row, rule in enumerate(rules) if not is_greedy(rule)]
    if not drawn:
        return likeliest
    rows = put(drawn, device=logits.device, dtype=torch.long)
    probabilities = distribution(logits[rows], [rules[row] for row in drawn])
    numbers = put([uniforms[row] for row in drawn], device=probabilities.device, dtype=probabilities.dtype)
    return likeliest.index_copy(0, rows, invert(probabilities, numbers).to(likeliest.device))


def put(numbers: Sequence[float], *, device: torch.device, dtype: torch.dtype) -> Tensor:
    """Put numbers (N) on a device; a GPU is not waited for, so that it may be computing what came before."""
    made = torch.tensor(numbers, dtype=dtype)
    return made.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else made.to(device)


def is_greedy(rule: Decoding) -> bool:
    """Whether the rule always takes the likeliest token."""
    return rule.temperature == 0 or rule.top_k == 1


def distribution(logits: Tensor, rules: Sequence[Decoding]) -> Tensor:
    """Turn logits (B, V) into probabilities (B, V), in float64, after temperature, top-k and top-p in this order."""
    if logits.device.type == "mps":  # which has no float64
        logits = logits.cpu()
    temperatures = put([rule.temperature for rule in rules], device=logits.device, dtype=torch.float64)
    probabilities = torch.softmax(logits.double() / temperatures[:, None], dim=-1)
    if all(rule.top_k is None and rule.top_p is None for rule in rules):
        return probabilities
    ordered, order = probabilities.sort(dim=-1, descending=True, stable=True)
    vocabulary = logits.shape[-1]
    counts = put([rule.top_k or vocabulary for rule in rules], device=logits.device, dtype=torch.long)
    kept = torch.arange(vocabulary, device=logits.device) < counts[:, None]
    ordered = torch.where(kept, ordered, 0.0)
    ordered = ordered / ordered.sum(dim=-1, keepdim=True)
    masses = put([rule.top_p or 1.0 for rule in rules], device=logits.device, dtype=torch.float64)
    before = ordered.cumsum(dim=-1) - ordered  # mass ahead of each token: the token that crosses top_p is kept
    ordered = torch.where(before < masses[:, None], ordered, 0.0)
    ordered = ordered / ordered.sum(dim=-1, keepdim=True)
    return torch.zeros_like(ordered).scatter(1, order, ordered)


def invert(probabilities: Tensor, numbers: Tensor) -> Tensor:
    """Find the token (B,) at which the cumulative distribution (B, V) passes each number (B,)."""
    cumulative = probabilities.cumsum(dim=-1)
    cumulative = cumulative / cumulative[:, -1:]
    return (
        torch.searchsorted(cumulative, numbers[:, None], right=True).squeeze(1).clamp_(max=probabilities.shape[1] - 1)
    )

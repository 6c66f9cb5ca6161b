"""torch's attention over sequences that lie end to end, on GPUs that have it, once it was seen to be right there."""

from __future__ import annotations

from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

LARGEST_HEAD = 256
CLOSE = 0.05  # of half-precision numbers of size 1; a wrong mask moves them by several times as much
TRIED = ((7, 40), (None, 3))  # a band and a scale's divisor that are tried: bands and scales both count


def fits(query: Tensor) -> bool:
    """Say whether queries (..., H, D) in any layout can be computed."""
    size = query.shape[-1]
    is_half = query.dtype in (torch.bfloat16, torch.float16)
    if query.device.type != "cuda" or not is_half or size % 8 or size > LARGEST_HEAD:
        return False
    return not (query.requires_grad and torch.is_grad_enabled()) and is_right(query.device, query.dtype, size)


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    starts: Tensor,
    longest: int,
    band: int | None,
    scale: float | None,
) -> Tensor:
    """Attend causally from (N, H, D) to keys and values (N, H, D) of sequences that begin at `starts` (int32)."""
    from torch.nn.attention.varlen import varlen_attn

    window = (-1 if band is None else band - 1, 0)  # keys before a query's own, and after it
    mixed = varlen_attn(query, key, value, starts, starts, longest, longest, scale=scale, window_size=window)
    assert isinstance(mixed, Tensor)
    return mixed


@cache
def is_right(device: torch.device, dtype: torch.dtype, size: int) -> bool:
    """Try it on two short sequences against plain attention: versions of torch differ in what they take."""
    lengths = (30, 11)
    starts = torch.tensor([0, lengths[0], sum(lengths)], device=device, dtype=torch.int32)
    generator = torch.Generator().manual_seed(0)
    drawn = torch.randn(3, sum(lengths), 2, size, generator=generator).to(device, dtype)  # (q k v, N, H, D)
    place = torch.arange(sum(lengths), device=device)
    owner = (place >= lengths[0]).long()
    for band, divisor in TRIED:
        seen = (owner[:, None] == owner) & (place <= place[:, None])
        if band is not None:
            seen &= place > place[:, None] - band
        query, key, value = drawn.float().transpose(1, 2)  # (H, N, D) each
        expected = F.scaled_dot_product_attention(query, key, value, attn_mask=seen, scale=1 / divisor).transpose(0, 1)
        try:
            found = attend(*drawn, starts=starts, longest=max(lengths), band=band, scale=1 / divisor)
        except (ImportError, TypeError, ValueError, RuntimeError):  # not there, of other arguments, or another device's
            return False
        if not torch.allclose(found.float(), expected, atol=CLOSE, rtol=CLOSE):
            return False
    return True

"""Where the CPU's own kernels take over from torch: which tensors they fit, and how tensors become their arguments."""

from __future__ import annotations

import importlib.util
import math
import struct
from functools import cache

import torch
from torch import Tensor

LEAST_QUERIES = 8  # fewer leave most lanes of a block of queries without work
LEAST_WORK = 2**18  # scores of one call; fewer are not worth the compiling
LARGEST_HEAD = 256
LONG = 512  # keys from which on it pays to lay those of a head beside each other


def fits(query: Tensor, keys: int) -> bool:
    """Say whether attention from queries (B, H, Q, D) to so many keys can be computed, and is worth it."""
    batch, heads, queries, size = query.shape
    return (
        queries >= LEAST_QUERIES
        and batch * heads * queries * keys >= LEAST_WORK
        and size % 4 == 0
        and size <= LARGEST_HEAD
        and query.dtype == torch.float32
        and _is_plain(query)
    )


def attend(
    query: Tensor,
    own: tuple[Tensor, Tensor],
    *,
    last: Tensor,
    band: int | None,
    scale: float | None,
    shared: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """Attend from (B, H, Q, D) to own keys and values (B, G, S, D) and to those (1, G, P, D) that all rows share.

    A query sees the shared keys and those of its own up to `last` (1 or B, Q): within a band that many of them.
    """
    from evalkit.decoder.kernels import attention

    batch, heads, queries, size = query.shape
    keys, values = (_laid(each) for each in own)
    nothing = keys[:1, :, :0]
    shared_keys, shared_values = (nothing, nothing) if shared is None else shared
    end = (last + 1).to(torch.int32).contiguous()
    first = torch.zeros_like(end) if band is None else (end - band).clamp_(min=0)
    mixed = query.new_empty(batch, queries, heads, size).transpose(1, 2)
    query = query if query.stride(3) == 1 else query.contiguous()
    binary = (1 / math.sqrt(size) if scale is None else scale) * math.log2(math.e)
    attention.compiled(size).run(
        [
            *(query.data_ptr(), *query.stride()[:3]),
            *(mixed.data_ptr(), *mixed.stride()[:3]),
            *(shared_keys.data_ptr(), *shared_keys.stride()[1:3]),
            *(shared_values.data_ptr(), *shared_values.stride()[1:3]),
            *(keys.data_ptr(), *keys.stride()[:3]),
            *(values.data_ptr(), *values.stride()[:3]),
            *(first.data_ptr(), end.data_ptr(), 0 if len(end) == 1 else queries),
            *(batch, heads, heads // keys.shape[1], queries, shared_keys.shape[2]),
            struct.unpack("<i", struct.pack("<f", binary))[0],
        ]
    )
    return mixed


def gelu(x: Tensor) -> bool:
    """Apply GELU's tanh form to every number of x in place, and say so; False where the kernel does not fit."""
    is_half = x.dtype == torch.bfloat16
    if not ((is_half or x.dtype == torch.float32) and _is_plain(x) and x.is_contiguous() and x.numel() >= LEAST_WORK):
        return False
    from evalkit.decoder.kernels import gelu as kernel
    from evalkit.decoder.kernels.compiled import lanes

    if x.numel() % lanes():
        return False
    kernel.compiled(is_half=is_half).run([x.data_ptr(), x.numel()])
    return True


def _is_plain(x: Tensor) -> bool:
    is_kept = x.requires_grad and torch.is_grad_enabled()
    return x.device.type == "cpu" and not is_kept and _is_there()


def _laid(x: Tensor) -> Tensor:
    """Lay the numbers of each key beside each other, and those of many keys of a head."""
    is_far = x.stride(2) != x.shape[3] and x.shape[2] >= LONG
    return x.contiguous() if is_far or x.stride(3) != 1 else x


@cache
def _is_there() -> bool:
    return importlib.util.find_spec("llvmlite") is not None

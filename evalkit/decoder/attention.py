"""Causal attention over whole sequences and over a KV cache, dense or within a band.

A band of W lets a token attend to the W tokens that end with itself (Child 2019's local pattern, as GPT-Neo counts it).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def attend(query: Tensor, key: Tensor, value: Tensor, *, band: int | None, scale: float | None) -> Tensor:
    """Attend within sequences that begin at the first key; all arguments and the result are (B, H, T, D)."""
    if band is None or query.shape[2] <= band:
        return F.scaled_dot_product_attention(query, key, value, is_causal=True, scale=scale)
    return attend_in_band(query, key, value, band=band, scale=scale)


def attend_in_band(query: Tensor, key: Tensor, value: Tensor, *, band: int, scale: float | None) -> Tensor:
    """Cut T into chunks of `band` queries, each of which sees its own chunk and the one before.

    Work grows with T x 2 band, not with T squared, on any device and without a compiler.
    """
    batch, heads, tokens, size = query.shape
    chunks = -(-tokens // band)
    padding = chunks * band - tokens
    if padding:
        query, key, value = (F.pad(x, (0, 0, 0, padding)) for x in (query, key, value))
    shape = (batch, heads * chunks, band, size)
    mask = band_mask(band, query.device).expand(chunks, -1, -1).clone()
    mask[0, :, :band] = False  # before the first chunk there are only the zeros that _with_previous puts there
    mixed = F.scaled_dot_product_attention(
        query.reshape(shape),
        _with_previous(key, chunks, band),
        _with_previous(value, chunks, band),
        attn_mask=mask.repeat(heads, 1, 1),  # (H * chunks, W, 2W), the same for every row
        scale=scale,
    )
    return mixed.reshape(batch, heads, chunks * band, size)[:, :, :tokens]


def _with_previous(x: Tensor, chunks: int, band: int) -> Tensor:
    """Put before each chunk of (B, H, chunks * W, D) the one before it: (B, H * chunks, 2W, D)."""
    batch, heads, _, size = x.shape
    padded = F.pad(x, (0, 0, band, 0)).unfold(2, 2 * band, band)  # (B, H, chunks, D, 2W)
    return padded.transpose(-1, -2).reshape(batch, heads * chunks, 2 * band, size)


def band_mask(band: int, device: torch.device) -> Tensor:
    """Say which of 2W keys each of the last W queries may see: (W, 2W), True where it may."""
    query = torch.arange(band, 2 * band, device=device)[:, None]
    key = torch.arange(2 * band, device=device)[None, :]
    return (key <= query) & (key > query - band)


def visible_from(positions: Tensor, keys: int, *, band: int | None) -> Tensor:
    """Say which of the first `keys` keys (S) each position (B, Q) may see: (B, 1, Q, S), True where it may."""
    key = torch.arange(keys, device=positions.device)
    mask = key <= positions[:, :, None]
    if band is not None:
        mask &= key > positions[:, :, None] - band
    return mask[:, None]


def attend_masked(query: Tensor, key: Tensor, value: Tensor, *, mask: Tensor | None, scale: float | None) -> Tensor:
    """Attend from (B, H, Q, D) to keys and values (B, H, S, D); mask (B or 1, 1, Q, S), True where allowed."""
    return F.scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=scale)

"""Causal attention over whole sequences, over a KV cache, and over a prefix that rows share; dense or within a band.

A band of W lets a token attend to the W tokens that end with itself (Child 2019's local pattern, as GPT-Neo counts it).
Shapes: B batch, H heads, G heads of keys and values, T and Q queries, S keys, D head size.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor

from evalkit.decoder import fused, varlen

CAPPED_QUERIES = 256  # whose scores are in memory at a time, where they are capped


@dataclass(frozen=True, slots=True)
class Scores:
    """How a score is made of query and key."""

    scale: float | None = None  # None: 1 / sqrt(D)
    cap: float | None = None  # s becomes cap tanh(s / cap), as in Gemma 2


@contextmanager
def ready_kernels() -> Iterator[None]:
    """Let torch take no attention of cuDNN's meanwhile, which plans anew for every shape.

    A plan takes some hundredths of a second or more, shapes of prompts are seldom seen twice, and a step's grows.
    """
    was_enabled = torch.backends.cuda.cudnn_sdp_enabled()  # type: ignore[no-untyped-call]  # torch's own
    torch.backends.cuda.enable_cudnn_sdp(False)
    try:
        yield
    finally:
        torch.backends.cuda.enable_cudnn_sdp(was_enabled)


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    band: int | None,
    scores: Scores,
    last: Tensor | None = None,
    prefix: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """Attend from (B, H, Q, D) to keys and values (B, G, S, D) up to the one that is each query's `last` (1 or B, Q).

    Without it there are as many queries as keys, each of which is its own last one. Every query sees all of a prefix
    (1, G, P, D) besides.
    """
    keys = key.shape[2] + (0 if prefix is None else prefix[0].shape[2])
    is_fused = scores.cap is None and fused.fits(query, keys)
    is_whole = last is None
    if last is None:
        last = torch.arange(query.shape[2], device=query.device)[None]
    if is_fused:
        return fused.attend(query, (key, value), last=last, band=band, scale=scores.scale, shared=prefix)
    if prefix is not None:
        mask = None if is_whole and band is None else visible_from(last, key.shape[2], band=band)
        return attend_after_prefix(query, (key, value), prefix, mask=mask, scores=scores)
    if not is_whole or scores.cap is not None:
        mask = visible_from(last, key.shape[2], band=band)
        return attend_masked(query, key, value, mask=mask, scores=scores)
    if band is not None and query.shape[2] > band and varlen.fits(query):
        return attend_in_rows(query, key, value, band=band, scale=scores.scale)
    key, value = spread(key, query), spread(value, query)
    if band is None or query.shape[2] <= band:
        return F.scaled_dot_product_attention(query, key, value, is_causal=True, scale=scores.scale)
    return attend_in_band(query, key, value, band=band, scale=scores.scale)


def attend_packed(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    starts: Tensor,
    longest: int,
    band: int | None,
    scale: float | None,
) -> Tensor:
    """Attend causally within sequences that lie end to end: from (N, H, D) to keys and values (N, G, D).

    They begin at `starts` (sequences + 1, int32, the last is N), and the longest has so many tokens. Nothing is padded
    where the device has a kernel for it; elsewhere one is computed after the other.
    """
    if varlen.fits(query):
        repeats = query.shape[1] // key.shape[1]
        if repeats > 1:
            key, value = key.repeat_interleave(repeats, dim=1), value.repeat_interleave(repeats, dim=1)
        return varlen.attend(query, key, value, starts=starts, longest=longest, band=band, scale=scale)
    parts = []
    for begin, end in pairwise(starts.tolist()):
        some = (x[begin:end].transpose(0, 1)[None] for x in (query, key, value))  # (1, H or G, T, D)
        parts.append(attend(*some, band=band, scores=Scores(scale))[0].transpose(0, 1))
    return torch.cat(parts)


def attend_in_rows(query: Tensor, key: Tensor, value: Tensor, *, band: int, scale: float | None) -> Tensor:
    """Attend within a band from (B, H, T, D) as if the rows lay end to end."""
    batch, _, tokens, _ = query.shape
    starts = torch.arange(0, (batch + 1) * tokens, tokens, device=query.device, dtype=torch.int32)
    laid = (x.transpose(1, 2).flatten(0, 1) for x in (query, key, value))  # (B T, H or G, D)
    mixed = attend_packed(*laid, starts=starts, longest=tokens, band=band, scale=scale)
    return mixed.view(batch, tokens, *mixed.shape[1:]).transpose(1, 2)


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


def attend_masked(query: Tensor, key: Tensor, value: Tensor, *, mask: Tensor | None, scores: Scores) -> Tensor:
    """Attend from (B, H, Q, D) to keys and values (B, G, S, D); mask (B or 1, 1, Q, S), True where allowed."""
    batch, heads, queries, size = query.shape
    groups = key.shape[1]
    if queries == 1 and groups < heads:  # the queries that share a head of keys are laid beside each other instead
        folded = query.reshape(batch, groups, heads // groups, size)
        return attend_masked(folded, key, value, mask=mask, scores=scores).reshape(query.shape)
    key, value = spread(key, query), spread(value, query)
    if scores.cap is not None:
        return _attend_capped(query, key, value, mask=mask, scores=scores)
    return F.scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=scores.scale)


def attend_one(
    query: Tensor,
    own: tuple[Tensor, Tensor],
    *,
    bias: Tensor,
    scores: Scores,
    prefix: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """Attend from a token a row (B, H, 1, D) to own keys and values (B, G, S, D) and to shared ones (1, G, P, D).

    The bias (B, 1, 1, P + S), 0 or minus infinity, is added to the scores. Nothing here depends on numbers that lie on
    the device, so that the work can be recorded and done again.
    """
    batch, heads, _, size = query.shape
    groups = own[0].shape[1]
    folded = query.reshape(batch, groups, -1, size)  # (B, G, F, D): the queries that share a head of keys
    if prefix is None and scores.cap is None:
        mixed = F.scaled_dot_product_attention(folded, *own, attn_mask=bias, scale=scores.scale)
        return mixed.reshape(batch, heads, 1, size)
    made = _made(folded, own[0], None, scores)  # (B, G, F, S)
    if prefix is None:
        return ((made + bias).softmax(dim=-1).to(query.dtype) @ own[1]).reshape(batch, heads, 1, size)
    key, value = prefix
    together = folded.transpose(0, 1).reshape(1, groups, -1, size)  # as if the rows' queries were one row's
    shared = _made(together, key, None, scores).view(groups, batch, -1, key.shape[2]).transpose(0, 1)
    shares = (torch.cat([shared, made], dim=-1) + bias).softmax(dim=-1).to(query.dtype)
    of_prefix, of_own = torch.split(shares, [key.shape[2], own[0].shape[2]], dim=-1)
    mixed = of_prefix.transpose(0, 1).reshape(1, groups, -1, key.shape[2]) @ value  # (1, G, B F, D)
    both = mixed.view(groups, batch, -1, size).transpose(0, 1) + of_own @ own[1]
    return both.reshape(batch, heads, 1, size)


def attend_after_prefix(
    query: Tensor,
    own: tuple[Tensor, Tensor],
    prefix: tuple[Tensor, Tensor],
    *,
    mask: Tensor | None,
    scores: Scores,
) -> Tensor:
    """Attend from (B, H, Q, D) to own keys and values (B, G, S, D) and to those (1, G, P, D) that all rows share.

    The prefix is read once for all rows, as if their queries were one row's. The two parts are weighted by their sums
    of exponentials. Without a mask, own keys are those of the queries themselves, causally.
    """
    batch, heads, queries, size = query.shape
    key, value = prefix
    groups = key.shape[1]
    fold = heads // groups
    together = query.view(batch, groups, fold, queries, size).permute(1, 2, 0, 3, 4)  # (G, fold, B, Q, D)
    shared, shared_sums = _attend_with_sums(
        together.reshape(1, groups, -1, size), key, value, mask=None, is_causal=False, scores=scores
    )
    shared = shared.view(groups, fold, batch, queries, size).permute(2, 0, 1, 3, 4).reshape(query.shape)
    shared_sums = shared_sums.view(groups, fold, batch, queries).permute(2, 0, 1, 3).reshape(batch, heads, queries)
    alone, alone_sums = _attend_with_sums(
        query, spread(own[0], query), spread(own[1], query), mask=mask, is_causal=mask is None, scores=scores
    )
    share = torch.sigmoid(shared_sums - alone_sums)[..., None].to(query.dtype)
    return torch.lerp(alone, shared, share)


def spread(x: Tensor, query: Tensor) -> Tensor:
    """Repeat the heads (B, G, S, D) of keys or values for all heads of the queries (B, H, T, D)."""
    repeats = query.shape[1] // x.shape[1]
    return x if repeats == 1 else x.repeat_interleave(repeats, dim=1)


def _attend_with_sums(
    query: Tensor, key: Tensor, value: Tensor, *, mask: Tensor | None, is_causal: bool, scores: Scores
) -> tuple[Tensor, Tensor]:
    """Attend, and give the logarithm of each query's sum of exponentials, (B, H, Q) in float32, as well."""
    if scores.cap is None and query.device.type == "cpu":
        bias = None
        if mask is not None:
            bias = torch.zeros(mask.shape, dtype=query.dtype).masked_fill_(~mask, -torch.inf)
        mixed, sums = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
            query, key, value, 0.0, is_causal, attn_mask=bias, scale=scores.scale
        )
        return mixed, sums
    if scores.cap is None and mask is None and _has_flash(query):
        found = torch.ops.aten._scaled_dot_product_flash_attention(
            query, key, value, 0.0, is_causal, False, scale=scores.scale
        )
        return found[0], found[1]
    if is_causal:
        positions = torch.arange(query.shape[2], device=query.device)[None]
        mask = visible_from(positions, key.shape[2], band=None)
    made = _made(query, key, mask, scores)  # (B, H, Q, S)
    return (made.softmax(dim=-1).to(value.dtype) @ value), made.logsumexp(dim=-1)


def _has_flash(query: Tensor) -> bool:
    """Say whether torch's flash kernel takes queries (B, H, Q, D) as they are."""
    size = query.shape[-1]
    if query.device.type != "cuda" or query.dtype not in (torch.bfloat16, torch.float16):
        return False
    is_new = torch.cuda.get_device_capability(query.device) >= (8, 0)
    return (
        is_new and torch.backends.cuda.is_flash_attention_available() and size % 8 == 0 and size <= varlen.LARGEST_HEAD
    )


def _attend_capped(query: Tensor, key: Tensor, value: Tensor, *, mask: Tensor | None, scores: Scores) -> Tensor:
    """Attend with capped scores, some queries at a time."""
    parts = []
    for begin in range(0, query.shape[2], CAPPED_QUERIES):
        some = slice(begin, begin + CAPPED_QUERIES)
        made = _made(query[:, :, some], key, None if mask is None else mask[:, :, some], scores)
        parts.append(made.softmax(dim=-1).to(value.dtype) @ value)
    return torch.cat(parts, dim=2)


def _made(query: Tensor, key: Tensor, mask: Tensor | None, scores: Scores) -> Tensor:
    """Compute scores (B, H, Q, S) in float32, minus infinity where a key may not be seen."""
    made = (query @ key.transpose(-1, -2)).float() * (query.shape[-1] ** -0.5 if scores.scale is None else scores.scale)
    if scores.cap is not None:
        made = (made / scores.cap).tanh() * scores.cap
    return made if mask is None else made.masked_fill(~mask, -torch.inf)

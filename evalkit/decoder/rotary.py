"""Rotary positions (Su 2021): pairs of a head's numbers are turned by an angle that grows with the position.

The pairs are (i, i + n) for the first 2n numbers of a head. Checkpoints that pair neighbours, as GPT-J's do, have
their rows put in this order when they are loaded, which changes no product of a query with a key.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Stretch:
    """Llama 3.1's frequencies for long windows: the slow ones are divided by `factor`, those between are blended."""

    factor: float
    low: float  # turns within the original window, below which a frequency is divided
    high: float  # and above which it stays
    window: int  # the original one, in tokens


def frequencies(size: int, *, base: float, divisor: float = 1.0, stretch: Stretch | None = None) -> tuple[float, ...]:
    """Give the radians a position of each of size / 2 pairs, as float32 numbers; `divisor` spreads all positions."""
    plain = 1.0 / (base ** (torch.arange(0, size, 2, dtype=torch.int64).float() / size)) / divisor
    if stretch is None:
        return tuple(plain.tolist())
    length = 2 * math.pi / plain  # positions of a whole turn
    slow = torch.where(length > stretch.window / stretch.low, plain / stretch.factor, plain)
    share = (stretch.window / length - stretch.low) / (stretch.high - stretch.low)
    blended = (1 - share) * slow / stretch.factor + share * slow
    is_between = (length >= stretch.window / stretch.high) & (length <= stretch.window / stretch.low)
    return tuple(torch.where(is_between, blended, slow).tolist())


def table(radians: tuple[float, ...], positions: int, *, device: torch.device, dtype: torch.dtype) -> Tensor:
    """Give cosines and sines (2, positions, n), computed in float32."""
    angles = torch.arange(positions, device=device).float()[:, None] * torch.tensor(radians, device=device)
    return torch.stack([angles.cos(), angles.sin()]).to(dtype)


def turn(x: Tensor, turns: Tensor) -> Tensor:
    """Turn the heads (B, T, H, D) of tokens by their cosines and sines (2, T, n), or (2, B, T, n) where rows differ."""
    cosine, sine = turns[..., None, :]  # (T, 1, n) or (B, T, 1, n) each
    n = cosine.shape[-1]
    first, second = x[..., :n], x[..., n : 2 * n]
    turned = [first * cosine - second * sine, second * cosine + first * sine]
    return torch.cat([*turned, x[..., 2 * n :]] if x.shape[-1] > 2 * n else turned, dim=-1)

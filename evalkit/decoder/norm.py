"""Norms of a decoder: of layers (Ba 2016), and root-mean-square ones (Zhang 2019) in the two forms families have."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from evalkit.decoder.config import DecoderConfig


class RmsNorm(nn.Module):
    """Divide by the root of the mean square, then multiply by a weight, or by one more than it."""

    def __init__(self, width: int, *, eps: float, is_plus_one: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(width))
        self.eps = eps
        self.is_plus_one = is_plus_one

    def forward(self, x: Tensor) -> Tensor:
        """Norm the last dimension, computed in float32 whatever the dtype."""
        normed = F.rms_norm(x.float(), (x.shape[-1],), eps=self.eps)
        if self.is_plus_one:
            return (normed * (1.0 + self.weight.float())).to(x.dtype)
        return self.weight * normed.to(x.dtype)


def make_norm(config: DecoderConfig, *, width: int | None = None) -> nn.Module:
    """Make a norm of the model's width, or of another."""
    width = width or config.d_model
    if config.norm == "layer":
        return nn.LayerNorm(width, eps=config.norm_eps)
    return RmsNorm(width, eps=config.norm_eps, is_plus_one=config.norm == "rms_plus_one")

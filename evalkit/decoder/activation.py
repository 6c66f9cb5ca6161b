"""The MLP's activation: torch's own, but for GELU's tanh form on a CPU."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from evalkit.decoder import fused
from evalkit.decoder.config import Activation


def activate(x: Tensor, activation: Activation) -> Tensor:
    """Apply an activation to every number of x, which may be overwritten."""
    if activation == "gelu":
        return F.gelu(x)
    if activation != "gelu_tanh":
        return F.relu(x) if activation == "relu" else F.silu(x)
    return x if fused.gelu(x) else F.gelu(x, approximate="tanh")

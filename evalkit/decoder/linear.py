"""Linear maps that a decode step computes from packed weights.

A step of few rows is bound by the reading of weights. On the CPU oneDNN reads them faster from its own blocked layout
than a matrix product reads rows; from about 32 rows, or where the weights lie in the cache anyway, the plain product
is as fast. So large weights get a packed copy beside them, and few rows take it.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

FEW_ROWS = 32  # at most these take the packed weights
LEAST_PACKED = 2**19  # numbers; smaller weights stay in a core's cache


class Linear(nn.Linear):
    """nn.Linear with room for a packed copy of its weights."""

    packed: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., in) to (..., out)."""
        return project(x, self.weight, self.bias, packed=self.packed)


def project(x: Tensor, weight: Tensor, bias: Tensor | None = None, *, packed: Tensor | None) -> Tensor:
    """Map (..., in) by a weight (out, in) to (..., out), few rows by its packed copy."""
    if packed is None or x.shape[:-1].numel() > FEW_ROWS:
        return F.linear(x, weight, bias)
    return torch.ops.mkldnn._linear_pointwise(x, packed, bias, "none", [], "")  # type: ignore[no-any-return]


def pack(weight: Tensor) -> Tensor | None:
    """Give a packed copy of a weight (out, in), or None where it would not be read faster."""
    if weight.device.type != "cpu" or weight.numel() < LEAST_PACKED:
        return None
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return None
    # Without AVX-512 or AMX, bfloat16 is computed number by number.
    is_fast = weight.dtype == torch.bfloat16 and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    if weight.dtype != torch.float32 and not is_fast:
        return None
    return torch.ops.mkldnn._reorder_linear_weight(weight.detach())  # type: ignore[no-any-return]

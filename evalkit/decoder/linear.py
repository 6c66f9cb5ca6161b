"""Linear maps, computed from packed weights where a CPU reads these faster.

oneDNN reads weights faster from its own blocked layout than a matrix product reads rows. In float32 that matters to a
decode step of few rows, which is bound by the reading of weights: from about 32 rows, or where the weights lie in the
cache anyway, the plain product is as fast. In bfloat16 products are so fast that it matters to any number of rows.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

FEW_ROWS = 32  # at most these take the packed weights in float32
LEAST_PACKED = 2**19  # numbers in float32; smaller weights stay in a core's cache


class Linear(nn.Linear):
    """nn.Linear with room for a packed copy of its weights."""

    packed: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., in) to (..., out)."""
        return project(x, self.weight, self.bias, packed=self.packed)


def project(x: Tensor, weight: Tensor, bias: Tensor | None = None, *, packed: Tensor | None) -> Tensor:
    """Map (..., in) by a weight (out, in) to (..., out), by its packed copy where that is faster."""
    if packed is None or (x.dtype == torch.float32 and x.shape[:-1].numel() > FEW_ROWS):
        return F.linear(x, weight, bias)
    return torch.ops.mkldnn._linear_pointwise(x, packed, bias, "none", [], "")  # type: ignore[no-any-return]


def pack(weight: Tensor) -> Tensor | None:
    """Give a packed copy of a weight (out, in), or None where it would not be read faster."""
    if weight.device.type != "cpu" or not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return None
    if weight.dtype == torch.bfloat16:  # without AVX-512 or AMX it is computed number by number
        is_faster = torch.ops.mkldnn._is_mkldnn_bf16_supported()
    else:
        is_faster = weight.dtype == torch.float32 and weight.numel() >= LEAST_PACKED
    return torch.ops.mkldnn._reorder_linear_weight(weight.detach()) if is_faster else None

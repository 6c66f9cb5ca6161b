"""What is refused of a model's numbers: log-probabilities and logits that are none."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch

from evalkit.errors import CheckpointError


def check(numbers: Iterable[float], *, name: str, dtype: torch.dtype) -> None:
    """Raise CheckpointError where a log-probability or a largest logit is infinite or not a number.

    `name` and `dtype` are the model's. Activations beyond its dtype become infinite, and NaN from there on.
    """
    if all(map(math.isfinite, numbers)):
        return
    others = [other for other in ("float32", "bfloat16") if other != _short(dtype)]
    advice = (
        "the checkpoint's weights are too large or broken"
        if dtype == torch.float32
        else f"try --dtype {' or '.join(others)}"
    )
    raise CheckpointError(
        f"{name}: found log-probabilities that are not finite in {_short(dtype)}, expected numbers; {advice}"
    )


def _short(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")

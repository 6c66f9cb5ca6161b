"""Rotary positions as config.json has them: `rope_parameters`, or `rope_theta` and `rope_scaling` of before."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from evalkit.decoder.config import LARGEST
from evalkit.decoder.families.settings import nested, number, refused, whole
from evalkit.decoder.rotary import Stretch, frequencies
from evalkit.errors import CheckpointError

BASE = 10_000.0
LARGEST_BASE = 1e30  # those of models with long windows exceed LARGEST


def parameters(settings: Mapping[str, Any]) -> dict[str, Any]:  # Any: JSON
    """Give the settings of rotary positions; of two forms the older one is taken, as transformers does."""
    return nested(settings, "rope_scaling") or nested(settings, "rope_parameters")


def whole_head(settings: Mapping[str, Any], *, size: int) -> tuple[float, ...]:  # Any: JSON
    """Give the radians a position of each pair of a head of this size, all of which is turned."""
    found = {"rope_theta": settings.get("rope_theta", BASE), **parameters(settings)}
    return radians(found, settings, size=size, named="head_dim")


def radians(
    found: Mapping[str, Any],  # Any: JSON
    settings: Mapping[str, Any],
    *,
    size: int,
    named: str,
) -> tuple[float, ...]:
    """Give the radians a position of each pair of a head's first `size` numbers, which the setting `named` decides."""
    for name, value in found.items():
        if isinstance(value, Mapping) or (name == "partial_rotary_factor" and value != 1):
            raise refused(name, value)
    if not 2 <= size <= LARGEST or size % 2:
        raise CheckpointError(f"{named}: found {size} numbers of a head to turn, expected an even number, 2 or more")
    base, kind = number(found, "rope_theta", most=LARGEST_BASE), found.get("rope_type", found.get("type", "default"))
    if kind == "default":
        return frequencies(size, base=base)
    if kind == "linear":
        return frequencies(size, base=base, divisor=number(found, "factor"))
    if kind != "llama3":
        raise refused("rope_type", kind)
    name = "original_max_position_embeddings"
    before, name = next(
        ((each, name) for each in (settings, found) if name in each), (settings, "max_position_embeddings")
    )
    low, high = number(found, "low_freq_factor"), number(found, "high_freq_factor")
    if low >= high:
        raise CheckpointError(f"high_freq_factor: found {high:g}, expected more than low_freq_factor, which is {low:g}")
    stretch = Stretch(factor=number(found, "factor"), low=low, high=high, window=whole(before, name))
    return frequencies(size, base=base, stretch=stretch)

"""Rotary positions as config.json has them: `rope_parameters`, or `rope_theta` and `rope_scaling` of before."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from evalkit.decoder.config import LARGEST
from evalkit.decoder.families.settings import number, refused, whole
from evalkit.decoder.rotary import Stretch, frequencies
from evalkit.errors import CheckpointError

BASE = 10_000.0
LARGEST_BASE = 1e30  # those of models with long windows exceed LARGEST


def parameters(settings: Mapping[str, Any]) -> dict[str, Any]:  # Any: JSON
    """Give the settings of rotary positions; of two forms the older one is taken, as transformers does."""
    return dict(settings.get("rope_scaling") or settings.get("rope_parameters") or {})


def whole_head(settings: Mapping[str, Any], *, size: int) -> tuple[float, ...]:  # Any: JSON
    """Give the radians a position of each pair of a head of this size, all of which is turned."""
    found = {"rope_theta": settings.get("rope_theta", BASE), **parameters(settings)}
    return radians(found, settings, size=size)


def radians(found: Mapping[str, Any], settings: Mapping[str, Any], *, size: int) -> tuple[float, ...]:  # Any: JSON
    """Give the radians a position of each pair of a head's first `size` numbers."""
    for name, value in found.items():
        if isinstance(value, Mapping) or (name == "partial_rotary_factor" and value != 1):
            raise refused(name, value)
    if not 1 <= size <= LARGEST:
        raise CheckpointError(f"rotary positions: found {size} numbers of a head to turn, expected 1 to {LARGEST}")
    base, kind = number(found, "rope_theta", most=LARGEST_BASE), found.get("rope_type", found.get("type", "default"))
    if kind == "default":
        return frequencies(size, base=base)
    if kind == "linear":
        return frequencies(size, base=base, divisor=number(found, "factor"))
    if kind != "llama3":
        raise refused("rope_type", kind)
    name = "original_max_position_embeddings"
    before = next((each for each in (settings, found) if name in each), {name: settings["max_position_embeddings"]})
    stretch = Stretch(
        factor=number(found, "factor"),
        low=number(found, "low_freq_factor"),
        high=number(found, "high_freq_factor"),
        window=whole(before, name),
    )
    return frequencies(size, base=base, stretch=stretch)

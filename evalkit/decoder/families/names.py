"""The names of a layer's tensors, weight and bias in one line."""

from __future__ import annotations

from collections.abc import Mapping

from evalkit.decoder.families.family import Source, Stacked


def in_block(block: str, parts: Mapping[str, str | tuple[str, ...]]) -> dict[str, Source]:
    """Name the tensors of a layer whose names begin with `block`; several of the file's lie end to end in one part."""
    made: dict[str, Source] = {}
    for part, theirs in parts.items():
        for kind in ("weight", "bias"):
            names = tuple(f"{block}.{each}.{kind}" for each in ([theirs] if isinstance(theirs, str) else theirs))
            made[f"blocks.{{layer}}.{part}.{kind}"] = names[0] if len(names) == 1 else Stacked(names)
    return made

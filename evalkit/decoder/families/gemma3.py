"""Gemma 3 without images: Gemma 2 with normed queries and keys in place of caps, and two sets of rotary positions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from evalkit.decoder.config import DecoderConfig
from evalkit.decoder.families import gemma2, llama_like, rope
from evalkit.decoder.families.settings import KINDS, nested, number, optional_number, require, whole

DEFAULTS = {
    **gemma2.DEFAULTS,
    "max_position_embeddings": 131_072,
    "attn_logit_softcapping": None,
    "final_logit_softcapping": None,
}
BASES = {"full_attention": ("rope_theta", 1_000_000.0), "sliding_attention": ("rope_local_base_freq", 10_000.0)}


def read_rotary(settings: Mapping[str, Any], kind: str) -> tuple[float, ...]:  # Any: JSON
    """Read the rotary positions of layers of a kind; `rope_scaling` is of the layers without a band alone."""
    name, base = BASES[kind]
    found = nested(nested(settings, "rope_parameters"), kind)
    if kind == KINDS[0]:
        found |= nested(settings, "rope_scaling")
    found = {"rope_theta": number(settings, name, default=base, most=rope.LARGEST_BASE), **found}
    return rope.radians(found, settings, size=whole(settings, "head_dim"), named="head_dim")


def read_config(settings: Mapping[str, Any]) -> DecoderConfig:  # Any: JSON
    """Read Gemma3TextConfig's settings."""
    settings = {**DEFAULTS, **settings}
    require(settings, attn_logit_softcapping=None)
    return llama_like.read(
        settings,
        DEFAULTS,
        **gemma2.shared(settings, period=whole(settings, "sliding_window_pattern", default=6)),
        logit_cap=optional_number(settings, "final_logit_softcapping"),
        has_qk_norm=True,
        rotary=read_rotary(settings, KINDS[0]),
        local_rotary=read_rotary(settings, KINDS[1]),
    )


FAMILY = llama_like.family("gemma3_text", read_config, **gemma2.AROUND)

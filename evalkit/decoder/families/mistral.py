"""Mistral: Llama with a band in every layer, where `sliding_window` is not null."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from evalkit.decoder.config import MOST_LAYERS, DecoderConfig
from evalkit.decoder.families import llama_like
from evalkit.decoder.families.settings import KINDS, bands, layer_types, optional, refused, whole

DEFAULTS = {"max_position_embeddings": 131_072, "num_key_value_heads": 8, "sliding_window": 4096}


def read_config(settings: Mapping[str, Any]) -> DecoderConfig:  # Any: JSON
    """Read MistralConfig's settings."""
    width = optional({**DEFAULTS, **settings}, "sliding_window")
    kinds = [KINDS[width is not None]] * whole(settings, "num_hidden_layers", most=MOST_LAYERS)
    if layer_types(settings, default=kinds) != kinds:
        raise refused("layer_types", settings["layer_types"])
    return llama_like.read(settings, DEFAULTS, bands=bands(kinds, width=width))


FAMILY = llama_like.family("mistral", read_config)

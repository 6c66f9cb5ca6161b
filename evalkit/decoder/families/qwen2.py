"""Qwen 1.5, 2 and 2.5: Llama with biases at queries, keys and values, and bands in some layers on request."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from evalkit.decoder.config import MOST_LAYERS, DecoderConfig
from evalkit.decoder.families import llama_like
from evalkit.decoder.families.settings import KINDS, bands, flag, layer_types, optional, whole
from evalkit.errors import CheckpointError

DEFAULTS = {"max_position_embeddings": 32_768, "num_key_value_heads": 32, "sliding_window": 4096}


def read_bands(settings: Mapping[str, Any]) -> tuple[int | None, ...]:  # Any: JSON
    """Give a band to the layers that `layer_types` names, or without it to those from `max_window_layers` on."""
    layers = whole(settings, "num_hidden_layers", most=MOST_LAYERS)
    first = whole(settings, "max_window_layers", default=28, least=0)
    if not flag(settings, "use_sliding_window", default=False):
        if KINDS[1] in layer_types(settings, default=[KINDS[0]] * layers):
            raise CheckpointError(
                "use_sliding_window: found false, expected true, as layer_types has layers with a band"
            )
        return (None,) * layers
    width = optional({**DEFAULTS, **settings}, "sliding_window")
    kinds = [KINDS[width is not None and layer >= first] for layer in range(layers)]
    return bands(layer_types(settings, default=kinds), width=width)


def read_config(settings: Mapping[str, Any]) -> DecoderConfig:  # Any: JSON
    """Read Qwen2Config's settings."""
    return llama_like.read(settings, DEFAULTS, biases=("qkv",), bands=read_bands(settings))


FAMILY = llama_like.family("qwen2", read_config)

"""Qwen 1.5, 2 and 2.5: Llama with biases at queries, keys and values, and bands in some layers on request."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from evalkit.decoder.config import MOST_LAYERS, DecoderConfig
from evalkit.decoder.families import llama_like
from evalkit.decoder.families.settings import KINDS, bands, flag, whole

DEFAULTS = {"max_position_embeddings": 32_768, "num_key_value_heads": 32}


def read_bands(settings: Mapping[str, Any]) -> tuple[int | None, ...]:  # Any: JSON
    """Give a band to the layers that `layer_types` names, or without it to those from `max_window_layers` on."""
    width = settings.get("sliding_window", 4096) if flag(settings, "use_sliding_window", default=False) else None
    layers = whole(settings, "num_hidden_layers", most=MOST_LAYERS)
    first = settings.get("max_window_layers", 28)
    kinds = [KINDS[width is not None and layer >= first] for layer in range(layers)]
    return bands(settings.get("layer_types") or kinds, width=width)


def read_config(settings: Mapping[str, Any]) -> DecoderConfig:  # Any: JSON
    """Read Qwen2Config's settings."""
    return llama_like.read(settings, DEFAULTS, biases=("qkv",), bands=read_bands(settings))


FAMILY = llama_like.family("qwen2", read_config)

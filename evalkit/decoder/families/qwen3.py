"""Qwen 3, its dense models: Qwen 2 with normed queries and keys, and heads of a width of their own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from evalkit.decoder.config import DecoderConfig
from evalkit.decoder.families import llama_like, qwen2

DEFAULTS = {**qwen2.DEFAULTS, "head_dim": 128}


def read_config(settings: Mapping[str, Any]) -> DecoderConfig:  # Any: JSON
    """Read Qwen3Config's settings."""
    return llama_like.read(
        settings,
        DEFAULTS,
        biases=llama_like.attention_biases(settings),
        bands=qwen2.read_bands(settings),
        has_qk_norm=True,
    )


FAMILY = llama_like.family("qwen3", read_config)

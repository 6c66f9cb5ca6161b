"""Llama 1 to 3."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from evalkit.decoder.config import Biased, DecoderConfig
from evalkit.decoder.families import llama_like
from evalkit.decoder.families.settings import flag

DEFAULTS = {"max_position_embeddings": 2048}
MLP: tuple[Biased, ...] = ("mlp_in", "mlp_out")


def read_config(settings: Mapping[str, Any]) -> DecoderConfig:  # Any: JSON
    """Read LlamaConfig's settings."""
    biases = llama_like.attention_biases(settings) + (MLP if flag(settings, "mlp_bias", default=False) else ())
    return llama_like.read(settings, DEFAULTS, biases=biases)


FAMILY = llama_like.family("llama", read_config)

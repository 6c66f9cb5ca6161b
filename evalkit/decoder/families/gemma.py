"""Gemma 1: Llama with a scaled embedding that is the head as well, norms that add 1 to their weights, and GELU."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from evalkit.decoder.config import DecoderConfig
from evalkit.decoder.families import llama_like
from evalkit.decoder.families.settings import activation, whole

DEFAULTS = {
    "max_position_embeddings": 8192,
    "num_key_value_heads": 16,
    "head_dim": 256,
    "tie_word_embeddings": True,
}


def shared(settings: Mapping[str, Any]) -> dict[str, Any]:  # Any: JSON
    """Give what sets all Gemmas apart from Llama."""
    return {
        "norm": "rms_plus_one",
        "embedding_scale": math.sqrt(whole(settings, "hidden_size")),
        "biases": llama_like.attention_biases(settings),
    }


def read_config(settings: Mapping[str, Any]) -> DecoderConfig:  # Any: JSON
    """Read GemmaConfig's settings."""
    found = activation(settings, "hidden_act", "gelu_pytorch_tanh")
    # The first release wrote `gelu`, but was trained with the tanh form.
    return llama_like.read(settings, DEFAULTS, **shared(settings), activation="gelu_tanh" if found == "gelu" else found)


FAMILY = llama_like.family("gemma", read_config)

"""Gemma 2: Gemma 1 with norms around attention and MLP, capped scores and logits, and a band in every other layer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from evalkit.decoder.config import MOST_LAYERS, DecoderConfig
from evalkit.decoder.families import gemma, llama_like
from evalkit.decoder.families.settings import (
    KINDS,
    activation,
    bands,
    layer_types,
    number,
    optional,
    optional_number,
    whole,
)

DEFAULTS = {
    **gemma.DEFAULTS,
    "num_key_value_heads": 4,
    "sliding_window": 4096,
    "attn_logit_softcapping": 50.0,
    "final_logit_softcapping": 30.0,
}
AROUND = {
    "attention_norm": "post_attention_layernorm",
    "norm2": "pre_feedforward_layernorm",
    "mlp_norm": "post_feedforward_layernorm",
}


def shared(settings: Mapping[str, Any], *, period: int) -> dict[str, Any]:  # Any: JSON
    """Give what sets Gemma 2 and 3 apart from Llama; every `period`-th layer has no band."""
    layers = whole(settings, "num_hidden_layers", most=MOST_LAYERS)
    kinds = [KINDS[(layer + 1) % period != 0] for layer in range(layers)]
    return gemma.shared(settings) | {
        "norm_place": "around",
        "activation": activation(settings, "hidden_activation", "gelu_pytorch_tanh"),
        "bands": bands(layer_types(settings, default=kinds), width=optional(settings, "sliding_window")),
        "attention_scale": number(settings, "query_pre_attn_scalar", default=256) ** -0.5,
    }


def read_config(settings: Mapping[str, Any]) -> DecoderConfig:  # Any: JSON
    """Read Gemma2Config's settings."""
    settings = {**DEFAULTS, **settings}
    return llama_like.read(
        settings,
        DEFAULTS,
        **shared(settings, period=2),
        attention_cap=optional_number(settings, "attn_logit_softcapping"),
        logit_cap=optional_number(settings, "final_logit_softcapping"),
    )


FAMILY = llama_like.family("gemma2", read_config, **AROUND)

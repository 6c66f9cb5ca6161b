"""GPT-Neo: dense and banded layers in turn, scores that are not scaled, no biases at queries, keys and values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from evalkit.decoder.config import MOST_LAYERS, DecoderConfig, head_size
from evalkit.decoder.families.family import Family, Source
from evalkit.decoder.families.names import in_block
from evalkit.decoder.families.settings import KINDS, activation, bands, flag, refused, whole

NAMES = {"global": KINDS[0], "local": KINDS[1]}


def read_config(settings: Mapping[str, Any]) -> DecoderConfig:  # Any: JSON
    """Read GPTNeoConfig's settings."""
    width, heads = whole(settings, "hidden_size"), whole(settings, "num_heads")
    layers = whole(settings, "num_layers", most=MOST_LAYERS)
    types = settings.get("attention_types") or [[["global", "local"], 12]]
    expanded = [each for kinds, times in types for each in kinds * min(times, layers + 1)]
    named = settings.get("attention_layers") or expanded
    for each in named:
        if each not in NAMES:
            raise refused("attention_types", each)
    return DecoderConfig(
        vocab_size=settings["vocab_size"],
        window=settings.get("max_position_embeddings", 2048),
        layers=layers,
        d_model=width,
        heads=heads,
        kv_heads=heads,
        head_size=head_size(width, heads),
        d_ff=settings.get("intermediate_size") or 4 * width,
        bands=bands([NAMES[each] for each in named], width=settings.get("window_size", 256)),
        activation=activation(settings, "activation_function", "gelu_new"),
        norm_eps=settings.get("layer_norm_epsilon", 1e-5),
        biases=("attention_out", "mlp_in", "mlp_out"),
        attention_scale=1.0,
        is_tied=flag(settings, "tie_word_embeddings", default=True),
    )


TOP: dict[str, Source] = {
    "tokens": "wte.weight",
    "positions": "wpe.weight",
    "norm.weight": "ln_f.weight",
    "norm.bias": "ln_f.bias",
    "head.weight": "lm_head.weight",
}
BLOCK: dict[str, str | tuple[str, ...]] = {
    "norm1": "ln_1",
    "qkv": ("attn.attention.q_proj", "attn.attention.k_proj", "attn.attention.v_proj"),
    "attention_out": "attn.attention.out_proj",
    "norm2": "ln_2",
    "mlp_in": "mlp.c_fc",
    "mlp_out": "mlp.c_proj",
}
SETTINGS = {
    "window": "max_position_embeddings",
    "d_model": "hidden_size",
    "heads": "num_heads",
    "d_ff": "intermediate_size",
    "bands": "window_size",
    "norm_eps": "layer_norm_epsilon",
}

FAMILY = Family(
    model_type="gpt_neo",
    config=read_config,
    settings=SETTINGS,
    tensors=TOP | in_block("h.{layer}", BLOCK),
    prefixes=("transformer.", ""),
    ignored=(r"h\.\d+\.attn\.attention\.(bias|masked_bias)",),  # masks
    ignored_if_tied=(r"lm_head\.weight",),
)

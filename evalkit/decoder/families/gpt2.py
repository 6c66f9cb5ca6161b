"""GPT-2 and Cerebras-GPT, as transformers saves them: linear weights are (in, out)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from evalkit.decoder.config import MOST_LAYERS, DecoderConfig
from evalkit.decoder.families.family import Family, Source, Stacked, transpose
from evalkit.decoder.families.settings import activation, flag, head_size, number, optional, require, whole


def read_config(settings: Mapping[str, Any]) -> DecoderConfig:  # Any: JSON
    """Read GPT2Config's settings; those left out have transformers' defaults."""
    require(settings, add_cross_attention=False)
    width, heads = whole(settings, "n_embd"), whole(settings, "n_head")
    layers = whole(settings, "n_layer", most=MOST_LAYERS)
    return DecoderConfig(
        vocab_size=whole(settings, "vocab_size"),
        window=whole(settings, "n_positions", default=1024, least=2),
        layers=layers,
        d_model=width,
        heads=heads,
        kv_heads=heads,
        head_size=head_size(settings, "n_embd", "n_head"),
        d_ff=optional(settings, "n_inner") or 4 * width,
        bands=(None,) * layers,
        activation=activation(settings, "activation_function", "gelu_new"),
        norm_eps=number(settings, "layer_norm_epsilon", default=1e-5),
        attention_scale=None if flag(settings, "scale_attn_weights", default=True) else 1.0,
        scale_by_layer=flag(settings, "scale_attn_by_inverse_layer_idx", default=False),
        is_tied=flag(settings, "tie_word_embeddings", default=True),
    )


LINEAR = {"qkv": "attn.c_attn", "attention_out": "attn.c_proj", "mlp_in": "mlp.c_fc", "mlp_out": "mlp.c_proj"}
NORMS = {"norm1": "ln_1", "norm2": "ln_2"}
TOP: dict[str, Source] = {
    "tokens": "wte.weight",
    "positions": "wpe.weight",
    "norm.weight": "ln_f.weight",
    "norm.bias": "ln_f.bias",
    "head.weight": "lm_head.weight",
}

FAMILY = Family(
    model_type="gpt2",
    config=read_config,
    prefixes=("transformer.", ""),
    tensors=TOP
    | {f"blocks.{{layer}}.{ours}.bias": f"h.{{layer}}.{theirs}.bias" for ours, theirs in (LINEAR | NORMS).items()}
    | {f"blocks.{{layer}}.{ours}.weight": f"h.{{layer}}.{theirs}.weight" for ours, theirs in NORMS.items()}
    | {
        f"blocks.{{layer}}.{ours}.weight": Stacked((f"h.{{layer}}.{theirs}.weight",), transpose)
        for ours, theirs in LINEAR.items()
    },
    ignored=(r"h\.\d+\.attn\.(bias|masked_bias)",),  # masks
    ignored_if_tied=(r"lm_head\.weight",),
)

"""GPT-NeoX and Pythia: attention and MLP side by side, part of each head turned, rows of q, k, v head by head."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from evalkit.decoder.config import MOST_LAYERS, Biased, DecoderConfig
from evalkit.decoder.families import rope
from evalkit.decoder.families.family import Family, Source, Stacked
from evalkit.decoder.families.names import in_block
from evalkit.decoder.families.settings import activation, flag, head_size, number, whole


def read_rotary(settings: Mapping[str, Any], *, size: int) -> tuple[float, ...]:  # Any: JSON
    """Read the rotary positions of heads of this size."""
    base = number(settings, "rotary_emb_base", default=rope.BASE, most=rope.LARGEST_BASE)
    found = {"rope_theta": base, **rope.parameters(settings)}
    name = "partial_rotary_factor" if "partial_rotary_factor" in found else "rotary_pct"
    share = number({"rotary_pct": 0.25, **settings, **found}, name, most=1)
    found.pop("partial_rotary_factor", None)
    return rope.radians(found, settings, size=int(size * share), named=name)


def read_config(settings: Mapping[str, Any]) -> DecoderConfig:  # Any: JSON
    """Read GPTNeoXConfig's settings."""
    width, heads = whole(settings, "hidden_size"), whole(settings, "num_attention_heads")
    layers = whole(settings, "num_hidden_layers", most=MOST_LAYERS)
    size = head_size(settings, "hidden_size", "num_attention_heads")
    attention: tuple[Biased, ...] = ("qkv", "attention_out") if flag(settings, "attention_bias", default=True) else ()
    return DecoderConfig(
        vocab_size=whole(settings, "vocab_size"),
        window=whole(settings, "max_position_embeddings", default=2048, least=2),
        layers=layers,
        d_model=width,
        heads=heads,
        kv_heads=heads,
        head_size=size,
        d_ff=whole(settings, "intermediate_size"),
        bands=(None,) * layers,
        activation=activation(settings, "hidden_act", "gelu"),
        norm_eps=number(settings, "layer_norm_eps", default=1e-5),
        residual="parallel" if flag(settings, "use_parallel_residual", default=True) else "sequential",
        biases=(*attention, "mlp_in", "mlp_out"),
        rotary=read_rotary(settings, size=size),
        is_tied=flag(settings, "tie_word_embeddings", default=False),
    )


def together(tensor: Tensor, config: DecoderConfig) -> Tensor:
    """Put all queries first, then all keys, then all values: rows (H, 3, D) to (3, H, D)."""
    return tensor.reshape(config.heads, 3, config.head_size, *tensor.shape[1:]).transpose(0, 1).flatten(0, 2)


TOP: dict[str, Source] = {
    "tokens": "embed_in.weight",
    "norm.weight": "final_layer_norm.weight",
    "norm.bias": "final_layer_norm.bias",
    "head.weight": "embed_out.weight",
}
QKV: dict[str, Source] = {
    f"blocks.{{layer}}.qkv.{kind}": Stacked((f"layers.{{layer}}.attention.query_key_value.{kind}",), together)
    for kind in ("weight", "bias")
}
BLOCK: dict[str, str | tuple[str, ...]] = {
    "norm1": "input_layernorm",
    "attention_out": "attention.dense",
    "norm2": "post_attention_layernorm",
    "mlp_in": "mlp.dense_h_to_4h",
    "mlp_out": "mlp.dense_4h_to_h",
}

FAMILY = Family(
    model_type="gpt_neox",
    config=read_config,
    tensors=TOP | QKV | in_block("layers.{layer}", BLOCK),
    prefixes=("gpt_neox.", ""),
    synonyms={"embed_out.weight": "lm_head.weight"},
    ignored=(r"layers\.\d+\.attention\.(bias|masked_bias|rotary_emb\.inv_freq)",),
    ignored_if_tied=(r"(embed_out|lm_head)\.weight",),
)

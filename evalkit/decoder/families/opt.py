"""OPT: learned positions whose table begins with two rows of padding, ReLU; OPT-350M norms afterwards."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from evalkit.decoder.config import MOST_LAYERS, DecoderConfig
from evalkit.decoder.families.family import Family, Source, Stacked
from evalkit.decoder.families.names import in_block
from evalkit.decoder.families.settings import activation, flag, head_size, optional, require, whole

PADDING = 2


def read_config(settings: Mapping[str, Any]) -> DecoderConfig:  # Any: JSON
    """Read OPTConfig's settings."""
    require(settings, layer_norm_elementwise_affine=True)
    width, heads = whole(settings, "hidden_size"), whole(settings, "num_attention_heads")
    layers = whole(settings, "num_hidden_layers", most=MOST_LAYERS)
    narrow = optional(settings, "word_embed_proj_dim")
    is_before = flag(settings, "do_layer_norm_before", default=True)
    return DecoderConfig(
        vocab_size=whole(settings, "vocab_size"),
        window=whole(settings, "max_position_embeddings", default=2048, least=2),
        layers=layers,
        d_model=width,
        heads=heads,
        kv_heads=heads,
        head_size=head_size(settings, "hidden_size", "num_attention_heads"),
        d_ff=whole(settings, "ffn_dim"),
        bands=(None,) * layers,
        activation=activation(settings, "activation_function", "relu"),
        norm_place="before" if is_before else "after",
        has_final_norm=is_before and not flag(settings, "_remove_final_layer_norm", default=False),
        biases=("qkv", "attention_out", "mlp_in", "mlp_out") if flag(settings, "enable_bias", default=True) else (),
        is_tied=flag(settings, "tie_word_embeddings", default=True),
        d_embedding=None if narrow in (None, width) else narrow,
    )


def without_padding(tensor: Tensor, config: DecoderConfig) -> Tensor:  # noqa: ARG001  # a Change
    """Drop the rows that no position has."""
    return tensor[PADDING:]


TOP: dict[str, Source] = {
    "tokens": "embed_tokens.weight",
    "positions": Stacked(("embed_positions.weight",), without_padding),
    "embed_in.weight": "project_in.weight",
    "embed_out.weight": "project_out.weight",
    "norm.weight": "final_layer_norm.weight",
    "norm.bias": "final_layer_norm.bias",
    "head.weight": "lm_head.weight",
}
BLOCK: dict[str, str | tuple[str, ...]] = {
    "norm1": "self_attn_layer_norm",
    "qkv": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "attention_out": "self_attn.out_proj",
    "norm2": "final_layer_norm",
    "mlp_in": "fc1",
    "mlp_out": "fc2",
}

FAMILY = Family(
    model_type="opt",
    config=read_config,
    tensors=TOP | in_block("layers.{layer}", BLOCK),
    prefixes=("model.decoder.", "decoder.", ""),
    ignored=("version",),
    ignored_if_tied=(r"lm_head\.weight",),
)

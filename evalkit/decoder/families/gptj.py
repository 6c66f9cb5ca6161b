"""GPT-J: attention and MLP read one norm side by side; rotary positions turn neighbours; the head has a bias."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from evalkit.decoder.config import MOST_LAYERS, DecoderConfig
from evalkit.decoder.families import rope
from evalkit.decoder.families.family import Family, Source, Stacked
from evalkit.decoder.families.names import in_block
from evalkit.decoder.families.settings import activation, head_size, number, optional, require, whole


def read_config(settings: Mapping[str, Any]) -> DecoderConfig:  # Any: JSON
    """Read GPTJConfig's settings."""
    require(settings, tie_word_embeddings=False)
    width, heads = whole(settings, "n_embd"), whole(settings, "n_head")
    layers = whole(settings, "n_layer", most=MOST_LAYERS)
    size = head_size(settings, "n_embd", "n_head")
    turned = whole(settings, "rotary_dim", default=64, most=size)
    return DecoderConfig(
        vocab_size=whole(settings, "vocab_size"),
        window=whole(settings, "n_positions", default=2048, least=2),
        layers=layers,
        d_model=width,
        heads=heads,
        kv_heads=heads,
        head_size=size,
        d_ff=optional(settings, "n_inner") or 4 * width,
        bands=(None,) * layers,
        activation=activation(settings, "activation_function", "gelu_new"),
        norm_eps=number(settings, "layer_norm_epsilon", default=1e-5),
        residual="parallel_one_norm",
        biases=("mlp_in", "mlp_out", "head"),
        rotary=rope.radians({"rope_theta": rope.BASE}, {}, size=turned, named="rotary_dim"),
        is_tied=False,
    )


def order(config: DecoderConfig) -> Tensor:
    """Say which number of a head of the file is where the decoder, whose pairs are (i, i + n), expects it: (D,)."""
    turned = 2 * len(config.rotary or ())
    return torch.cat([torch.arange(0, turned, 2), torch.arange(1, turned, 2), torch.arange(turned, config.head_size)])


def rows(tensor: Tensor, config: DecoderConfig) -> Tensor:
    """Reorder the rows of each head, (H D, d). Those of values are as well, so that one change serves all three."""
    heads = tensor.reshape(config.heads, config.head_size, *tensor.shape[1:])
    return heads.index_select(1, order(config).to(tensor.device)).flatten(0, 1)


def columns(tensor: Tensor, config: DecoderConfig) -> Tensor:
    """Reorder the columns that read the values (d, H D)."""
    return rows(tensor.T, config).T


TOP: dict[str, Source] = {
    "tokens": "wte.weight",
    "norm.weight": "ln_f.weight",
    "norm.bias": "ln_f.bias",
    "head.weight": "lm_head.weight",
    "head.bias": "lm_head.bias",
}
ATTENTION: dict[str, Source] = {
    "blocks.{layer}.qkv.weight": Stacked(tuple(f"h.{{layer}}.attn.{each}_proj.weight" for each in "qkv"), rows),
    "blocks.{layer}.attention_out.weight": Stacked(("h.{layer}.attn.out_proj.weight",), columns),
}
BLOCK: dict[str, str | tuple[str, ...]] = {"norm1": "ln_1", "mlp_in": "mlp.fc_in", "mlp_out": "mlp.fc_out"}

FAMILY = Family(
    model_type="gptj",
    config=read_config,
    tensors=TOP | ATTENTION | in_block("h.{layer}", BLOCK),
    prefixes=("transformer.", ""),
    ignored=(r"h\.\d+\.attn\.(bias|masked_bias)",),  # masks
)

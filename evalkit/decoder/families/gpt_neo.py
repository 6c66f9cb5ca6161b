"""GPT-Neo: dense and banded layers in turn, scores that are not scaled, no biases at queries, keys and values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from evalkit.decoder.config import MOST_LAYERS, DecoderConfig
from evalkit.decoder.families.family import Family, Source
from evalkit.decoder.families.names import in_block
from evalkit.decoder.families.settings import KINDS, activation, bands, flag, head_size, kinds, number, optional, whole
from evalkit.errors import CheckpointError

NAMES = {"global": KINDS[0], "local": KINDS[1]}


def read_kinds(settings: Mapping[str, Any], *, layers: int) -> list[str]:  # Any: JSON
    """Read the kind of each layer, from their list or from how often some kinds are repeated."""
    name, found = "attention_layers", settings.get("attention_layers")
    if found is None:
        name, types = "attention_types", settings.get("attention_types", [[["global", "local"], 12]])
        try:
            found = [each for some, times in types for each in list(some) * min(times, layers + 1)]
        except (TypeError, ValueError) as error:
            raise CheckpointError(
                f"{name}: found {types!r:.40}, expected a list such as [[['global', 'local'], 12]]"
            ) from error
    return [NAMES[each] for each in kinds(name, found, NAMES, layers=layers)]


def read_config(settings: Mapping[str, Any]) -> DecoderConfig:  # Any: JSON
    """Read GPTNeoConfig's settings."""
    width, heads = whole(settings, "hidden_size"), whole(settings, "num_heads")
    layers = whole(settings, "num_layers", most=MOST_LAYERS)
    return DecoderConfig(
        vocab_size=whole(settings, "vocab_size"),
        window=whole(settings, "max_position_embeddings", default=2048, least=2),
        layers=layers,
        d_model=width,
        heads=heads,
        kv_heads=heads,
        head_size=head_size(settings, "hidden_size", "num_heads"),
        d_ff=optional(settings, "intermediate_size") or 4 * width,
        bands=bands(read_kinds(settings, layers=layers), width=whole(settings, "window_size", default=256)),
        activation=activation(settings, "activation_function", "gelu_new"),
        norm_eps=number(settings, "layer_norm_epsilon", default=1e-5),
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

FAMILY = Family(
    model_type="gpt_neo",
    config=read_config,
    tensors=TOP | in_block("h.{layer}", BLOCK),
    prefixes=("transformer.", ""),
    ignored=(r"h\.\d+\.attn\.attention\.(bias|masked_bias)",),  # masks
    ignored_if_tied=(r"lm_head\.weight",),
)

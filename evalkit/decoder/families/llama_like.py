"""What Llama, Mistral, Qwen and Gemma share; their own files say how each differs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from evalkit.decoder.config import MOST_LAYERS, Biased, DecoderConfig
from evalkit.decoder.families import rope
from evalkit.decoder.families.family import Family, Source
from evalkit.decoder.families.names import in_block
from evalkit.decoder.families.settings import activation, flag, head_size, number, optional, require, whole
from evalkit.errors import CheckpointError

TOP: dict[str, Source] = {
    "tokens": "embed_tokens.weight",
    "norm.weight": "norm.weight",
    "head.weight": "lm_head.weight",
}
BLOCK: dict[str, str | tuple[str, ...]] = {
    "norm1": "input_layernorm",
    "qkv": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "query_norm": "self_attn.q_norm",
    "key_norm": "self_attn.k_norm",
    "attention_out": "self_attn.o_proj",
    "norm2": "post_attention_layernorm",
    "mlp_in": ("mlp.gate_proj", "mlp.up_proj"),
    "mlp_out": "mlp.down_proj",
}


def read(settings: Mapping[str, Any], defaults: Mapping[str, Any], **differing: Any) -> DecoderConfig:  # Any: JSON
    """Read the settings these families share; those left out have the family's defaults, as in transformers.

    What differs is given as fields of DecoderConfig, which replace those read here.
    """
    settings = {**defaults, **settings}
    require(settings, use_bidirectional_attention=False, partial_rotary_factor=1)
    heads = whole(settings, "num_attention_heads")
    kv_heads = optional(settings, "num_key_value_heads") or heads
    if heads % kv_heads:
        raise CheckpointError(
            f"num_key_value_heads: found {kv_heads}, expected a divisor of num_attention_heads, which is {heads}"
        )
    layers = whole(settings, "num_hidden_layers", most=MOST_LAYERS)
    size = optional(settings, "head_dim") or head_size(settings, "hidden_size", "num_attention_heads")
    fields: dict[str, Any] = {  # Any: of several types
        "vocab_size": whole(settings, "vocab_size"),
        "window": whole(settings, "max_position_embeddings", least=2),
        "layers": layers,
        "d_model": whole(settings, "hidden_size"),
        "heads": heads,
        "kv_heads": kv_heads,
        "head_size": size,
        "d_ff": whole(settings, "intermediate_size"),
        "bands": (None,) * layers,
        "is_gated": True,
        "norm": "rms",
        "norm_eps": number(settings, "rms_norm_eps", default=1e-6),
        "biases": (),
        "is_tied": flag(settings, "tie_word_embeddings", default=False),
    }
    if "activation" not in differing:
        fields["activation"] = activation(settings, "hidden_act", "silu")
    if "rotary" not in differing:
        fields["rotary"] = rope.whole_head(settings, size=size)
    return DecoderConfig(**fields | differing)


def attention_biases(settings: Mapping[str, Any]) -> tuple[Biased, ...]:  # Any: JSON
    """Read whether attention's linear maps have a bias."""
    return ("qkv", "attention_out") if flag(settings, "attention_bias", default=False) else ()


def family(model_type: str, config: Callable[[Mapping[str, Any]], DecoderConfig], **named: str) -> Family:  # Any: JSON
    """Make a family with these tensors, some parts of its layers under other names."""
    return Family(
        model_type=model_type,
        config=config,
        tensors=TOP | in_block("layers.{layer}", BLOCK | named),
        prefixes=("model.", ""),
        ignored=(r"layers\.\d+\.self_attn\.rotary_emb\.inv_freq", r"rotary_emb\.inv_freq"),
        ignored_if_tied=(r"lm_head\.weight",),
    )

"""GPT-2 and Cerebras-GPT, as transformers saves them: linear weights are (in, out), the head is the embedding."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from evalkit.decoder.config import Activation, DecoderConfig
from evalkit.decoder.families.family import Family
from evalkit.errors import CheckpointError

ACTIVATIONS: dict[str, Activation] = {"gelu_new": "gelu_tanh", "gelu_pytorch_tanh": "gelu_tanh", "gelu": "gelu"}


def read_config(settings: Mapping[str, Any]) -> DecoderConfig:  # Any: JSON
    """Read GPT2Config's settings; those left out have transformers' defaults."""
    activation = settings.get("activation_function", "gelu_new")
    if activation not in ACTIVATIONS:
        raise CheckpointError(f"activation {activation!r} is not one of {', '.join(ACTIVATIONS)}")
    if not settings.get("scale_attn_weights", True):
        raise CheckpointError("scale_attn_weights is false; only scaled attention is built for this family")
    if not settings.get("tie_word_embeddings", True):
        raise CheckpointError(
            "tie_word_embeddings is false; only a head tied to the embedding is built for this family"
        )
    width, layers = settings["n_embd"], settings["n_layer"]
    return DecoderConfig(
        vocab_size=settings["vocab_size"],
        window=settings["n_positions"],
        layers=layers,
        d_model=width,
        heads=settings["n_head"],
        d_ff=settings.get("n_inner") or 4 * width,
        bands=(None,) * layers,
        activation=ACTIVATIONS[activation],
        norm_eps=settings.get("layer_norm_epsilon", 1e-5),
        scale_by_layer=settings.get("scale_attn_by_inverse_layer_idx", False),
    )


PARTS = {
    "norm1": "ln_1",
    "qkv": "attn.c_attn",
    "attention_out": "attn.c_proj",
    "norm2": "ln_2",
    "mlp_in": "mlp.c_fc",
    "mlp_out": "mlp.c_proj",
}

FAMILY = Family(
    model_type="gpt2",
    config=read_config,
    prefixes=("transformer.", ""),
    tensors={"tokens": "wte.weight", "positions": "wpe.weight", "norm.weight": "ln_f.weight", "norm.bias": "ln_f.bias"}
    | {
        f"blocks.{{layer}}.{ours}.{kind}": f"h.{{layer}}.{theirs}.{kind}"
        for ours, theirs in PARTS.items()
        for kind in ("weight", "bias")
    },
    transposed=frozenset(f"blocks.{{layer}}.{part}.weight" for part in ("qkv", "attention_out", "mlp_in", "mlp_out")),
    ignored=(r"h\.\d+\.attn\.(bias|masked_bias)", r"lm_head\.weight"),  # masks, and the embedding once more
)

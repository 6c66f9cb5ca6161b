"""Settings of small models of every family, as transformers' configurations take them."""

from __future__ import annotations

from typing import Any

VOCABULARY = 331  # more than the tokenizer has, as published checkpoints are padded

BAND = 5  # shorter than all texts but one

IDS = {"vocab_size": VOCABULARY, "bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0}

SHORT = {**IDS, "n_embd": 32, "n_layer": 3, "n_head": 4, "n_positions": 64, "layer_norm_epsilon": 1e-3}

LONG = {
    **IDS,
    "hidden_size": 32,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 64,
}

GROUPED = {**LONG, "num_key_value_heads": 2, "rms_norm_eps": 1e-3}

WIDE = {**GROUPED, "head_dim": 12}

NEOX = {**LONG, "layer_norm_eps": 1e-3}

OPT = {**LONG, "ffn_dim": 48}

NEO = {
    **IDS,
    "hidden_size": 32,
    "num_layers": 4,
    "num_heads": 4,
    "max_position_embeddings": 64,
    "layer_norm_epsilon": 1e-3,
}

MIXED = ["sliding_attention", "full_attention", "sliding_attention", "full_attention"]

LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 100.0,  # so that among eight pairs are slow, blended and fast ones
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}

LINEAR = {"rope_type": "linear", "rope_theta": 1000.0, "factor": 4.0}


# model_type: variant: what is given to transformers' configuration
CASES: dict[str, dict[str, dict[str, Any]]] = {
    "gpt2": {
        "plain": SHORT,
        "cerebras": {**SHORT, "activation_function": "gelu", "n_inner": 100},
        "scaled-by-layer": {**SHORT, "scale_attn_by_inverse_layer_idx": True},
        "unscaled": {**SHORT, "scale_attn_weights": False, "tie_word_embeddings": False},
    },
    "gpt_neo": {"banded": {**NEO, "attention_types": [[["global", "local"], 2]], "window_size": BAND}},
    "gptj": {"plain": {**SHORT, "rotary_dim": 4}, "all-turned": {**SHORT, "rotary_dim": 8, "n_inner": 40}},
    "gpt_neox": {
        "parallel": NEOX,
        "sequential": {**NEOX, "use_parallel_residual": False, "attention_bias": False},
        "stretched": {**NEOX, "rope_parameters": {**LINEAR, "partial_rotary_factor": 1.0}, "tie_word_embeddings": True},
    },
    "opt": {
        "plain": OPT,
        "350m": {**OPT, "word_embed_proj_dim": 24, "do_layer_norm_before": False},
        "bare": {**OPT, "enable_bias": False, "_remove_final_layer_norm": True, "tie_word_embeddings": False},
    },
    "llama": {
        "grouped": GROUPED,
        "tied-3.1": {**WIDE, "rope_parameters": LLAMA3, "tie_word_embeddings": True},
        "biased": {**LONG, "rope_parameters": LINEAR, "attention_bias": True, "mlp_bias": True},
    },
    "mistral": {"banded": {**GROUPED, "sliding_window": BAND}, "dense": {**WIDE, "sliding_window": None}},
    "qwen2": {
        "dense": {**GROUPED, "tie_word_embeddings": True},
        "banded": {**GROUPED, "use_sliding_window": True, "sliding_window": BAND, "max_window_layers": 2},
    },
    "qwen3": {
        "dense": WIDE,
        "banded": {**WIDE, "use_sliding_window": True, "sliding_window": BAND, "layer_types": MIXED},
        "biased": {**WIDE, "attention_bias": True, "tie_word_embeddings": True},
    },
    "gemma": {"grouped": WIDE},
    "gemma2": {
        # caps in reach of these small models' scores and logits
        "capped": {
            **WIDE,
            "sliding_window": BAND,
            "query_pre_attn_scalar": 6,
            "attn_logit_softcapping": 1.0,
            "final_logit_softcapping": 2.0,
        },
        "uncapped": {
            **WIDE,
            "sliding_window": BAND,
            "attn_logit_softcapping": None,
            "final_logit_softcapping": None,
            "attention_bias": True,
        },
    },
    "gemma3_text": {
        "two-ropes": {
            **WIDE,
            "sliding_window": BAND,
            "layer_types": MIXED,
            "query_pre_attn_scalar": 6,
            "rope_parameters": {
                "full_attention": LINEAR,
                "sliding_attention": {"rope_type": "default", "rope_theta": 100.0},
            },
        },
        "capped": {**WIDE, "sliding_window": BAND, "final_logit_softcapping": 2.0, "tie_word_embeddings": False},
    },
}

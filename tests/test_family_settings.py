"""Every family's settings: what config.json means, and what is said of one that is wrong."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from evalkit.decoder.families import FAMILIES
from evalkit.errors import CheckpointError
from tests.family_cases import CASES, GROUPED, LLAMA3, LONG, MIXED, WIDE


def read(model_type: str, settings: dict[str, Any]) -> Any:
    return FAMILIES[model_type].config(json.loads(json.dumps(settings)))


def as_saved(model_type: str, settings: dict[str, Any]) -> dict[str, Any]:
    from transformers import AutoConfig

    return json.loads(AutoConfig.for_model(model_type, **settings).to_json_string(use_diff=False))


@pytest.mark.parametrize("model_type", CASES)
def test_absent_settings_have_transformers_defaults(model_type: str) -> None:
    sizes = {"hidden_size": 256, "num_hidden_layers": 24, "num_attention_heads": 32, "intermediate_size": 48}
    least = {
        "gpt2": {"n_embd": 64, "n_layer": 4, "n_head": 4, "n_positions": 1024},
        "gptj": {"n_embd": 256, "n_layer": 4, "n_head": 4},
        "gpt_neo": {"hidden_size": 64, "num_layers": 24, "num_heads": 4},
        "opt": {**sizes, "ffn_dim": 48},
    }.get(model_type, sizes) | {"vocab_size": 300}
    assert read(model_type, least) == read(model_type, as_saved(model_type, least))


OLDER = [
    ("llama", {**GROUPED, "rope_theta": 500_000.0, "rope_scaling": {**LLAMA3, "type": "llama3"}}),
    ("llama", {**GROUPED, "rope_scaling": {"type": "linear", "factor": 2.0}}),
    ("llama", {**GROUPED, "rope_scaling": None, "rope_theta": 7.5, "num_key_value_heads": None}),
    ("mistral", {**GROUPED, "rope_theta": 1_000_000.0, "head_dim": None}),
    ("qwen2", {**GROUPED, "rope_theta": 1_000_000.0, "use_sliding_window": True, "max_window_layers": 3}),
    ("qwen2", {**GROUPED, "use_sliding_window": False, "sliding_window": 9, "max_window_layers": 1}),
    ("gpt_neox", {**LONG, "rotary_pct": 0.5, "rotary_emb_base": 77}),
    ("gpt_neox", {**LONG, "rope_scaling": {"type": "linear", "factor": 2.0}, "rotary_emb_base": 77}),
    ("gemma", {**WIDE, "hidden_act": "gelu"}),
    ("gemma2", {**WIDE, "rope_theta": 77.0, "hidden_act": "gelu_pytorch_tanh"}),
    (
        "gemma3_text",
        {
            **WIDE,
            "rope_theta": 77.0,
            "rope_local_base_freq": 5.0,
            "sliding_window_pattern": 2,
            "rope_scaling": {"rope_type": "linear", "factor": 8.0},
        },
    ),
]


@pytest.mark.parametrize(("model_type", "settings"), OLDER)
def test_older_settings_mean_what_transformers_makes_of_them(model_type: str, settings: dict[str, Any]) -> None:
    assert read(model_type, settings) == read(model_type, as_saved(model_type, settings))


REFUSED = [
    ("llama", {"rope_scaling": {"type": "yarn", "factor": 4.0}}, "rope_type is 'yarn'"),
    ("qwen2", {"rope_scaling": {"type": "dynamic", "factor": 4.0}}, "rope_type is 'dynamic'"),
    ("llama", {"rope_parameters": {"rope_theta": 5.0, "partial_rotary_factor": 0.5}}, "partial_rotary_factor is 0.5"),
    ("llama", {"hidden_act": "quick_gelu"}, "hidden_act is 'quick_gelu'"),
    ("qwen3", {"layer_types": ["full_attention", "linear_attention"] * 2}, "layer_types is 'linear_attention'"),
    ("mistral", {"layer_types": MIXED}, "layer_types is ["),
    ("gemma", {"use_bidirectional_attention": True}, "use_bidirectional_attention is True"),
    ("gemma3_text", {"attn_logit_softcapping": 50.0}, "attn_logit_softcapping is 50.0"),
    ("opt", {"layer_norm_elementwise_affine": False}, "layer_norm_elementwise_affine is False"),
    ("gpt2", {"add_cross_attention": True}, "add_cross_attention is True"),
    ("gptj", {"tie_word_embeddings": True}, "tie_word_embeddings is True"),
    ("gpt_neo", {"attention_types": [[["global", "sparse"], 2]]}, "attention_types is 'sparse'"),
]


@pytest.mark.parametrize(("model_type", "changed", "message"), REFUSED)
def test_settings_that_are_not_computed_are_named(model_type: str, changed: dict[str, Any], message: str) -> None:
    settings = next(iter(CASES[model_type].values())) | changed
    with pytest.raises(CheckpointError) as caught:
        read(model_type, settings)
    assert str(caught.value).startswith(message)
    assert str(caught.value).endswith("which is not computed here; transformers runs the model as hf:ID")


NOT_BOOLEANS = [
    ("gpt_neox", "use_parallel_residual"),
    ("gpt_neox", "attention_bias"),
    ("llama", "attention_bias"),
    ("llama", "mlp_bias"),
    ("llama", "tie_word_embeddings"),
    ("qwen2", "use_sliding_window"),
    ("opt", "do_layer_norm_before"),
    ("opt", "enable_bias"),
    ("gpt2", "scale_attn_weights"),
    ("gpt_neo", "tie_word_embeddings"),
]


@pytest.mark.parametrize(("model_type", "name"), NOT_BOOLEANS)
@pytest.mark.parametrize("value", [3, 1, "yes", []])
def test_booleans_are_true_or_false(model_type: str, name: str, value: object) -> None:
    settings = next(iter(CASES[model_type].values())) | {name: value}
    with pytest.raises(CheckpointError, match=rf"^{name}: found .*, expected true or false$"):
        read(model_type, settings)


@pytest.mark.parametrize(
    ("model_type", "name", "value", "expected"),
    [
        ("gptj", "rotary_dim", 3, "an even number"),
        ("llama", "rope_theta", "x", "a number above 0"),
        ("llama", "rope_theta", float("inf"), "a number above 0"),
        ("llama", "hidden_size", None, "a whole number"),
        ("gpt_neox", "rotary_pct", "x", "a number above 0"),
    ],
)
def test_wrong_numbers_are_named(model_type: str, name: str, value: object, expected: str) -> None:
    settings = next(iter(CASES[model_type].values())) | {name: value}
    settings.pop("rope_parameters", None)
    with pytest.raises(CheckpointError, match=rf"^{name}: found .*, expected {expected}"):
        read(model_type, settings)


def test_bases_of_long_windows_are_read() -> None:
    # gradientai/Llama-3-8B-Instruct-Gradient-1048k
    settings = {name: value for name, value in next(iter(CASES["llama"].values())).items() if name != "rope_parameters"}
    assert read("llama", settings | {"rope_theta": 3_580_165_449.0}).rotary is not None


WRONG = [None, "x", -1, 0, 0.5, 10**12, float("nan"), [], ["x"], {"x": 1}]

OPTIONAL = {"rope_parameters", "rope_scaling", "rope_theta", "sliding_window_pattern", "hidden_act", "layer_types"}


@pytest.mark.parametrize("model_type", CASES)
def test_a_wrong_value_is_named_as_config_json_names_it(model_type: str) -> None:
    settings = {name: value for variant in CASES[model_type].values() for name, value in variant.items()}
    said: list[str] = []
    for name in settings.keys() | OPTIONAL:
        for value in WRONG:
            try:
                read(model_type, settings | {name: value})
            except CheckpointError as error:
                said.append(str(error))
    assert said
    # Settings that contradict each other are told by the name of either.
    names = "|".join(settings.keys() | OPTIONAL)
    form = rf"({names})(: found .*, (expected|but layer_types asks) .*| is .*, which is not computed here; .*)"
    assert [each for each in said if not re.fullmatch(form, each)] == []


CONTRADICTING = [
    ("gpt2", {"n_embd": 30}, "n_embd: found 30, expected a multiple of n_head, which is 4"),
    ("gptj", {"rotary_dim": 10}, "rotary_dim: found 10, expected a whole number from 1 to 8"),
    ("gpt_neo", {"num_layers": 5}, "attention_types: found a list of 4, expected a list of 5, a kind for each layer"),
    ("gpt_neox", {"rotary_pct": 1.5}, "rotary_pct: found 1.5, expected a number above 0, at most 1"),
    (
        "gpt_neox",
        {"rotary_pct": 0.1},
        "rotary_pct: found 0 numbers of a head to turn, expected an even number, 2 or more",
    ),
    ("gpt_neox", {"rotary_emb_base": "x"}, "rotary_emb_base: found 'x', expected a number above 0"),
    ("llama", {"num_key_value_heads": 3}, "num_key_value_heads: found 3, expected a divisor of num_attention_heads"),
    ("llama", {"rope_scaling": "x"}, "rope_scaling: found 'x', expected null or an object of settings"),
    (
        "llama",
        {"rope_scaling": {**LLAMA3, "high_freq_factor": 1.0}},
        "high_freq_factor: found 1, expected more than low_freq_factor, which is 1",
    ),
    (
        "qwen2",
        {"layer_types": MIXED, "use_sliding_window": False},
        "use_sliding_window: found false, expected true, as",
    ),
    (
        "qwen3",
        {"layer_types": MIXED[:3], "use_sliding_window": True},
        "layer_types: found a list of 3, expected a list",
    ),
    ("gemma3_text", {"rope_local_base_freq": "x"}, "rope_local_base_freq: found 'x', expected a number above 0"),
]


@pytest.mark.parametrize(("model_type", "changed", "message"), CONTRADICTING)
def test_settings_that_contradict_each_other_are_told(model_type: str, changed: dict[str, Any], message: str) -> None:
    settings = next(iter(CASES[model_type].values())) | changed
    with pytest.raises(CheckpointError) as caught:
        read(model_type, settings)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("model_type", "name"),
    [("gpt2", "n_embd"), ("opt", "ffn_dim"), ("llama", "vocab_size"), ("gpt_neox", "hidden_size")],
)
def test_a_setting_that_is_missing_is_named(model_type: str, name: str) -> None:
    settings = {key: value for key, value in next(iter(CASES[model_type].values())).items() if key != name}
    with pytest.raises(CheckpointError, match=rf"^{name}: found no such setting, expected a whole number"):
        read(model_type, settings)

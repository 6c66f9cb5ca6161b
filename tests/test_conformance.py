"""Every family: random checkpoints that transformers saves have the same logits in our decoder."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from evalkit.decoder import checkpoint
from evalkit.decoder.config import DecoderConfig
from evalkit.decoder.engine import from_folder
from evalkit.decoder.families import FAMILIES, native
from evalkit.decoder.model import Decoder
from evalkit.errors import CheckpointError
from evalkit.records import LogLikelihood
from tests.decoders import make_tokenizer, prefill, save_twin

TOLERANCE = 1e-5  # of the largest logit; a wrong GELU moves it by 1e-4
BAND = 5  # shorter than all texts but one
VOCABULARY = 331  # more than the tokenizer has, as published checkpoints are padded
LENGTHS = (4, 30, 17)

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


@dataclass(frozen=True)
class Twin:
    """A random model of transformers and what was loaded from the folder that it was saved to."""

    folder: Path
    model: Any
    decoder: Decoder


def make_twin(folder: Path, model_type: str, settings: dict[str, Any]) -> Twin:
    from transformers import AutoConfig

    model = save_twin(folder, AutoConfig.for_model(model_type, **settings))
    return Twin(folder, model, checkpoint.load(folder).decoder)


@pytest.fixture(
    scope="module",
    params=[(model_type, variant) for model_type, variants in CASES.items() for variant in variants],
    ids="-".join,
)
def twin(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Twin]:
    model_type, variant = request.param
    folder = tmp_path_factory.mktemp("twin")
    yield make_twin(folder, model_type, CASES[model_type][variant])
    shutil.rmtree(folder)


def draw(*lengths: int) -> list[list[int]]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randint(0, 300, (length,), generator=generator).tolist() for length in lengths]


def assert_near(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, atol=TOLERANCE * expected.abs().max().item(), rtol=0)


def test_every_family_has_cases() -> None:
    assert CASES.keys() == FAMILIES.keys() - {native.MODEL_TYPE}


@torch.inference_mode()
def test_logits_equal_transformers(twin: Twin) -> None:
    tokens = torch.tensor(draw(40, 40))
    assert_near(twin.decoder.logits(twin.decoder(tokens)), twin.model(tokens).logits)


@torch.inference_mode()
@pytest.mark.parametrize("positions", [[39], [3, 11, 12, 39], list(range(1, 40))], ids=["last", "few", "most"])
def test_logits_of_wanted_positions_equal_transformers(twin: Twin, positions: list[int]) -> None:
    tokens, wanted = torch.tensor(draw(40, 40)), torch.tensor([positions] * 2)
    assert_near(twin.decoder.logits(twin.decoder(tokens, wanted=wanted)), twin.model(tokens).logits[:, positions])


@torch.inference_mode()
def test_cached_logits_equal_transformers_alone_and_in_an_unequal_batch(twin: Twin) -> None:
    rows = draw(*LENGTHS)
    expected = [twin.model(torch.tensor([ids])).logits[0] for ids in rows]
    for batch in [*([each] for each in range(len(rows))), range(len(rows))]:
        cache, hidden = prefill(twin.decoder, [rows[each][:-2] for each in batch], capacity=40)
        steps = [twin.decoder.logits(hidden)]
        for offset in (-2, -1):
            hidden = twin.decoder(torch.tensor([[rows[each][offset]] for each in batch]), cache=cache)[:, -1]
            cache.advance()
            steps.append(twin.decoder.logits(hidden))
        for row, each in enumerate(batch):
            assert_near(torch.stack([step[row] for step in steps]), expected[each][-3:])


@torch.inference_mode()
def test_cached_logits_of_several_tokens_at_once_equal_transformers(twin: Twin) -> None:
    rows, more = draw(*LENGTHS), torch.tensor(draw(7, 7, 7))
    cache, _ = prefill(twin.decoder, rows, capacity=40)
    found = twin.decoder.logits(twin.decoder(more, cache=cache))
    for row, ids in enumerate(rows):
        assert_near(found[row], twin.model(torch.tensor([ids + more[row].tolist()])).logits[0, -7:])


def test_scores_of_requests_that_share_their_beginnings_equal_transformers(twin: Twin) -> None:
    shared = "The cat sat on the mat. Q: What is 98 plus 45?"
    contexts = [shared, f"{shared}\n\nA: 143 and on", "Q: What is", "The cat sat on"]
    requests = [LogLikelihood(each, after) for each in contexts for after in (" 143", " the naïve cat", " the mat")]
    made = make_tokenizer()
    for request, answer in zip(requests, from_folder(twin.folder, name="twin").answer(requests), strict=True):
        before, after = (encoding.ids for encoding in made.encode([request.context, request.continuation]))
        with torch.inference_mode():
            logits = twin.model(torch.tensor([before + after])).logits[0, len(before) - 1 : -1]
        expected = logits.log_softmax(-1).gather(1, torch.tensor(after)[:, None]).sum().item()
        assert answer.total == pytest.approx(expected, abs=TOLERANCE * len(after) * logits.abs().max().item())


@torch.inference_mode()
def test_bfloat16_is_as_near_the_truth_as_transformers(twin: Twin) -> None:
    from transformers import AutoModelForCausalLM

    tokens = torch.tensor(draw(40, 40))
    truth = twin.model(tokens).logits
    theirs = AutoModelForCausalLM.from_pretrained(twin.folder, dtype=torch.bfloat16).eval()(tokens).logits
    decoder = checkpoint.load(twin.folder, dtype=torch.bfloat16).decoder
    ours = decoder.logits(decoder(tokens))
    assert (ours - truth).abs().mean() <= 1.5 * (theirs.float() - truth).abs().mean()


@torch.inference_mode()
@pytest.mark.parametrize("model_type", CASES)
def test_sharded_checkpoint_gives_the_same_logits(tmp_path: Path, model_type: str) -> None:
    from transformers import AutoConfig

    model = save_twin(
        tmp_path, AutoConfig.for_model(model_type, **next(iter(CASES[model_type].values()))), shard_size="20KB"
    )
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 1
    tokens = torch.tensor(draw(20))
    decoder = checkpoint.load(tmp_path).decoder
    assert_near(decoder.logits(decoder(tokens)), model(tokens).logits)


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


@pytest.mark.parametrize("model_type", CASES)
def test_settings_that_errors_name_are_of_the_decoder(model_type: str) -> None:
    assert set(FAMILIES[model_type].settings) <= {field.name for field in fields(DecoderConfig)}


WRONG = [None, "x", -1, 0, 0.5, 10**12, float("nan"), [], ["x"], {"x": 1}]
OPTIONAL = {"rope_parameters", "rope_scaling", "rope_theta", "sliding_window_pattern", "hidden_act", "layer_types"}


@pytest.mark.parametrize("model_type", CASES)
def test_wrong_values_raise_what_the_loader_reports(model_type: str) -> None:
    settings = {name: value for variant in CASES[model_type].values() for name, value in variant.items()}
    for name in settings.keys() | OPTIONAL:
        for value in WRONG:
            # checkpoint.load makes one line of each of these
            with suppress(CheckpointError, KeyError, TypeError, ValueError, MemoryError, OverflowError):
                read(model_type, settings | {name: value})


def test_opt_without_the_name_of_the_model_before_its_decoder_loads(tmp_path: Path) -> None:
    # some published files' names begin with `decoder.`
    twin = make_twin(tmp_path, "opt", CASES["opt"]["350m"])
    tensors = {name.removeprefix("model."): t for name, t in load_file(tmp_path / checkpoint.WEIGHTS).items()}
    save_file(tensors, tmp_path / checkpoint.WEIGHTS)
    found = checkpoint.load(tmp_path).decoder.state_dict()
    assert all(torch.equal(tensor, found[name]) for name, tensor in twin.decoder.state_dict().items())


MASKS = [
    ("gpt_neo", "transformer.h.0.attn.attention.bias"),
    ("gptj", "transformer.h.0.attn.masked_bias"),
    ("gpt_neox", "gpt_neox.layers.0.attention.rotary_emb.inv_freq"),
    ("llama", "model.layers.0.self_attn.rotary_emb.inv_freq"),
]


@pytest.mark.parametrize(("model_type", "name"), MASKS)
def test_what_old_versions_saved_beside_the_weights_is_ignored(tmp_path: Path, model_type: str, name: str) -> None:
    make_twin(tmp_path, model_type, next(iter(CASES[model_type].values())))
    tensors = load_file(tmp_path / checkpoint.WEIGHTS)
    save_file(tensors | {name: torch.ones(4)}, tmp_path / checkpoint.WEIGHTS)
    checkpoint.load(tmp_path)

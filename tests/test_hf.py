"""Models of transformers behind evalkit's interface: every architecture's own logits, alone and in a batch."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from evalkit.decoder.tokenizer import Tokenizer, save
from evalkit.errors import CheckpointError, ModelMemoryError, UsageError
from evalkit.models import hf
from evalkit.models.hf import load
from evalkit.records import Completion, Decoding, Generate, LogLikelihood, LogProb, Rolling
from tests.decoders import edit_json, make_tokenizer, save_gpt2

CONTEXTS = ["The cat", "Q: What is 98 plus 45?\n\nA:", "Größe", "The mat sat on the cat and the", "a"]
SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
GROUPED = SMALL | {"num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 64}
LONGROPE = {"rope_type": "longrope", "rope_theta": 100.0, "short_factor": [1.0] * 4, "long_factor": [3.0] * 4}
# What is special about each; the last three have no cache that can be padded or reordered.
FAMILIES = {
    "bloom": {"hidden_size": 32, "n_layer": 2, "n_head": 4},  # ALiBi from the mask
    "opt": SMALL | {"ffn_dim": 48, "word_embed_proj_dim": 32, "max_position_embeddings": 64},  # positions from the mask
    "gemma2": GROUPED | {"sliding_window": 4, "final_logit_softcapping": 5.0},  # caps its logits
    "cohere": GROUPED | {"logit_scale": 0.3},  # scales its logits
    "falcon": {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "alibi": True},
    "mixtral": GROUPED | {"num_local_experts": 4},
    "gptj": {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64, "rotary_dim": 4},
    "phi3": GROUPED | {"original_max_position_embeddings": 16, "rope_parameters": LONGROPE},
    "mamba": {"hidden_size": 32, "num_hidden_layers": 2, "state_size": 8},
    "recurrent_gemma": GROUPED
    | {"lru_width": 32, "block_types": ["recurrent", "attention"], "attention_window_size": 16},
    "openai-gpt": {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64},
}


def save_family(folder: Path, family: str) -> Any:  # Any: transformers is untyped
    """Save a random model of a family with a tokenizer that transformers reads as it stands."""
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(0)
    made = make_tokenizer()
    ends = {"bos_token_id": made.end_of_text, "eos_token_id": made.end_of_text, "pad_token_id": None}
    config = AutoConfig.for_model(family, vocab_size=made.size, **(ends | FAMILIES[family]))
    model = AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    model.save_pretrained(folder)
    save(Tokenizer(made.backend, start=None, end_of_text=made.end_of_text), folder)
    edit_json(folder / "tokenizer_config.json", tokenizer_class="PreTrainedTokenizerFast")
    return model


@pytest.mark.parametrize("family", FAMILIES)
def test_log_likelihoods_are_the_models_own(tmp_path: Path, family: str) -> None:
    twin = save_family(tmp_path, family)
    made = make_tokenizer()
    found = load(str(tmp_path), device="cpu").answer([LogLikelihood(context, " sat on") for context in CONTEXTS])
    for context, answer in zip(CONTEXTS, found, strict=True):
        before = made.encode([context])[0].ids
        after = made.encode([context + " sat on"])[0].ids[len(before) :]
        with torch.inference_mode():
            logprobs = twin(torch.tensor([before + after])).logits[0, len(before) - 1 : -1].log_softmax(-1)
        assert isinstance(answer, LogProb)
        assert answer.total == pytest.approx(logprobs[range(len(after)), after].sum().item(), abs=1e-4)
        assert answer.is_greedy == (logprobs.argmax(-1).tolist() == after)


@pytest.mark.parametrize("family", FAMILIES)
def test_greedy_text_in_a_batch_is_that_of_whole_forwards(tmp_path: Path, family: str) -> None:
    twin = save_family(tmp_path, family)
    made = make_tokenizer()
    found = load(str(tmp_path), device="cpu").answer([Generate(context, max_tokens=8) for context in CONTEXTS])
    for context, answer in zip(CONTEXTS, found, strict=True):
        ids = made.encode([context])[0].ids
        new: list[int] = []
        while len(new) < 8 and made.end_of_text not in new:
            with torch.inference_mode():
                new.append(int(twin(torch.tensor([ids + new])).logits[0, -1].argmax()))
        assert isinstance(answer, Completion)
        assert (answer.text, answer.tokens) == (made.decode(new), len(new))


def test_less_memory_means_smaller_batches_from_then_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_gpt2(tmp_path)
    requests = [LogLikelihood(context, " sat") for context in CONTEXTS] + [Rolling("The cat sat " * 9, 8)]
    expected = load(str(tmp_path), device="cpu").answer(requests)
    model = load(str(tmp_path), device="cpu")
    too_large: list[int] = []
    whole = model._network.logits

    def scarce(rows: list[list[int]], places: list[range]) -> torch.Tensor:
        if (size := len(rows) * max(map(len, rows))) > 20:
            too_large.append(size)
            raise torch.OutOfMemoryError("too large")
        return whole(rows, places)

    monkeypatch.setattr(model._network, "logits", scarce)
    for found, answer in zip(model.answer(requests), expected, strict=True):
        assert isinstance(found, LogProb)
        assert isinstance(answer, LogProb)
        assert found.total == pytest.approx(answer.total, abs=1e-4)
    assert too_large
    too_large.clear()
    model.answer(requests)
    assert not too_large


def test_a_request_that_does_not_fit_alone_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_gpt2(tmp_path)
    model = load(str(tmp_path), device="cpu")

    def scarce(*_: object) -> torch.Tensor:
        raise torch.OutOfMemoryError("too large")

    monkeypatch.setattr(model._network, "logits", scarce)
    with pytest.raises(ModelMemoryError, match="too large"):
        model.answer([LogLikelihood("The cat", " sat")])


def test_a_long_text_does_not_change_a_short_one_beside_it(tmp_path: Path) -> None:
    save_family(tmp_path, "phi3")
    asked = [LogLikelihood("The cat", " sat on"), LogLikelihood("The cat" * 20, " sat on")]
    alone = [load(str(tmp_path), device="cpu").answer([each])[0].total for each in asked]
    together = [each.total for each in load(str(tmp_path), device="cpu").answer(asked)]
    assert together == pytest.approx(alone, abs=1e-4)


def test_continuations_are_scored_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_gpt2(tmp_path)
    model = load(str(tmp_path), device="cpu")
    requests = [LogLikelihood(context, " sat on the mat") for context in CONTEXTS]
    expected = [answer.total for answer in model.answer(requests)]
    monkeypatch.setattr(hf, "LOGIT_POSITIONS", 6)
    assert [answer.total for answer in model.answer(requests)] == pytest.approx(expected, abs=1e-4)


def test_half_precision_answers_and_names_its_type(tmp_path: Path) -> None:
    save_gpt2(tmp_path)
    model = load(str(tmp_path), device="cpu", dtype="bfloat16")
    assert model.fingerprint.endswith("-bfloat16")
    answers = model.answer([Generate("The cat", max_tokens=4, decoding=Decoding(beams=2)), LogLikelihood("a", " b")])
    assert isinstance(answers[0], Completion)


def test_another_token_may_end_an_answer(tmp_path: Path) -> None:
    save_gpt2(tmp_path)
    [answer] = load(str(tmp_path), device="cpu").answer([Generate("The cat", max_tokens=1)])
    assert isinstance(answer, Completion)
    made = make_tokenizer()
    with torch.inference_mode():
        model = load(str(tmp_path), device="cpu")
        likeliest = int(model._network.logits([made.encode(["The cat"])[0].ids], [range(1, 2)]).argmax())
    (tmp_path / "generation_config.json").write_text(json.dumps({"eos_token_id": [made.end_of_text, likeliest]}))
    [answer] = load(str(tmp_path), device="cpu").answer([Generate("The cat", max_tokens=1)])
    assert answer == Completion("", 1, "end-of-text")


def refusal(folder: Path | str, **flags: Any) -> str:  # Any: of several types
    with pytest.raises((CheckpointError, UsageError)) as caught:
        load(str(folder), **({"device": "cpu"} | flags))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    assert "no such folder" in refusal(tmp_path / "absent" / "deep")


def test_a_hub_id_that_is_not_cached_is_told() -> None:
    assert "transformers cannot load it" in refusal("nobody/nothing")


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("hf:nobody/nothing", "hf:nobody/nothing: transformers cannot load it ("),
        ("nobody/nothing", "no folder 'nobody/nothing', and no such model could be had from the hub ("),
    ],
)
def test_a_hub_that_is_away_is_told_in_one_line(tmp_path: Path, model: str, said: str) -> None:
    own = {"HF_HOME": str(tmp_path), "HF_ENDPOINT": "http://127.0.0.1:9", "OMP_NUM_THREADS": "1"}
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith("HF_") and "proxy" not in name.lower()
    }
    command = [sys.executable, "-m", "evalkit", "generate", "--model", model, "--prompt", "a"]
    found = subprocess.run(command, env=kept | own, capture_output=True, text=True, check=False, timeout=60)
    assert found.returncode == 2
    [line] = found.stderr.splitlines()
    assert line.startswith(f"error: {said}")


def test_what_ends_an_answer_counts_in_the_fingerprint(tmp_path: Path) -> None:
    save_gpt2(tmp_path)
    before = load(str(tmp_path), device="cpu").fingerprint
    (tmp_path / "generation_config.json").write_text(json.dumps({"eos_token_id": [1, 2]}))
    assert load(str(tmp_path), device="cpu").fingerprint != before


def add_tensors(folder: Path, **tensors: torch.Tensor) -> None:
    """Add tensors to a checkpoint's own, or replace them."""
    from safetensors.torch import load_file, save_file

    file = folder / "model.safetensors"
    save_file(load_file(file) | tensors, file, metadata={"format": "pt"})


def test_layers_that_the_configuration_lacks_are_told(tmp_path: Path) -> None:
    save_gpt2(tmp_path)
    edit_json(tmp_path / "config.json", n_layer=1)
    assert "tensors are unknown, such as transformer.h.1.attn.c_attn.weight" in refusal(tmp_path)


def test_a_tensor_too_many_is_told(tmp_path: Path) -> None:
    save_gpt2(tmp_path)
    add_tensors(tmp_path, extra=torch.ones(2))
    assert "1 tensor is unknown, such as extra" in refusal(tmp_path)


def test_masks_and_angles_and_tied_heads_may_be_left_over(tmp_path: Path) -> None:
    twin = save_gpt2(tmp_path)
    masks = {
        "transformer.h.0.attn.bias": torch.ones(1, 1, 4, 4, dtype=torch.bool),
        "transformer.h.1.attn.masked_bias": torch.tensor(-1e4),
        "transformer.h.1.attn.rotary_emb.inv_freq": torch.ones(3),
        "lm_head.weight": twin.transformer.wte.weight.detach().clone(),
    }
    add_tensors(tmp_path, **masks)
    assert load(str(tmp_path), device="cpu").window == 64


def test_weights_that_are_whole_numbers_are_told(tmp_path: Path) -> None:
    twin = save_gpt2(tmp_path)
    name = "transformer.h.0.mlp.c_fc.weight"
    add_tensors(tmp_path, **{name: (twin.get_parameter(name).detach() * 9).to(torch.int8)})
    assert f"{name} has dtype int8, expected numbers with a fraction" in refusal(tmp_path)


@pytest.mark.parametrize("request_", [LogLikelihood("The cat", " sat"), Generate("The cat", max_tokens=2)])
def test_answers_that_are_not_finite_are_told(tmp_path: Path, request_: LogLikelihood | Generate) -> None:
    twin = save_gpt2(tmp_path)
    name = "transformer.h.0.mlp.c_fc.weight"
    add_tensors(tmp_path, **{name: twin.get_parameter(name).detach() * 1e38})
    model = load(str(tmp_path), device="cpu")
    with pytest.raises(CheckpointError, match=r"log-probabilities that are not finite in float32") as caught:
        model.answer([request_])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("family", "settings", "told"),
    [
        ("gpt2", {"n_layer": -1}, "tensors are unknown"),
        ("gpt2", {"n_embd": "x"}, "Field 'n_embd' expected int, got str"),
        ("gptj", {"rotary_dim": 3}, "size of tensor"),
    ],
)
def test_settings_that_cannot_be_computed_are_told(
    tmp_path: Path, family: str, settings: dict[str, object], told: str
) -> None:
    save_gpt2(tmp_path) if family == "gpt2" else save_family(tmp_path, family)
    edit_json(tmp_path / "config.json", **settings)
    assert told in refusal(tmp_path)


def test_a_model_without_a_head_is_told(tmp_path: Path) -> None:
    from transformers import BertConfig, BertModel

    save_gpt2(tmp_path)
    config = BertConfig(**SMALL, vocab_size=make_tokenizer().size, max_position_embeddings=64)
    BertModel(config).save_pretrained(tmp_path)
    assert "it was saved as BertModel, which is no causal language model" in refusal(tmp_path)


def test_a_model_of_another_kind_is_told(tmp_path: Path) -> None:
    save_gpt2(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "t5"}')
    edit_json(tmp_path / "tokenizer_config.json", tokenizer_class="PreTrainedTokenizerFast")
    assert "T5Config belongs to no causal language model" in refusal(tmp_path)


class Harmful:
    """Runs a command where it is unpickled."""

    def __reduce__(self) -> tuple[Any, tuple[str]]:  # Any: a function
        return os.system, ("echo harm",)


def test_what_a_pickle_asks_for_is_told_without_advice_to_run_it(tmp_path: Path) -> None:
    save_gpt2(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    torch.save({"a": Harmful()}, tmp_path / "pytorch_model.bin")
    said = refusal(tmp_path)
    assert "system, which is no tensor and may run code; convert it to safetensors" in said
    assert "weights_only" not in said


def test_missing_tensors_are_told(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    save_gpt2(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    tensors.pop("transformer.h.0.mlp.c_fc.weight")
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    assert "transformer.h.0.mlp.c_fc.weight" in refusal(tmp_path)


def test_weights_of_another_shape_are_told(tmp_path: Path) -> None:
    save_gpt2(tmp_path)
    edit_json(tmp_path / "config.json", n_embd=96)
    assert "transformer.h.0.attn.c_attn.bias has shape (144,), config.json asks for (288,)" in refusal(tmp_path)


def test_numbers_that_are_not_finite_are_told(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    save_gpt2(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    tensors["transformer.ln_f.weight"][0] = torch.nan
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    assert "transformer.ln_f.weight holds numbers that are not finite" in refusal(tmp_path)


def test_a_vocabulary_smaller_than_the_tokenizers_is_told(tmp_path: Path) -> None:
    save_gpt2(tmp_path, vocab_size=make_tokenizer().size - 1)
    assert "use the tokenizer the model was trained with" in refusal(tmp_path)


@pytest.mark.parametrize("ends", [-1, [0, 99_999]])
def test_an_end_that_is_no_token_of_the_model_is_told(tmp_path: Path, ends: object) -> None:
    save_gpt2(tmp_path, vocab_size=320)
    (tmp_path / "generation_config.json").write_text(json.dumps({"eos_token_id": ends}))
    assert re.search(r"eos_token_id: found (-1|99999), expected 0 to 319", refusal(tmp_path))


def test_code_of_a_checkpoint_is_not_run(tmp_path: Path) -> None:
    save_gpt2(tmp_path)
    (tmp_path / "own.py").write_text("raise SystemExit('ran')")
    edit_json(
        tmp_path / "config.json",
        model_type="never_heard_of",
        auto_map={"AutoConfig": "own.Config", "AutoModelForCausalLM": "own.Model"},
    )
    assert "code of its own, which evalkit does not run" in refusal(tmp_path)


def test_a_model_that_sees_what_follows_is_refused(tmp_path: Path) -> None:
    from transformers import BertConfig, BertLMHeadModel

    save_gpt2(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    config = BertConfig(**SMALL, vocab_size=make_tokenizer().size, max_position_embeddings=64)
    torch.manual_seed(0)
    model = BertLMHeadModel(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    model.save_pretrained(tmp_path)
    edit_json(tmp_path / "tokenizer_config.json", tokenizer_class="PreTrainedTokenizerFast")
    assert "expected a causal model" in refusal(tmp_path)


@pytest.mark.parametrize(("flag", "value"), [("device", "tpu"), ("dtype", "int8"), ("window", 65), ("window", 1)])
def test_flags_that_cannot_be_had_are_told(tmp_path: Path, flag: str, value: object) -> None:
    save_gpt2(tmp_path)
    assert f"--{flag}" in refusal(tmp_path, **{flag: value})

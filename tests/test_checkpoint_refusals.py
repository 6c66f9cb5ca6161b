"""Checkpoint folders that cannot be loaded: one clear line each."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig

from evalkit.decoder import checkpoint
from evalkit.decoder.families import FAMILIES, native
from evalkit.decoder.families.family import Stacked
from evalkit.decoder.weights import INDEX, WEIGHTS
from evalkit.errors import CheckpointError
from evalkit.models.hf import load as load_hf
from evalkit.models.load import load
from tests.decoders import edit_json, make_decoder, save_gpt2, save_native, save_twin
from tests.family_cases import CASES


@pytest.mark.parametrize("prefix", ["", "transformer."])
@pytest.mark.parametrize("change", ["one number", "a row less", "all"])
def test_tied_head_that_is_stored_as_another_is_refused(tmp_path: Path, change: str, prefix: str) -> None:
    save_gpt2(tmp_path)
    tensors = load_file(tmp_path / WEIGHTS)
    head = tensors["transformer.wte.weight"].clone()
    if change == "one number":
        head[-1, -1] += 1e-3
    head = {"one number": head, "a row less": head[:-1].clone(), "all": torch.zeros(3)}[change]
    save_file(tensors | {f"{prefix}lm_head.weight": head}, tmp_path / WEIGHTS)
    with pytest.raises(
        CheckpointError, match=r"lm_head\.weight is not the embedding, .* tie_word_embeddings false"
    ) as e:
        checkpoint.load(tmp_path)
    assert "\n" not in str(e.value)


@pytest.mark.parametrize("file", ["config.json", "generation_config.json"])
@pytest.mark.parametrize("ends", [320, [0, 99_999]])
def test_an_end_that_is_no_token_of_the_model_is_refused(tmp_path: Path, file: str, ends: object) -> None:
    save_gpt2(tmp_path, vocab_size=320)
    (tmp_path / "generation_config.json").unlink()
    edit_json(tmp_path / "config.json", eos_token_id=None)
    (tmp_path / file).touch()
    settings = json.loads((tmp_path / file).read_text() or "{}")
    (tmp_path / file).write_text(json.dumps(settings | {"eos_token_id": ends}))
    found = ends if isinstance(ends, int) else 99_999
    with pytest.raises(CheckpointError, match=rf"eos_token_id: found {found}, expected 0 to 319"):
        checkpoint.load(tmp_path)


@pytest.mark.parametrize(
    ("setting", "value", "message"),
    [
        ("n_embd", "x", "n_embd: found 'x', expected a whole number"),
        ("n_embd", 0, "n_embd: found 0, expected a whole number"),
        ("n_head", 2.0, "n_head: found 2.0, expected a whole number"),
        ("n_positions", 0, "n_positions: found 0, expected a whole number"),
        ("n_inner", "x", "n_inner: found 'x', expected a whole number"),
        ("layer_norm_epsilon", "x", "layer_norm_epsilon: found 'x', expected a number"),
    ],
)
def test_a_wrong_setting_is_called_what_the_file_calls_it(
    tmp_path: Path, setting: str, value: object, message: str
) -> None:
    save_gpt2(tmp_path)
    edit_json(tmp_path / "config.json", **{setting: value})
    with pytest.raises(CheckpointError) as caught:
        checkpoint.load(tmp_path)
    assert str(caught.value).startswith(f"{tmp_path / 'config.json'}: {message}")


def test_untied_head_that_is_not_stored_is_missing(tmp_path: Path) -> None:
    save_gpt2(tmp_path)
    edit_json(tmp_path / "config.json", tie_word_embeddings=False)
    with pytest.raises(CheckpointError, match=r"missing lm_head\.weight$"):
        checkpoint.load(tmp_path)


def test_stacked_tensors_that_do_not_fit_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_native(tmp_path)
    tensors = load_file(tmp_path / WEIGHTS)
    tensors |= {"up": torch.ones(60, 32), "gate": torch.ones(60, 32)}
    del tensors["blocks.2.mlp_in.weight"]
    save_file(tensors, tmp_path / WEIGHTS)
    source = Stacked(("gate", "up"))
    names = {f"blocks.{{layer}}.{name}": f"blocks.{{layer}}.{name}" for name in native.BLOCK}
    monkeypatch.setitem(
        FAMILIES,
        native.MODEL_TYPE,
        replace(
            native.FAMILY,
            tensors={**native.FAMILY.tensors, **names, "blocks.{layer}.mlp_in.weight": source},
            ignored=(r"blocks\.\d\.mlp_in\.weight",),
        ),
    )
    expected = r"tensors gate and up have shapes \(60, 32\) and \(60, 32\), which make \(120, 32\), .* \(128, 32\)"
    with pytest.raises(CheckpointError, match=expected):
        checkpoint.load(tmp_path)


def test_numbers_beyond_the_dtype_asked_for_are_told_from_broken_ones(tmp_path: Path) -> None:
    save_gpt2(tmp_path)
    tensors = load_file(tmp_path / WEIGHTS)
    tensors["transformer.ln_f.bias"][3] = 1e6  # float16 ends at 65504
    save_file(tensors, tmp_path / WEIGHTS)
    checkpoint.load(tmp_path)
    with pytest.raises(CheckpointError, match=r"ln_f\.bias holds numbers that are not finite in float16; try --dtype"):
        checkpoint.load(tmp_path, dtype=torch.float16)


def test_numbers_beyond_float32_are_not_sent_to_float32(tmp_path: Path) -> None:
    save_gpt2(tmp_path)
    tensors = load_file(tmp_path / WEIGHTS)
    tensors["transformer.ln_f.bias"] = torch.full((48,), 1e39, dtype=torch.float64)  # float32 ends at 3.4e38
    save_file(tensors, tmp_path / WEIGHTS)
    for dtype in (torch.float32, torch.float16):
        with pytest.raises(CheckpointError, match=r"ln_f\.bias holds numbers beyond float32") as caught:
            checkpoint.load(tmp_path, dtype=dtype)
        assert "--dtype" not in str(caught.value)


@pytest.mark.parametrize(
    "name", ["config.json", "tokenizer.json", "generation_config.json", "added_tokens.json", WEIGHTS]
)
def test_a_pipe_in_place_of_a_file_is_refused(tmp_path: Path, name: str) -> None:
    save_gpt2(tmp_path)
    (tmp_path / name).unlink(missing_ok=True)
    os.mkfifo(tmp_path / name)
    with pytest.raises(CheckpointError, match=rf"{name}: found a pipe or device, expected a plain file"):
        checkpoint.load(tmp_path)


def test_all_wrong_tensors_are_named_with_their_file(tmp_path: Path) -> None:
    save_gpt2(tmp_path, shard_size="40KB")
    edit_json(tmp_path / "config.json", n_positions=65, n_inner=100)
    # the position table, and the weights and biases of the three layers' MLPs
    expected = r"wpe\.weight in model-\d+-of-\d+\.safetensors has shape \(64, 48\), .* \(65, 48\); .* and 7 more$"
    with pytest.raises(CheckpointError, match=expected):
        checkpoint.load(tmp_path)


def break_weights(folder: Path, change: str) -> None:
    tensors = load_file(folder / WEIGHTS)
    if change == "missing":
        del tensors["transformer.h.1.mlp.c_fc.weight"]
    if change == "extra":
        tensors["transformer.h.7.ln_1.weight"] = torch.ones(2)
    if change == "misshapen":
        tensors["transformer.wte.weight"] = torch.ones(3, 48)
    if change == "whole":
        tensors["transformer.ln_f.bias"] = torch.ones(48, dtype=torch.int64)
    if change == "infinite":
        tensors["transformer.ln_f.bias"][3] = float("inf")
    save_file(tensors, folder / WEIGHTS)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("missing", r"missing transformer\.h\.1\.mlp\.c_fc\.weight"),
        ("extra", r"unknown transformer\.h\.7\.ln_1\.weight"),
        ("misshapen", r"tensor transformer\.wte\.weight has shape \(3, 48\), config\.json asks for \(\d+, 48\)"),
        ("whole", r"tensor transformer\.ln_f\.bias has dtype int64, expected float16"),
        ("infinite", r"tensor transformer\.ln_f\.bias holds numbers that are not finite; download"),
    ],
)
def test_wrong_tensors_are_named(tmp_path: Path, change: str, message: str) -> None:
    save_gpt2(tmp_path)
    break_weights(tmp_path, change)
    with pytest.raises(CheckpointError, match=message):
        checkpoint.load(tmp_path)


def test_broken_files_are_named_in_one_line(tmp_path: Path) -> None:
    def message() -> str:
        with pytest.raises(CheckpointError) as caught:
            checkpoint.load(tmp_path)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    assert "no config.json" in message()
    make_decoder()
    save_native(tmp_path)
    good = (tmp_path / "config.json").read_text()
    for broken, expected in [
        ("{", "cannot be read as JSON"),
        ("[]", "expected an object"),
        ('{"model_type": "mamba"}', "model_type is 'mamba'; known are evalkit, "),
        ('{"model_type": "mamba"}', f"what transformers can load runs as hf:ID, here hf:{tmp_path}"),
        ('{"model_type": "gpt2"}', "n_embd: found no such setting, expected a whole number"),
        ('{"model_type": ["gpt2"]}', "model_type is ['gpt2']"),
        ("[" * 100_000, "cannot be read as JSON"),
        (good.replace('"heads": 4', '"heads": 0'), "config.json: heads: found 0, expected a whole number"),
        (good.replace('"layers": 4', '"layers": "4"'), "layers: found '4'"),
        (good.replace("gelu_tanh", "tanh"), "activation: found 'tanh', expected "),
        (good.replace('"norm_eps": 1e-05', '"norm_eps": NaN'), "norm_eps: found nan"),
        (good.replace('"scale_by_layer": false', '"scale_by_layer": 0'), "scale_by_layer: found 0"),
        (good.replace('"heads": 4', '"heads": 5'), "kv_heads: 5 heads are not a multiple of 4"),
        (good.replace('"vocab_size": ', '"vocab_size": 1, "was": '), "tokens but the model only 1"),
    ]:
        (tmp_path / "config.json").write_text(broken)
        assert expected in message()
    (tmp_path / "config.json").write_text(good)
    (tmp_path / WEIGHTS).write_bytes(b"not a tensor file")
    assert "not a safetensors file" in message()
    (tmp_path / WEIGHTS).unlink()
    assert "no weights found" in message()
    (tmp_path / "tokenizer.json").write_text("{}")
    assert "tokenizer cannot be read" in message()
    (tmp_path / "tokenizer.json").unlink()
    assert "no tokenizer found" in message()


@pytest.mark.parametrize("name", ["../model.safetensors", "a/b.safetensors", "", 3])
def test_shards_outside_the_folder_are_refused(tmp_path: Path, name: object) -> None:
    save_native(tmp_path)
    (tmp_path / WEIGHTS).unlink()
    (tmp_path / INDEX).write_text(json.dumps({"weight_map": {"tokens": name}}))
    with pytest.raises(CheckpointError, match="expected the name of a file beside it"):
        checkpoint.load(tmp_path)


def test_model_that_cannot_be_found_says_what_to_give() -> None:
    with pytest.raises(CheckpointError, match="expected nano, a checkpoint folder or a hub id"):
        checkpoint.find("no such model!")


@pytest.mark.parametrize(
    ("name", "reason"),
    [("~no-such-user/model", "home directory"), ("a" * 300, "name too long"), ("a/" * 3000, "too long")],
)
def test_names_that_cannot_be_looked_for_are_told(name: str, reason: str) -> None:
    for find in (checkpoint.find, load, load_hf):
        with pytest.raises(CheckpointError, match=rf"cannot be looked for \(.*{reason}.*\); expected nano") as caught:
            find(name)
        assert "\n" not in str(caught.value)


def test_a_missing_tensor_is_called_what_the_family_calls_it(tmp_path: Path) -> None:
    # A head is `embed_out.weight` in published files of GPT-NeoX, and `lm_head.weight` in some.
    save_twin(tmp_path, AutoConfig.for_model("gpt_neox", **CASES["gpt_neox"]["parallel"]))
    tensors = load_file(tmp_path / WEIGHTS)
    head = tensors.pop("embed_out.weight")
    save_file(tensors, tmp_path / WEIGHTS)
    with pytest.raises(CheckpointError, match=r"missing embed_out\.weight$"):
        checkpoint.load(tmp_path)
    save_file(tensors | {"lm_head.weight": head}, tmp_path / WEIGHTS)
    assert torch.equal(checkpoint.load(tmp_path).decoder.head.weight, head)

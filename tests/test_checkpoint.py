"""Checkpoint folders: every form of one gives the same decoder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from evalkit.decoder import checkpoint
from evalkit.decoder.config import DecoderConfig
from evalkit.decoder.engine import from_folder
from evalkit.decoder.families import FAMILIES, native
from evalkit.decoder.families.family import Stacked, transpose
from evalkit.decoder.weights import PICKLE, PICKLE_INDEX, WEIGHTS, Weights
from evalkit.nano import FOLDER
from tests.decoders import edit_json, save_gpt2, save_native


def test_sharded_checkpoint_gives_the_same_logits(tmp_path: Path) -> None:
    twin = save_gpt2(tmp_path, shard_size="40KB")
    assert len(Weights(tmp_path).files) > 1
    check_logits(tmp_path, twin)


def test_names_without_the_usual_prefix_load(tmp_path: Path) -> None:
    # openai-community/gpt2 has no `transformer.` before its names, but the masks that old versions saved
    twin = save_gpt2(tmp_path)
    tensors = {name.removeprefix("transformer."): t for name, t in load_file(tmp_path / WEIGHTS).items()}
    save_file(tensors | {"h.0.attn.bias": torch.ones(1, 1, 4, 4)}, tmp_path / WEIGHTS)
    check_logits(tmp_path, twin)


@pytest.mark.parametrize("is_zip", [True, False])
def test_pickle_alone_gives_the_same_logits(tmp_path: Path, is_zip: bool) -> None:
    twin = save_gpt2(tmp_path)
    (tmp_path / WEIGHTS).unlink()
    # transformers saved the head, which is the embedding, once more
    torch.save(twin.state_dict(), tmp_path / PICKLE, _use_new_zipfile_serialization=is_zip)
    check_logits(tmp_path, twin)


def test_pickle_shards_give_the_same_logits(tmp_path: Path) -> None:
    twin = save_gpt2(tmp_path)
    (tmp_path / WEIGHTS).unlink()
    names = list(twin.state_dict())
    shards = {"pytorch_model-1.bin": names[::2], "pytorch_model-2.bin": names[1::2]}
    for file, some in shards.items():
        torch.save({name: twin.state_dict()[name] for name in some}, tmp_path / file)
    index = {"weight_map": {name: file for file, some in shards.items() for name in some}}
    (tmp_path / PICKLE_INDEX).write_text(json.dumps(index))
    check_logits(tmp_path, twin)


def test_tied_head_that_is_stored_as_well_is_the_embedding(tmp_path: Path) -> None:
    twin = save_gpt2(tmp_path)
    tensors = load_file(tmp_path / WEIGHTS)
    save_file(tensors | {"lm_head.weight": tensors["transformer.wte.weight"].clone()}, tmp_path / WEIGHTS)
    check_logits(tmp_path, twin)


def check_logits(folder: Path, twin: torch.nn.Module) -> None:
    """Hold a folder's logits against those of transformers' model."""
    decoder = checkpoint.load(folder).decoder
    tokens = torch.tensor([[1, 2, 3, 4]])
    torch.testing.assert_close(decoder.logits(decoder(tokens)), twin(tokens).logits.detach(), atol=1e-4, rtol=0)


def thirds(tensor: Tensor, config: DecoderConfig) -> Tensor:
    """Put rows of [heads, 3, D] in the order [3, heads, D]."""
    return tensor.unflatten(0, (config.heads, 3, config.head_size)).transpose(0, 1).flatten(0, 2)


@pytest.mark.parametrize("way", ["stacked", "changed"])
def test_parameter_made_of_several_or_changed_tensors_is_the_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    decoder = save_native(tmp_path)
    tensors = load_file(tmp_path / WEIGHTS)
    for layer in range(decoder.config.layers):
        whole = tensors.pop(f"blocks.{layer}.qkv.weight")
        if way == "stacked":
            tensors |= {
                f"{name}.{layer}": part.T.contiguous() for name, part in zip("qkv", whole.chunk(3), strict=True)
            }
        else:
            heads = (3, decoder.config.heads, decoder.config.head_size)
            tensors[f"qkv.{layer}"] = whole.unflatten(0, heads).transpose(0, 1).flatten(0, 2).contiguous()
    save_file(tensors, tmp_path / WEIGHTS)
    stacked = Stacked(("q.{layer}", "k.{layer}", "v.{layer}"), transpose)
    source = stacked if way == "stacked" else Stacked(("qkv.{layer}",), thirds)
    family = replace(native.FAMILY, tensors={**native.FAMILY.tensors, "blocks.{layer}.qkv.weight": source})
    monkeypatch.setitem(FAMILIES, native.MODEL_TYPE, family)
    loaded = checkpoint.load(tmp_path).decoder.state_dict()
    for name, tensor in decoder.state_dict().items():
        assert torch.equal(loaded[name], tensor), name


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_other_dtypes_are_loaded_as_float32(tmp_path: Path, dtype: torch.dtype) -> None:
    save_gpt2(tmp_path)
    tensors = {name: tensor.to(dtype) for name, tensor in load_file(tmp_path / WEIGHTS).items()}
    save_file(tensors, tmp_path / WEIGHTS)
    loaded = checkpoint.load(tmp_path).decoder
    assert torch.equal(loaded.tokens, tensors["transformer.wte.weight"].float())
    assert torch.equal(loaded.blocks[1].mlp_in.weight, tensors["transformer.h.1.mlp.c_fc.weight"].T.float())


def test_weights_stay_as_they_were_loaded_when_the_file_is_overwritten(tmp_path: Path) -> None:
    decoder = save_native(tmp_path)
    loaded = checkpoint.load(tmp_path).decoder
    path = tmp_path / WEIGHTS
    path.write_bytes(b"\0" * path.stat().st_size)
    for name, tensor in decoder.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor), name


def test_vocab_and_merges_give_the_tokens_of_tokenizer_json(tmp_path: Path) -> None:
    save_gpt2(tmp_path)
    text = "It's 1984,  naïve 東京 🙂\n\n and so on"
    [whole] = checkpoint.load(tmp_path).tokenizer.encode([text])
    backend = checkpoint.load(tmp_path).tokenizer.backend
    backend.model.save(str(tmp_path))
    (tmp_path / "tokenizer.json").unlink()
    assert checkpoint.load(tmp_path).tokenizer.encode([text])[0].ids == whole.ids


def test_saved_decoder_loads_with_the_same_weights(tmp_path: Path) -> None:
    decoder = save_native(tmp_path)
    loaded = checkpoint.load(tmp_path).decoder
    assert loaded.config == decoder.config
    for name, tensor in decoder.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor), name


def test_fingerprint_tells_weights_dtypes_and_tokenizers_apart(tmp_path: Path) -> None:
    save_native(tmp_path / "a", seed=0)
    save_native(tmp_path / "b", seed=1)
    save_native(tmp_path / "c", seed=0)
    prints = {name: from_folder(tmp_path / name, name=name).fingerprint for name in "abc"}
    assert prints["a"] == prints["c"] != prints["b"]
    assert from_folder(tmp_path / "a", name="a", dtype="bfloat16").fingerprint != prints["a"]
    edit_json(tmp_path / "c" / "tokenizer_config.json", add_bos_token=False)
    assert from_folder(tmp_path / "c", name="c").fingerprint != prints["a"]


def test_hub_id_resolves_to_what_is_cached(tmp_path: Path) -> None:
    """In a process of its own, since the hub's client reads where its cache is when it is imported."""
    commit = "0" * 40
    cached = tmp_path / "hub" / "models--someone--model"
    (cached / "refs").mkdir(parents=True)
    (cached / "refs" / "main").write_text(commit)
    (cached / "snapshots" / commit).mkdir(parents=True)
    (cached / "snapshots" / commit / PICKLE).write_bytes(b"weights")
    done = subprocess.run(
        [sys.executable, "-c", "from evalkit.decoder import checkpoint; print(checkpoint.find('someone/model'))"],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, "HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1"},
        cwd=Path(__file__).parent.parent,
    )
    assert done.stdout.strip() == str(cached / "snapshots" / commit), done.stderr


def test_nano_keeps_its_fingerprint() -> None:
    # sha256 over config.json, model.safetensors, tokenizer.json and tokenizer_config.json, as first released
    assert checkpoint.load(FOLDER).fingerprint.startswith("0f42e7b820343ddb")

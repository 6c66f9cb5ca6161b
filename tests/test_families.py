"""Checkpoints of each family: the same logits as transformers, and one clear line for a broken one."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from evalkit.decoder import checkpoint
from evalkit.decoder.engine import from_folder
from evalkit.decoder.generation import prefill
from evalkit.errors import CheckpointError
from tests.decoders import edit_json, make_decoder, save_gpt2, save_native

VARIANTS = [
    {},
    {"activation_function": "gelu"},  # Cerebras-GPT
    {"scale_attn_by_inverse_layer_idx": True},
    {"n_inner": 100},
]


@pytest.mark.parametrize("variant", VARIANTS, ids=["plain", "erf-gelu", "scaled-by-layer", "narrow-mlp"])
def test_gpt2_logits_equal_transformers(tmp_path: Path, variant: dict[str, object]) -> None:
    twin = save_gpt2(tmp_path, **variant)
    decoder = checkpoint.load(tmp_path).decoder
    tokens = torch.randint(0, 300, (2, 40), generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        expected = twin(tokens).logits
        torch.testing.assert_close(decoder.logits(decoder(tokens)), expected, atol=1e-4, rtol=0)


def test_cached_gpt2_logits_equal_transformers_alone_and_in_an_unequal_batch(tmp_path: Path) -> None:
    twin = save_gpt2(tmp_path)
    decoder = checkpoint.load(tmp_path).decoder
    generator = torch.Generator().manual_seed(2)
    rows = [torch.randint(0, 300, (length,), generator=generator).tolist() for length in (4, 30, 17)]
    with torch.inference_mode():
        expected = [twin(torch.tensor([ids])).logits[0] for ids in rows]
        for batch in [*([ids] for ids in rows), rows]:
            cache, hidden = prefill(decoder, [ids[:-2] for ids in batch], capacity=40)
            steps = [decoder.logits(hidden)]
            for offset in (-2, -1):
                hidden = decoder(torch.tensor([[ids[offset]] for ids in batch]), cache=cache)[:, -1]
                cache.advance()
                steps.append(decoder.logits(hidden))
            for row, ids in enumerate(batch):
                found = torch.stack([step[row] for step in steps])
                torch.testing.assert_close(found, expected[rows.index(ids)][-3:], atol=1e-4, rtol=0)


def test_sharded_checkpoint_gives_the_same_logits(tmp_path: Path) -> None:
    twin = save_gpt2(tmp_path, shard_size="40KB")
    assert len(checkpoint.weight_files(tmp_path)) > 1
    decoder = checkpoint.load(tmp_path).decoder
    tokens = torch.tensor([[1, 2, 3, 4]])
    torch.testing.assert_close(decoder.logits(decoder(tokens)), twin(tokens).logits.detach(), atol=1e-4, rtol=0)


def test_names_without_the_usual_prefix_load(tmp_path: Path) -> None:
    # openai-community/gpt2 has no `transformer.` before its names, but the masks that old versions saved
    twin = save_gpt2(tmp_path)
    tensors = {name.removeprefix("transformer."): t for name, t in load_file(tmp_path / checkpoint.WEIGHTS).items()}
    save_file(tensors | {"h.0.attn.bias": torch.ones(1, 1, 4, 4)}, tmp_path / checkpoint.WEIGHTS)
    decoder = checkpoint.load(tmp_path).decoder
    tokens = torch.tensor([[1, 2, 3, 4]])
    torch.testing.assert_close(decoder.logits(decoder(tokens)), twin(tokens).logits.detach(), atol=1e-4, rtol=0)


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


def break_weights(folder: Path, change: str) -> None:
    tensors = load_file(folder / checkpoint.WEIGHTS)
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
    save_file(tensors, folder / checkpoint.WEIGHTS)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("missing", r"missing transformer\.h\.1\.mlp\.c_fc\.weight"),
        ("extra", r"unknown transformer\.h\.7\.ln_1\.weight"),
        ("misshapen", r"tensor transformer\.wte\.weight has shape \(3, 48\), config\.json asks for \(\d+, 48\)"),
        ("whole", r"tensor transformer\.ln_f\.bias has dtype int64, expected float16"),
        ("infinite", r"tensor transformer\.ln_f\.bias holds numbers that are not finite"),
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
        ('{"model_type": "mamba"}', "model_type is 'mamba'; known are"),
        ('{"model_type": "gpt2"}', "setting 'n_embd' is missing"),
        ('{"model_type": ["gpt2"]}', "model_type is ['gpt2']"),
        ("[" * 100_000, "cannot be read as JSON"),
        (good.replace('"heads": 4', '"heads": 0'), "config.json: heads: found 0, expected a whole number"),
        (good.replace('"layers": 4', '"layers": "4"'), "layers: found '4'"),
        (good.replace("gelu_tanh", "relu"), "activation: found 'relu', expected gelu_tanh or gelu"),
        (good.replace('"norm_eps": 1e-05', '"norm_eps": NaN'), "norm_eps: found nan"),
        (good.replace('"scale_by_layer": false', '"scale_by_layer": 0'), "scale_by_layer: found 0"),
        (good.replace('"heads": 4', '"heads": 5'), "not a multiple of 5 heads"),
        (good.replace('"vocab_size": ', '"vocab_size": 1, "was": '), "tokens but the model only 1"),
    ]:
        (tmp_path / "config.json").write_text(broken)
        assert expected in message()
    (tmp_path / "config.json").write_text(good)
    (tmp_path / checkpoint.WEIGHTS).write_bytes(b"not a tensor file")
    assert "not a safetensors file" in message()
    (tmp_path / checkpoint.WEIGHTS).unlink()
    assert "no weights found" in message()
    (tmp_path / "tokenizer.json").write_text("{}")
    assert "tokenizer cannot be read" in message()
    (tmp_path / "tokenizer.json").unlink()
    assert "no tokenizer found" in message()


@pytest.mark.parametrize("name", ["../model.safetensors", "a/b.safetensors", "", 3])
def test_shards_outside_the_folder_are_refused(tmp_path: Path, name: object) -> None:
    save_native(tmp_path)
    (tmp_path / checkpoint.WEIGHTS).unlink()
    (tmp_path / checkpoint.INDEX).write_text(json.dumps({"weight_map": {"tokens": name}}))
    with pytest.raises(CheckpointError, match="expected the name of a file beside it"):
        checkpoint.load(tmp_path)


def test_model_that_cannot_be_found_says_what_to_give() -> None:
    with pytest.raises(CheckpointError, match="expected nano, a checkpoint folder or a hub id"):
        checkpoint.find("no such model!")

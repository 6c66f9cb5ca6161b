"""Checkpoints of each family: the same logits as transformers, and one clear line for a broken one."""

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
from evalkit.decoder.weights import INDEX, PICKLE, PICKLE_INDEX, WEIGHTS, Weights
from evalkit.errors import CheckpointError
from evalkit.nano import FOLDER
from tests.decoders import edit_json, make_decoder, prefill, save_gpt2, save_native

VARIANTS = [
    {},
    {"activation_function": "gelu"},  # Cerebras-GPT
    {"scale_attn_by_inverse_layer_idx": True},
    {"scale_attn_weights": False},
    {"n_inner": 100},
    {"tie_word_embeddings": False},
    {"vocab_size": 384},  # rows that no token has
]


@pytest.mark.parametrize(
    "variant", VARIANTS, ids=["plain", "erf-gelu", "scaled-by-layer", "unscaled", "narrow-mlp", "untied", "padded"]
)
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


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_other_dtypes_are_loaded_as_float32(tmp_path: Path, dtype: torch.dtype) -> None:
    save_gpt2(tmp_path)
    tensors = {name: tensor.to(dtype) for name, tensor in load_file(tmp_path / WEIGHTS).items()}
    save_file(tensors, tmp_path / WEIGHTS)
    loaded = checkpoint.load(tmp_path).decoder
    assert torch.equal(loaded.tokens, tensors["transformer.wte.weight"].float())
    assert torch.equal(loaded.blocks[1].mlp_in.weight, tensors["transformer.h.1.mlp.c_fc.weight"].T.float())


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


def test_weights_stay_as_they_were_loaded_when_the_file_is_overwritten(tmp_path: Path) -> None:
    decoder = save_native(tmp_path)
    loaded = checkpoint.load(tmp_path).decoder
    path = tmp_path / WEIGHTS
    path.write_bytes(b"\0" * path.stat().st_size)
    for name, tensor in decoder.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor), name


def test_all_wrong_tensors_are_named_with_their_file(tmp_path: Path) -> None:
    save_gpt2(tmp_path, shard_size="40KB")
    edit_json(tmp_path / "config.json", n_positions=65, n_inner=100)
    # the position table, and the weights and biases of the three layers' MLPs
    expected = r"wpe\.weight in model-\d+-of-\d+\.safetensors has shape \(64, 48\), .* \(65, 48\); .* and 7 more$"
    with pytest.raises(CheckpointError, match=expected):
        checkpoint.load(tmp_path)


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
        ('{"model_type": "gpt2"}', "setting 'n_embd' is missing"),
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


def test_model_that_cannot_be_found_says_what_to_give() -> None:
    with pytest.raises(CheckpointError, match="expected nano, a checkpoint folder or a hub id"):
        checkpoint.find("no such model!")

"""Weight files: every form gives the same tensors, no more memory than they take, and one line for a broken one."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from evalkit.decoder import tokenizer, weights
from evalkit.decoder.weights import Weights
from evalkit.errors import CheckpointError
from tests.decoders import make_tokenizer

TENSORS = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.ones(4, dtype=torch.bfloat16), "c": torch.zeros(1)}


def write(folder: Path, form: str) -> None:
    """Write TENSORS in one of the forms that a checkpoint may have."""
    if form == "safetensors":
        save_file(TENSORS, folder / weights.WEIGHTS)
    if form == "pickle":
        torch.save(TENSORS, folder / weights.PICKLE)
    if form == "old-pickle":
        torch.save(TENSORS, folder / weights.PICKLE, _use_new_zipfile_serialization=False)
    if form == "safetensors-shards":
        save_file({"a": TENSORS["a"]}, folder / "model-1.safetensors")
        save_file({"b": TENSORS["b"], "c": TENSORS["c"]}, folder / "model-2.safetensors")
        write_index(folder / weights.INDEX, a="model-1.safetensors", b="model-2.safetensors", c="model-2.safetensors")
    if form == "pickle-shards":
        torch.save({"a": TENSORS["a"]}, folder / "1.bin")
        torch.save({"b": TENSORS["b"], "c": TENSORS["c"]}, folder / "2.bin", _use_new_zipfile_serialization=False)
        write_index(folder / weights.PICKLE_INDEX, a="1.bin", b="2.bin", c="2.bin")


def write_index(path: Path, **files: str) -> None:
    path.write_text(json.dumps({"weight_map": files}))


def read_all(folder: Path) -> dict[str, Tensor]:
    opened = Weights(folder)
    found = {}
    for name in opened.stored:
        with opened.read(name) as tensor:
            found[name] = tensor.clone()
    return found


@pytest.mark.parametrize("form", ["safetensors", "safetensors-shards", "pickle", "old-pickle", "pickle-shards"])
def test_every_form_gives_the_same_tensors(tmp_path: Path, form: str) -> None:
    write(tmp_path, form)
    found = read_all(tmp_path)
    assert found.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        assert torch.equal(found[name], tensor)
        assert Weights(tmp_path).stored[name].shape == tuple(tensor.shape)
        assert Weights(tmp_path).stored[name].dtype == tensor.dtype


def test_safetensors_are_read_before_pickles(tmp_path: Path) -> None:
    write(tmp_path, "pickle")
    write(tmp_path, "safetensors-shards")
    assert [file.name for file in Weights(tmp_path).files] == ["model-1.safetensors", "model-2.safetensors"]


@pytest.mark.parametrize("suffix", [".safetensors", ".bin"])
def test_pieces_are_the_rows_of_the_tensor_in_order(tmp_path: Path, suffix: str) -> None:
    # Rows of 6,000 bytes: 699 of them are a piece of at most 2^22 bytes, so 3,000 rows are 5 pieces.
    tensor = torch.randn(3000, 1500, generator=torch.Generator().manual_seed(0))
    name = weights.WEIGHTS if suffix == ".safetensors" else weights.PICKLE
    save_file({"t": tensor}, tmp_path / name) if suffix == ".safetensors" else torch.save(
        {"t": tensor}, tmp_path / name
    )
    opened = Weights(tmp_path)
    pieces = [piece.clone() for piece in opened.pieces("t")]
    assert [len(piece) for piece in pieces] == [699, 699, 699, 699, 204]
    assert torch.equal(torch.cat(pieces), tensor)
    assert torch.equal(torch.cat([piece.clone() for piece in opened.pieces("t")]), tensor)  # given back, read again


def test_names_of_one_tensor_are_each_read(tmp_path: Path) -> None:
    shared = torch.randn(3000, 50, generator=torch.Generator().manual_seed(0))
    torch.save({"head": shared, "embedding": shared}, tmp_path / weights.PICKLE)
    found = read_all(tmp_path)
    assert torch.equal(found["head"], shared)
    assert torch.equal(found["embedding"], shared)


def test_tensor_in_two_shards_is_read_from_the_one_the_index_names(tmp_path: Path) -> None:
    for number in (1, 2):
        tensors = {"a": torch.full((2,), float(number)), ("b", "c")[number - 1]: torch.zeros(1)}
        save_file(tensors, tmp_path / f"{number}.safetensors")
    write_index(tmp_path / weights.INDEX, a="1.safetensors", c="2.safetensors")
    assert read_all(tmp_path)["a"].tolist() == [1.0, 1.0]
    write_index(tmp_path / weights.INDEX, b="1.safetensors", c="2.safetensors")
    with pytest.raises(CheckpointError, match=r"tensor a is in 1\.safetensors and in 2\.safetensors"):
        Weights(tmp_path)


@pytest.mark.parametrize("form", ["safetensors-shards", "pickle-shards"])
def test_tensor_that_only_the_index_has_is_named(tmp_path: Path, form: str) -> None:
    write(tmp_path, form)
    (index,) = tmp_path.glob("*.index.json")
    files = json.loads(index.read_text())["weight_map"]
    write_index(index, **files, d=files["a"])
    with pytest.raises(CheckpointError, match=r"the index says that tensor d is in .*1\.\w+, which lacks it"):
        Weights(tmp_path)


class Call:
    """What a pickle that runs code looks like."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("touch was-here",)


@pytest.mark.parametrize("is_zip", [True, False])
def test_pickle_that_would_run_code_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_zip: bool) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"a": Call()}, tmp_path / weights.PICKLE, _use_new_zipfile_serialization=is_zip)
    with pytest.raises(CheckpointError, match=r"refuses it, as it asks for posix\.system.* convert it to safetensors"):
        Weights(tmp_path)
    assert not (tmp_path / "was-here").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (nn.Linear(2, 2), r"asks for torch\.nn\.modules\.linear\.Linear, which is no tensor"),
        ([torch.ones(2)], "found a list, expected a tensor for each name"),
        ({"model": {"a": torch.ones(2)}}, "found a dict named model"),
        ({3: torch.ones(2)}, "found the name 3"),
        ({"a": torch.ones(2).to_sparse()}, "found a sparse_coo tensor on cpu named a"),
        ({"a": torch.ones(2, device="meta")}, "found a strided tensor on meta named a"),
    ],
    ids=["module", "list", "nested", "number", "sparse", "meta"],
)
def test_pickle_of_something_else_is_named(tmp_path: Path, content: object, message: str) -> None:
    torch.save(content, tmp_path / weights.PICKLE)
    with pytest.raises(CheckpointError, match=message) as caught:
        Weights(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("form", ["safetensors", "pickle", "old-pickle"])
@pytest.mark.parametrize("kept", [0, 3, 100, -5])
def test_truncated_file_is_named_in_one_line(tmp_path: Path, form: str, kept: int) -> None:
    write(tmp_path, form)
    (path,) = Weights(tmp_path).files
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(CheckpointError, match=r"not a safetensors file|cannot read it .*; download it again") as caught:
        Weights(tmp_path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)
    assert "`weights_only` set" not in str(caught.value)


def test_other_bytes_are_named_in_one_line(tmp_path: Path) -> None:
    (tmp_path / weights.PICKLE).write_bytes(b"<html>\nnot found")
    with pytest.raises(CheckpointError, match=r"cannot read it .*; download it again") as caught:
        Weights(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("index", [weights.INDEX, weights.PICKLE_INDEX])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "cannot be read as JSON"),
        ("{}", "weight_map is missing"),
        ('{"weight_map": []}', "weight_map is missing"),
        ('{"weight_map": {"a": "absent.SUFFIX"}}', r"lists absent\.(safetensors|bin), which is not there"),
        ('{"weight_map": {"a": "../model.SUFFIX"}}', "expected the name of a file beside it"),
        ('{"weight_map": {"a": "' + "a" * 300 + '.SUFFIX"}}', r"lists a{100,}.*, which is not there"),
        ('{"weight_map": {"a": 3}}', "found 3, expected the name of a file beside it"),
        ('{"weight_map": {"a": "weights.pt"}}', "expected files of the form that the index is named for"),
    ],
)
def test_wrong_index_is_named(tmp_path: Path, index: str, content: str, message: str) -> None:
    suffix = "safetensors" if index == weights.INDEX else "bin"
    (tmp_path / index).write_text(content.replace("SUFFIX", suffix))
    with pytest.raises(CheckpointError, match=message):
        Weights(tmp_path)


LAYERS, WIDTH, WORDS = 12, 512, 24_000  # with 64 positions 50 million numbers: 200 MB in float32

PEAK = """
import os, sys
from pathlib import Path
import torch
from evalkit.decoder import checkpoint

def memory(kind):
    return next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith(kind))

for folder, dtype in [case.split(":") for case in sys.argv[1:]]:
    child = os.fork()  # each load begins with the same memory
    if not child:
        checkpoint.load(Path("evalkit/nano/checkpoint"))  # code that is first used then is in memory as well
        before = memory("VmRSS")
        decoder = checkpoint.load(Path(folder), dtype=getattr(torch, dtype)).decoder
        size = sum(parameter.nbytes for parameter in decoder.parameters())
        print((memory("VmHWM") - before) / size, flush=True)
        os._exit(0)
    os.waitpid(child, 0)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from Linux's /proc")
def test_peak_memory_of_a_load_is_that_of_the_weights(tmp_path: Path) -> None:
    """Growth from before the load, mapped pages counted, over the bytes of the parameters."""
    config = {"model_type": "gpt2", "vocab_size": WORDS, "n_positions": 64, "n_embd": WIDTH, "n_layer": LAYERS}
    for name, dtype in (("st32", torch.float32), ("st16", torch.float16), ("bin32", torch.float32)):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps(config | {"n_head": 8}))
        tokenizer.save(make_tokenizer(), folder)
        if name.startswith("st"):
            save_file(gpt2_tensors(dtype), folder / weights.WEIGHTS)
        else:
            torch.save(gpt2_tensors(dtype), folder / weights.PICKLE)
    cases = ["st32:float32", "st16:float32", "st32:bfloat16", "bin32:bfloat16"]
    done = subprocess.run(
        [sys.executable, "-c", PEAK, *(f"{tmp_path}/{case}" for case in cases)],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        cwd=Path(__file__).parent.parent,
    )
    assert done.returncode == 0, done.stderr
    ratios = dict(zip(cases, map(float, done.stdout.split()), strict=True))
    assert all(0.9 < ratio <= 1.15 for ratio in ratios.values()), ratios


def gpt2_tensors(dtype: torch.dtype) -> dict[str, Tensor]:
    """Tensors of the shape above, as transformers names them."""
    shapes = {"wte.weight": (WORDS, WIDTH), "wpe.weight": (64, WIDTH), "ln_f.weight": (WIDTH,), "ln_f.bias": (WIDTH,)}
    for layer in range(LAYERS):
        for part in ("ln_1", "ln_2"):
            shapes |= {f"h.{layer}.{part}.{kind}": (WIDTH,) for kind in ("weight", "bias")}
        for part, rows, columns in (
            ("attn.c_attn", 1, 3),
            ("attn.c_proj", 1, 1),
            ("mlp.c_fc", 1, 4),
            ("mlp.c_proj", 4, 1),
        ):
            shapes[f"h.{layer}.{part}.weight"] = (rows * WIDTH, columns * WIDTH)
            shapes[f"h.{layer}.{part}.bias"] = (columns * WIDTH,)
    return {name: torch.ones(shape, dtype=dtype) for name, shape in shapes.items()}

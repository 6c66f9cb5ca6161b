"""Decoder checkpoints on disk: a folder with config.json, safetensors weights and a tokenizer."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from evalkit.decoder import tokenizer as tokenizers
from evalkit.decoder.config import DecoderConfig
from evalkit.decoder.families import FAMILIES, native
from evalkit.decoder.families.family import Family
from evalkit.decoder.model import Decoder
from evalkit.decoder.tokenizer import Tokenizer
from evalkit.errors import CheckpointError

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
HUB_FILES = ("config.json", "*.safetensors", INDEX, "tokenizer*.json", "vocab.json", "merges.txt")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A decoder with its tokenizer."""

    decoder: Decoder
    tokenizer: Tokenizer
    fingerprint: str  # sha256 over configuration, weights and tokenizer files


def load(folder: Path, *, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32) -> Checkpoint:
    """Load a checkpoint folder straight to a device and a dtype.

    Raises CheckpointError that names the file and what is missing, unknown or misshapen in it.
    """
    settings = read_json(folder / "config.json")
    family = _family(settings, folder)
    try:
        config = family.config(settings)
    except CheckpointError as error:
        raise CheckpointError(f"{folder / 'config.json'}: {error}") from error
    except KeyError as error:
        raise CheckpointError(f"{folder / 'config.json'}: setting {error} is missing") from error
    except (TypeError, ValueError, MemoryError, OverflowError) as error:
        raise CheckpointError(f"{folder / 'config.json'}: a setting has the wrong type ({error})") from error
    tokenizer = tokenizers.load(folder)
    if tokenizer.size > config.vocab_size:
        raise CheckpointError(
            f"{folder}: the tokenizer has {tokenizer.size} tokens but the model only {config.vocab_size}; "
            "use the tokenizer the model was trained with"
        )
    files = weight_files(folder)
    decoder = Decoder(config, device="meta")
    with ExitStack() as stack:
        _assign(decoder, family, _open_tensors(files, stack), folder=folder, device=device, dtype=dtype)
    return Checkpoint(decoder.eval(), tokenizer, fingerprint(folder, files))


def find(name: str) -> Path:
    """Give the folder of a model: a local one, or a hub id's files in huggingface_hub's cache, fetched if need be."""
    folder = Path(name).expanduser()
    if folder.is_dir():
        return folder
    if folder.exists():
        raise CheckpointError(f"{name} is a file; expected a checkpoint folder with config.json and {WEIGHTS}")
    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", name):
        raise CheckpointError(
            f"no folder {name!r}; expected nano, a checkpoint folder or a hub id such as openai-community/gpt2"
        )
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        raise CheckpointError(f"no folder {name!r}, and a hub id needs huggingface_hub; pip install it") from error
    try:
        return Path(snapshot_download(name, allow_patterns=list(HUB_FILES)))
    except Exception as error:  # the hub client's errors share no base class
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise CheckpointError(
            f"no folder {name!r}, and no such model could be had from the hub ({reason}); "
            "give nano, a checkpoint folder or the id of a model that is reachable or cached"
        ) from error


def save(decoder: Decoder, tokenizer: Tokenizer, folder: Path, *, dtype: torch.dtype = torch.float32) -> None:
    """Write a checkpoint in evalkit's own form into an existing folder; OSError or SafetensorError where it cannot."""
    settings = json.dumps(native.write_config(decoder.config), indent=2)
    (folder / "config.json").write_text(settings + "\n", encoding="utf-8")
    tensors = {name: tensor.detach().to("cpu", dtype).contiguous() for name, tensor in decoder.state_dict().items()}
    tokenizers.save(tokenizer, folder)
    partial = folder / f".{WEIGHTS}.partial"  # whole or not at all: where the weights are, all else is
    save_file(tensors, partial, metadata={"format": "pt"})
    os.replace(partial, folder / WEIGHTS)


def read_json(path: Path) -> dict[str, Any]:  # Any: JSON
    """Read a JSON object; CheckpointError where there is none."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise CheckpointError(f"{path.parent}: no {path.name}; expected a checkpoint folder") from error
    except (ValueError, OSError, RecursionError) as error:
        raise CheckpointError(f"{path}: cannot be read as JSON ({error})") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path}: found a {type(content).__name__}, expected an object of settings")
    return content


def _family(settings: Mapping[str, Any], folder: Path) -> Family:
    """Look up the family that config.json names."""
    model_type = settings.get("model_type")
    if not isinstance(model_type, str) or model_type not in FAMILIES:
        raise CheckpointError(
            f"{folder / 'config.json'}: model_type is {model_type!r:.60}; known are {', '.join(sorted(FAMILIES))}"
        )
    return FAMILIES[model_type]


def weight_files(folder: Path) -> list[Path]:
    """Name the safetensors files of a checkpoint: one, or the shards its index lists."""
    if (folder / WEIGHTS).exists():
        return [folder / WEIGHTS]
    if (folder / INDEX).exists():
        names = read_json(folder / INDEX).get("weight_map")
        if not isinstance(names, dict) or not names:
            raise CheckpointError(f"{folder / INDEX}: weight_map is missing; save the model again")
        for name in names.values():
            if not isinstance(name, str) or name in ("", "..") or Path(name).name != name or "\\" in name:
                raise CheckpointError(f"{folder / INDEX}: found {name!r:.60}, expected the name of a file beside it")
        files = [folder / name for name in sorted(set(names.values()))]
        absent = [file.name for file in files if not file.exists()]
        if absent:
            raise CheckpointError(f"{folder}: {INDEX} lists {', '.join(absent)}, which is not there")
        return files
    raise CheckpointError(f"{folder}: no weights found; expected {WEIGHTS} or {INDEX} with its shards")


def fingerprint(folder: Path, weights: list[Path]) -> str:
    """Hash everything that decides a model's answers."""
    whole = sha256()
    for path in [folder / "config.json", *weights, *sorted(folder.glob("*token*.json")), *_vocabulary_files(folder)]:
        with path.open("rb") as file:
            whole.update(f"{path.name}:{file_digest(file, 'sha256').hexdigest()}\n".encode())
    return whole.hexdigest()


def _vocabulary_files(folder: Path) -> list[Path]:
    """Give the older form of a tokenizer, where it is there."""
    return [path for path in (folder / "vocab.json", folder / "merges.txt") if path.exists()]


def _open_tensors(files: list[Path], stack: ExitStack) -> dict[str, Any]:  # Any: safe_open is untyped
    """Map each tensor's name to the opened file that holds it; nothing is read yet."""
    holders: dict[str, Any] = {}
    for path in files:
        try:
            opened = stack.enter_context(safe_open(path, framework="pt"))
        except (SafetensorError, OSError) as error:
            raise CheckpointError(f"{path}: not a safetensors file ({error}); download or save it again") from error
        holders.update(dict.fromkeys(opened.keys(), opened))
    return holders


def _assign(
    decoder: Decoder,
    family: Family,
    holders: dict[str, Any],  # Any: safe_open is untyped
    *,
    folder: Path,
    device: torch.device | str,
    dtype: torch.dtype,
) -> None:
    """Replace the decoder's empty parameters by the file's tensors, one at a time."""
    prefix = next((p for p in family.prefixes if any(name.startswith(p) for name in holders)), "")
    names = dict(_file_names(family, decoder.config, prefix))
    missing = [file_name for file_name, _ in names.values() if file_name not in holders]
    known = {file_name for file_name, _ in names.values()}
    ignored = re.compile("|".join(f"(?:{re.escape(prefix)})?{pattern}" for pattern in family.ignored) or r"(?!)")
    extra = [name for name in holders if name not in known and not ignored.fullmatch(name)]
    if missing or extra:
        found = [f"missing {_some(missing)}"] * bool(missing) + [f"unknown {_some(extra)}"] * bool(extra)
        raise CheckpointError(f"{folder}: tensors do not fit the {family.model_type} form: {'; '.join(found)}")
    for name, parameter in list(decoder.named_parameters()):
        file_name, transposed = names[name]
        tensor: Tensor = holders[file_name].get_tensor(file_name)
        expected = tuple(reversed(parameter.shape)) if transposed else tuple(parameter.shape)
        if tuple(tensor.shape) != expected:
            raise CheckpointError(
                f"{folder}: tensor {file_name} has shape {tuple(tensor.shape)}, config.json asks for {expected}"
            )
        if tensor.dtype not in FLOATS:
            found_dtype = str(tensor.dtype).removeprefix("torch.")
            raise CheckpointError(
                f"{folder}: tensor {file_name} has dtype {found_dtype}, expected float16, bfloat16, float32 or float64"
            )
        tensor = (tensor.T if transposed else tensor).to(device, dtype).contiguous()
        if not torch.isfinite(tensor).all():
            raise CheckpointError(
                f"{folder}: tensor {file_name} holds numbers that are not finite in "
                f"{str(dtype).removeprefix('torch.')}; save the model again, or try --dtype float32"
            )
        owner, _, attribute = name.rpartition(".")
        setattr(decoder.get_submodule(owner), attribute, nn.Parameter(tensor, requires_grad=False))


def _file_names(family: Family, config: DecoderConfig, prefix: str) -> Iterator[tuple[str, tuple[str, bool]]]:
    """Yield each of the decoder's names with the file's name and whether it is transposed there."""
    for ours, theirs in family.tensors.items():
        layers = range(config.layers) if "{layer}" in ours else (0,)
        for layer in layers:
            yield ours.format(layer=layer), (prefix + theirs.format(layer=layer), ours in family.transposed)


def _some(names: list[str]) -> str:
    """List the first names and count the rest."""
    shown = ", ".join(sorted(names)[:3])
    return shown if len(names) <= 3 else f"{shown} and {len(names) - 3} more"

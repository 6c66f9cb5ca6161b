"""Decoder checkpoints on disk: a folder with config.json, weights and a tokenizer."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import file_digest, sha256
from math import prod
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from evalkit.decoder import tokenizer as tokenizers
from evalkit.decoder.config import DecoderConfig
from evalkit.decoder.families import FAMILIES, native
from evalkit.decoder.families.family import Change, Family
from evalkit.decoder.files import is_hub_id, local, plain
from evalkit.decoder.model import Decoder
from evalkit.decoder.tokenizer import Tokenizer
from evalkit.decoder.weights import INDEX, PICKLE_INDEX, WEIGHTS, Stored, Weights, read_json
from evalkit.errors import CheckpointError

FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
HUB_FILES = (
    *("config.json", "generation_config.json", "model*.safetensors", INDEX),
    *("tokenizer*.json", "special_tokens_map.json", "vocab.json", "merges.txt"),
)
HUB_PICKLES = ("pytorch_model*.bin", PICKLE_INDEX)


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
    if settings.get("quantization_config"):
        raise CheckpointError(
            f"{folder / 'config.json'}: quantization_config is set, which is not computed here; transformers runs the "
            "model as hf:ID"
        )
    try:
        config = family.config(settings)
    except CheckpointError as error:
        raise CheckpointError(f"{folder / 'config.json'}: {error}") from error
    tokenizer = tokenizers.load(folder)
    if tokenizer.size > config.vocab_size:
        raise CheckpointError(
            f"{folder}: the tokenizer has {tokenizer.size} tokens but the model only {config.vocab_size}; "
            "use the tokenizer the model was trained with"
        )
    beyond = [token for token in sorted(tokenizer.ends) if token >= config.vocab_size]
    if beyond:
        raise CheckpointError(
            f"{folder}: eos_token_id: found {beyond[0]}, expected 0 to {config.vocab_size - 1}, the model's tokens; "
            "correct generation_config.json, or config.json where that one has none"
        )
    weights = Weights(folder)
    decoder = Decoder(config, device="meta")
    _assign(decoder, family, weights, folder=folder, device=device, dtype=dtype)
    weights.close()
    return Checkpoint(decoder.eval(), tokenizer, fingerprint(folder, weights.files))


def find(name: str) -> Path:
    """Give the folder of a model: a local one, or a hub id's files in huggingface_hub's cache, fetched if need be."""
    folder = local(name)
    if folder.is_dir():
        return folder
    if folder.exists():
        raise CheckpointError(f"{name} is a file; expected a checkpoint folder with config.json and {WEIGHTS}")
    if not is_hub_id(name):
        raise CheckpointError(
            f"no folder {name!r}; expected nano, a checkpoint folder or a hub id such as openai-community/gpt2"
        )
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        raise CheckpointError(f"no folder {name!r}, and a hub id needs huggingface_hub; pip install it") from error
    try:
        found = Path(snapshot_download(name, allow_patterns=list(HUB_FILES)))
        if not any(found.glob("model*.safetensors")):
            found = Path(snapshot_download(name, allow_patterns=[*HUB_FILES, *HUB_PICKLES]))
        return found
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


def _family(settings: Mapping[str, Any], folder: Path) -> Family:
    """Look up the family that config.json names."""
    model_type = settings.get("model_type")
    if not isinstance(model_type, str) or model_type not in FAMILIES:
        raise CheckpointError(
            f"{folder / 'config.json'}: model_type is {model_type!r:.60}; known are "
            f"{', '.join(sorted(FAMILIES))}; what transformers can load runs as hf:ID, here hf:{folder}"
        )
    return FAMILIES[model_type]


def fingerprint(folder: Path, weights: list[Path]) -> str:
    """Hash everything that decides a model's answers."""
    whole = sha256()
    for path in [folder / "config.json", *weights, *sorted(folder.glob("*token*.json")), *_older_files(folder)]:
        with plain(path).open("rb") as file:
            whole.update(f"{path.name}:{file_digest(file, 'sha256').hexdigest()}\n".encode())
    return whole.hexdigest()


def _older_files(folder: Path) -> list[Path]:
    """Give the older form of a tokenizer, and what says which tokens end an answer, where they are there."""
    names = ("vocab.json", "merges.txt", "generation_config.json")
    return [path for name in names if (path := folder / name).exists()]


@dataclass(frozen=True, slots=True)
class Placement:
    """What one of the decoder's parameters is made of."""

    parameter: str
    shape: tuple[int, ...]
    names: tuple[str, ...]  # in the file
    change: Change | None


def _assign(
    decoder: Decoder, family: Family, weights: Weights, *, folder: Path, device: torch.device | str, dtype: torch.dtype
) -> None:
    """Replace the decoder's empty parameters by the file's tensors, in the order of the files that hold them."""
    many = len(weights.files) > 1
    named = {name: f"{name} in {stored.file.name}" if many else name for name, stored in weights.stored.items()}
    place = folder if many else weights.files[0]
    placements = _place(decoder, family, weights.stored, place=place)
    _check_names(placements, decoder, family, named, place=place)
    wrong = [_complaint(placement, weights.stored, decoder.config, named) for placement in placements]
    if any(wrong):
        raise CheckpointError(f"{place}: {_some([complaint for complaint in wrong if complaint], '; ')}")
    changed = [prod(weights.stored[name].shape) for p in placements if p.change is not None for name in p.names]
    room = torch.empty(max(changed, default=0), device=device, dtype=dtype)
    with torch.no_grad():
        for placement in sorted(placements, key=lambda p: weights.stored[p.names[0]].file):
            made = torch.empty(placement.shape, device=device, dtype=dtype)
            row = 0
            for name, piece in _pieces(placement, weights, decoder.config, room):
                rows = made[row : row + len(piece)]
                rows.copy_(piece)
                low, high = rows.aminmax()  # NaN where there is one
                if not (low.isfinite() & high.isfinite()):
                    raise CheckpointError(f"{place}: tensor {named[name]} {_not_finite(piece, dtype)}")
                row += len(piece)
            owner, _, attribute = placement.parameter.rpartition(".")
            setattr(decoder.get_submodule(owner), attribute, nn.Parameter(made, requires_grad=False))
    _check_tied(decoder, family, weights, named, place=place)


def _place(decoder: Decoder, family: Family, stored: Mapping[str, Stored], *, place: Path) -> list[Placement]:
    """Say for each of the decoder's parameters where in the file it is."""
    prefix = next((p for p in family.prefixes if any(name.startswith(p) for name in stored)), "")
    placements = []
    for ours, parameter in decoder.named_parameters():
        layer = re.search(r"\d+", ours)
        source = family.tensors.get(re.sub(r"\d+", "{layer}", ours, count=1) if ours.startswith("blocks.") else ours)
        if source is None:
            raise CheckpointError(
                f"{place}: config.json asks for a tensor {ours}, for which the {family.model_type} form has no name; "
                "check the settings"
            )
        names, change = ((source,), None) if isinstance(source, str) else (source.names, source.change)
        before = "" if ours.startswith("head.") else prefix  # the head stands beside what transformers names so
        whole = tuple(before + name.format(layer=layer[0] if layer else "") for name in names)
        whole = tuple(name if name in stored else _synonym(name, family, stored) for name in whole)
        placements.append(Placement(ours, tuple(parameter.shape), whole, change))
    return placements


def _synonym(name: str, family: Family, stored: Mapping[str, Stored]) -> str:
    """Give what a file calls a tensor that it lacks under its name; the name itself where it has neither."""
    other = family.synonyms.get(name, name)
    return other if other in stored else name


def _check_names(
    placements: Sequence[Placement], decoder: Decoder, family: Family, named: Mapping[str, str], *, place: Path
) -> None:
    """Raise CheckpointError that names the tensors that are missing and those that are unknown."""
    known = {name for placement in placements for name in placement.names}
    patterns = family.ignored + (family.ignored_if_tied if decoder.config.is_tied else ())
    ignored = _pattern(family, patterns)
    missing = sorted(known - named.keys())
    extra = sorted(named[name] for name in named.keys() - known if not ignored.fullmatch(name))
    if missing or extra:
        found = [f"missing {_some(missing)}"] * bool(missing) + [f"unknown {_some(extra)}"] * bool(extra)
        raise CheckpointError(
            f"{place}: tensors do not fit config.json in the {family.model_type} form: {'; '.join(found)}"
        )


def _pattern(family: Family, names: Sequence[str]) -> re.Pattern[str]:
    """Match these names, which are regular expressions, with any of the family's prefixes."""
    prefix = "|".join(map(re.escape, family.prefixes))
    return re.compile(f"(?:{prefix})?(?:{'|'.join(names)})" if names else r"(?!)")


def _check_tied(decoder: Decoder, family: Family, weights: Weights, named: Mapping[str, str], *, place: Path) -> None:
    """Raise CheckpointError where the file holds a head that is not the embedding, though config.json ties the two."""
    if not decoder.config.is_tied or not family.ignored_if_tied:
        return
    embedding = decoder.tokens
    for name in filter(_pattern(family, family.ignored_if_tied).fullmatch, weights.stored):
        is_equal, row = weights.stored[name].shape == embedding.shape, 0
        for piece in weights.pieces(name) if is_equal else ():
            # As they are computed with: what only a wider dtype tells apart is one.
            is_equal &= torch.equal(piece.to(embedding), embedding[row : row + len(piece)])
            row += len(piece)
        if not is_equal:
            raise CheckpointError(
                f"{place}: tensor {named[name]} is not the embedding, though config.json ties the head to it; expected "
                "tie_word_embeddings false, or put hf: before the model's name"
            )


def _complaint(
    placement: Placement, stored: Mapping[str, Stored], config: DecoderConfig, named: Mapping[str, str]
) -> str | None:
    """Say what is wrong with the shapes and dtypes of a parameter's tensors, if anything."""
    for name in placement.names:
        if stored[name].dtype not in FLOATS:
            dtype = str(stored[name].dtype).removeprefix("torch.")
            return f"tensor {named[name]} has dtype {dtype}, expected float16, bfloat16, float32 or float64"
    shapes = [stored[name].shape for name in placement.names]
    became = _laid_down([torch.empty(shape, device="meta") for shape in shapes], placement.change, config)
    if became == placement.shape:
        return None
    names = " and ".join(named[name] for name in placement.names)
    found = f"tensor {names} has shape" if len(shapes) == 1 else f"tensors {names} have shapes"
    made = "" if [became] == shapes else f", which make {became or 'no tensor'}"
    return f"{found} {' and '.join(map(str, shapes))}{made}, config.json asks for {placement.shape}"


def _laid_down(tensors: Sequence[Tensor], change: Change | None, config: DecoderConfig) -> tuple[int, ...] | None:
    """Give the shape of tensors that are changed and laid end to end; None where they cannot be."""
    try:
        changed = [tensor if change is None else change(tensor, config) for tensor in tensors]
        return tuple(changed[0].shape if len(changed) == 1 else torch.cat(changed).shape)
    except (RuntimeError, IndexError, ValueError):
        return None


def _pieces(
    placement: Placement, weights: Weights, config: DecoderConfig, room: Tensor
) -> Iterator[tuple[str, Tensor]]:
    """Yield a parameter's rows in order, with the name of the file's tensor that they are of.

    A tensor that is changed is first brought to its device and dtype in `room`, which is made once, since memory that
    is taken and freed for each leaves holes.
    """
    for name in placement.names:
        if placement.change is None:
            for piece in weights.pieces(name):
                yield name, piece
        else:
            with weights.read(name) as tensor:
                fits = tensor.dtype == room.dtype and tensor.device == room.device
                whole = tensor if fits else room[: tensor.numel()].view(tensor.shape).copy_(tensor)
                yield name, placement.change(whole, config)


def _not_finite(piece: Tensor, dtype: torch.dtype) -> str:
    """Say whether the file or the dtype is at fault."""
    if not piece.isfinite().all():
        return "holds numbers that are not finite; download or save the model again"
    if not piece.to(torch.float32).isfinite().all():
        return "holds numbers beyond float32, the widest that is computed in; save the model again, in float32"
    return f"holds numbers that are not finite in {str(dtype).removeprefix('torch.')}; try --dtype float32"


def _some(found: Sequence[str], between: str = ", ") -> str:
    """List the first and count the rest."""
    shown = between.join(found[:3])
    return shown if len(found) <= 3 else f"{shown} and {len(found) - 3} more"

"""Checkpoints of a training: written whole or not at all, continued to the bit, without pickle."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from evalkit.decoder.checkpoint import read_json
from evalkit.decoder.model import Decoder
from evalkit.decoder.packing import PackingState
from evalkit.errors import CheckpointError, StorageError, UsageError

LATEST = "latest"  # a file that names the newest checkpoint's folder
TENSORS = "training.safetensors"
NUMBERS = "training.json"
CURVE = "loss.csv"


@dataclass(frozen=True, slots=True)
class LossPoint:
    """One step of the loss curve."""

    step: int
    tokens: int
    learning_rate: float
    loss: float


@dataclass(frozen=True, slots=True)
class TrainingState:
    """Where a training is, apart from its tensors."""

    step: int = 0
    tokens: int = 0
    stage: int = 0
    packing: PackingState = field(default_factory=PackingState)
    history: tuple[LossPoint, ...] = ()


@contextmanager
def storage(folder: Path) -> Iterator[None]:
    """Make the folder, and turn what the disk refuses into StorageError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or error
        raise StorageError(
            f"{folder}: the training cannot be written ({reason}); free some space or choose another --out; "
            "the same command continues from the last checkpoint"
        ) from error


def write(
    folder: Path,
    decoder: Decoder,
    optimizer: torch.optim.Optimizer,
    state: TrainingState,
    *,
    settings: Mapping[str, object],
) -> None:
    """Write a checkpoint, point `latest` at it, then remove the one before; StorageError where the disk refuses."""
    name = f"step-{state.step:08d}"
    partial, final = folder / f".{name}.partial", folder / name
    with storage(folder):
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        save_file(_tensors(decoder, optimizer), partial / TENSORS)
        numbers = {"settings": settings, "state": asdict(state)}
        (partial / NUMBERS).write_text(json.dumps(numbers), encoding="utf-8")
        if final.exists():
            shutil.rmtree(final)
        partial.rename(final)
        _replace(folder / LATEST, name + "\n")
        _replace(folder / CURVE, curve(state.history))
        for old in folder.glob("step-*"):
            if old.name != name:
                shutil.rmtree(old)


def resume(
    folder: Path, decoder: Decoder, optimizer: torch.optim.Optimizer, *, settings: Mapping[str, object]
) -> TrainingState | None:
    """Load the newest checkpoint into decoder and optimizer; None where the folder has none."""
    if not (folder / LATEST).exists():
        return None
    source = folder / (folder / LATEST).read_text(encoding="utf-8").strip()
    numbers = read_json(source / NUMBERS)
    for name, value in json.loads(json.dumps(settings)).items():
        if numbers["settings"].get(name) != value:
            raise UsageError(
                f"{folder} holds a training with {name} {numbers['settings'].get(name)!r}, this one has {value!r}; "
                "choose another --out, or the settings it was begun with"
            )
    tensors = load_file(source / TENSORS)
    current = _tensors(decoder, optimizer)
    if {name: tensor.shape for name, tensor in tensors.items() if name.startswith("model.")} != {
        name: tensor.shape for name, tensor in current.items() if name.startswith("model.")
    }:
        raise CheckpointError(f"{source / TENSORS}: its tensors are those of another decoder; choose another --out")
    with torch.no_grad():
        for name, parameter in decoder.named_parameters():
            parameter.copy_(tensors[f"model.{name}"])
            optimizer.state[parameter] = {
                "step": tensors[f"step.{name}"],
                "exp_avg": tensors[f"exp_avg.{name}"].to(parameter.device),
                "exp_avg_sq": tensors[f"exp_avg_sq.{name}"].to(parameter.device),
            }
            if parameter.device.type == "cuda":  # the fused optimizer keeps its count beside the parameters
                optimizer.state[parameter]["step"] = tensors[f"step.{name}"].to(parameter.device)
    saved = numbers["state"]
    packing = saved["packing"]
    return TrainingState(
        saved["step"],
        saved["tokens"],
        saved["stage"],
        PackingState(packing["next_document"], tuple(packing["ids"]), tuple(packing["weights"])),
        tuple(LossPoint(**point) for point in saved["history"]),
    )


def _tensors(decoder: Decoder, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Name every tensor of a training."""
    tensors = {}
    for name, parameter in decoder.named_parameters():
        tensors[f"model.{name}"] = parameter.detach().cpu()
        for key, value in optimizer.state.get(parameter, {}).items():
            tensors[f"{key}.{name}"] = value.detach().cpu()
    return tensors


def curve(history: tuple[LossPoint, ...]) -> str:
    """Write a loss curve as CSV, numbers with all their digits."""
    rows = [f"{point.step},{point.tokens},{point.learning_rate!r},{point.loss!r}" for point in history]
    return "\n".join(["step,tokens,learning_rate,loss", *rows]) + "\n"


def _replace(path: Path, text: str) -> None:
    """Write a small file whole or not at all."""
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(text, encoding="utf-8")
    os.replace(partial, path)

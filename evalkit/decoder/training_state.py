"""Checkpoints of a training: written whole or not at all, continued to the bit, without pickle."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from evalkit.decoder.model import Decoder
from evalkit.decoder.packing import PackingState
from evalkit.decoder.weights import read_json
from evalkit.errors import CheckpointError, StorageError, UsageError

LATEST = "latest"  # a file that names the newest checkpoint's folder
TENSORS = "training.safetensors"
NUMBERS = "training.json"
CURVE = "loss.csv"
DIGESTS = "digests"  # of the settings: hashes that no message shows


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
    except FileExistsError as error:
        raise StorageError(f"{folder}: found a file, expected a folder; choose another --out") from error
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
    """Load the newest checkpoint into decoder and optimizer; None where the folder has none.

    Raises UsageError where it is of another training, CheckpointError where it is damaged.
    """
    if not (folder / LATEST).exists():
        return None
    try:
        name = (folder / LATEST).read_text(encoding="utf-8").strip()
        if not re.fullmatch(r"step-\d{8,}", name):
            raise ValueError(f"{LATEST} holds {name[:40]!r}, expected step-00000001 or so")
        numbers = read_json(folder / name / NUMBERS)
        _compare(folder, numbers["settings"], json.loads(json.dumps(settings)))
        state = _read_state(numbers["state"])
        _assign(decoder, optimizer, load_file(folder / name / TENSORS))
    except (CheckpointError, SafetensorError, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        reason = f"{error} is missing" if isinstance(error, KeyError) else str(error).partition("\n")[0]
        raise CheckpointError(
            f"{folder}: its training is damaged ({reason}); choose another --out or remove the folder"
        ) from error
    return state


def _compare(folder: Path, found: Mapping[str, Any], expected: Mapping[str, Any]) -> None:  # Any: JSON
    """Raise UsageError where the folder holds another training."""
    for name, value in expected.items():
        if name != DIGESTS and found.get(name) != value:
            raise UsageError(
                f"{folder} holds a training with {name} {found.get(name)!r}, this one has {value!r}; "
                "choose another --out, or the settings it was begun with"
            )
    digests = found.get(DIGESTS, {})
    others = [name for name, value in expected[DIGESTS].items() if digests.get(name) != value]
    if others:
        raise UsageError(f"{folder} holds a training with other {' and '.join(others)}; choose another --out")


def _read_state(saved: Mapping[str, Any]) -> TrainingState:  # Any: JSON
    """Read what asdict wrote."""
    packing = saved["packing"]
    return TrainingState(
        int(saved["step"]),
        int(saved["tokens"]),
        int(saved["stage"]),
        PackingState(int(packing["next_document"]), tuple(packing["ids"]), tuple(packing["weights"])),
        tuple(LossPoint(**point) for point in saved["history"]),
    )


def _assign(decoder: Decoder, optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Copy a training's tensors; ValueError or KeyError where they do not fit, before anything is changed."""
    kinds = ("model", "exp_avg", "exp_avg_sq")
    for name, parameter in decoder.named_parameters():
        for kind in kinds:
            if tensors[f"{kind}.{name}"].shape != parameter.shape:
                raise ValueError(f"tensor {kind}.{name} is that of another decoder")
        if tensors[f"step.{name}"].numel() != 1:
            raise ValueError(f"tensor step.{name} is not one number")
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

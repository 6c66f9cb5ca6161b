"""A model by the name a user gives it."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from evalkit.errors import UsageError
from evalkit.interfaces import LanguageModel
from evalkit.registry import MODELS, resolve


def load(name: str, *, device: str | None = None, dtype: str | None = None, window: int | None = None) -> LanguageModel:
    """Load an embedded model by its name, or a checkpoint by its folder or hub id.

    Raises CheckpointError where there is no such model, UsageError where device, dtype or window cannot be had.
    """
    if not name.strip():
        raise UsageError("--model is empty; expected nano, a checkpoint folder or a hub id")
    if name in MODELS:
        return resolve(MODELS, name)(device=device, dtype=dtype, window=window)  # type: ignore[no-any-return]
    from evalkit.decoder.engine import load as load_checkpoint

    return load_checkpoint(name, device=device, dtype=dtype, window=window)


def find(name: str) -> Path:
    """Give the checkpoint folder of a model that runs in evalkit's own decoder."""
    if name in MODELS:
        return Path(import_module(MODELS[name].partition(":")[0]).FOLDER)
    from evalkit.decoder.checkpoint import find as find_checkpoint

    return find_checkpoint(name)

"""A model by the name a user gives it."""

from __future__ import annotations

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

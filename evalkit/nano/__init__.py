"""nano: the decoder that ships in the package, so that everything runs before any model is downloaded."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from evalkit.decoder.engine import DecoderModel

FOLDER = Path(__file__).parent / "checkpoint"


def load(
    *,
    device: str | None = None,
    dtype: str | None = None,
    window: int | None = None,
    token_budget: int | None = None,
) -> DecoderModel:
    """Load nano; CheckpointError where the package was installed without its weights."""
    from evalkit.decoder.engine import from_folder

    return from_folder(
        FOLDER, name="nano", device=device or "cpu", dtype=dtype, window=window, token_budget=token_budget
    )

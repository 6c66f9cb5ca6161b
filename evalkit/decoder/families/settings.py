"""What families read alike from config.json: activations, bands, and settings that have one value here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from evalkit.decoder.config import LARGEST, Activation
from evalkit.errors import CheckpointError

ACTIVATIONS: dict[str, Activation] = {
    "gelu_new": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu": "gelu",
    "relu": "relu",
    "silu": "silu",
    "swish": "silu",
}
KINDS = ("full_attention", "sliding_attention")


def refused(name: str, value: object) -> CheckpointError:
    """Say that a setting asks for what the decoder does not compute, and what does."""
    return CheckpointError(f"{name} is {value!r:.60}, which is not computed here; transformers runs the model as hf:ID")


def require(settings: Mapping[str, Any], **values: object) -> None:  # Any: JSON
    """Refuse each of these settings that has another value than this one; null and absent do."""
    for name, value in values.items():
        if settings.get(name) not in (None, value):
            raise refused(name, settings[name])


def flag(settings: Mapping[str, Any], name: str, *, default: bool) -> bool:  # Any: JSON
    """Read a setting that is true or false."""
    found = settings.get(name, default)
    if not isinstance(found, bool):
        raise CheckpointError(f"{name}: found {found!r:.40}, expected true or false")
    return found


def activation(settings: Mapping[str, Any], name: str, default: str) -> Activation:  # Any: JSON
    """Read the MLP's activation."""
    found = settings.get(name, default)
    if not isinstance(found, str) or found not in ACTIVATIONS:
        raise refused(name, found)
    return ACTIVATIONS[found]


def whole(
    settings: Mapping[str, Any],  # Any: JSON
    name: str,
    *,
    default: int | None = None,
    most: int = LARGEST,
) -> int:
    """Read a number before anything as large as it is made; KeyError where it is missing and has no default."""
    found = settings[name] if default is None else settings.get(name, default)
    if type(found) is not int or not 1 <= found <= most:
        raise CheckpointError(f"{name}: found {found!r:.40}, expected a whole number from 1 to {most}")
    return found


def number(
    settings: Mapping[str, Any],  # Any: JSON
    name: str,
    *,
    default: float | None = None,
    most: float = LARGEST,
) -> float:
    """Read a number that something is divided by; KeyError where it is missing and has no default."""
    found = settings[name] if default is None else settings.get(name, default)
    if isinstance(found, bool) or not isinstance(found, int | float) or not 0 < found <= most:
        raise CheckpointError(f"{name}: found {found!r:.40}, expected a number above 0, at most {most}")
    return float(found)


def bands(kinds: Sequence[str], *, width: int | None) -> tuple[int | None, ...]:
    """Give a band of this width, the current token included, to the layers whose kind is sliding."""
    for kind in kinds:
        if kind not in KINDS:
            raise refused("layer_types", kind)
    if width is None and KINDS[1] in kinds:
        raise CheckpointError("sliding_window: found null, but layer_types asks for it; expected a whole number")
    return tuple(width if kind == KINDS[1] else None for kind in kinds)

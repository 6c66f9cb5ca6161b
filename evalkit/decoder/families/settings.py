"""What families read alike from config.json. A CheckpointError begins with the name that a setting has there."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
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
    least: int = 1,
    most: int = LARGEST,
) -> int:
    """Read a number before anything as large as it is made; one without a default has to be there."""
    found = _present(settings, name, f"a whole number from {least} to {most}", default=default)
    if type(found) is not int or not least <= found <= most:
        raise CheckpointError(f"{name}: found {found!r:.40}, expected a whole number from {least} to {most}")
    return found


def optional(settings: Mapping[str, Any], name: str) -> int | None:  # Any: JSON
    """Read a whole number; None where it is null or absent."""
    return None if settings.get(name) is None else whole(settings, name)


def number(
    settings: Mapping[str, Any],  # Any: JSON
    name: str,
    *,
    default: float | None = None,
    most: float = LARGEST,
) -> float:
    """Read a number that something is divided by; one without a default has to be there."""
    expected = f"a number above 0, at most {most}"
    found = _present(settings, name, expected, default=default)
    if isinstance(found, bool) or not isinstance(found, int | float) or not 0 < found <= most:
        raise CheckpointError(f"{name}: found {found!r:.40}, expected {expected}")
    return float(found)


def optional_number(settings: Mapping[str, Any], name: str) -> float | None:  # Any: JSON
    """Read a number above 0; None where it is null or absent."""
    return None if settings.get(name) is None else number(settings, name)


def _present(settings: Mapping[str, Any], name: str, expected: str, *, default: object) -> Any:  # Any: JSON
    if default is None and name not in settings:
        raise CheckpointError(f"{name}: found no such setting, expected {expected}")
    return settings.get(name, default)


def nested(settings: Mapping[str, Any], name: str) -> dict[str, Any]:  # Any: JSON
    """Read the settings within a setting; there are none where it is null or absent."""
    found = settings.get(name)
    if not isinstance(found, dict | None):
        raise CheckpointError(f"{name}: found {found!r:.40}, expected null or an object of settings")
    return dict(found or {})


def head_size(settings: Mapping[str, Any], width: str, heads: str) -> int:  # Any: JSON
    """Divide the model's width among its heads; both are names of settings."""
    found, count = whole(settings, width), whole(settings, heads)
    if found % count:
        raise CheckpointError(f"{width}: found {found}, expected a multiple of {heads}, which is {count}")
    return found // count


def layer_types(settings: Mapping[str, Any], *, default: Sequence[str]) -> Sequence[str]:  # Any: JSON
    """Read the kind of each layer; null and absent stand for the default, which has as many."""
    found = settings.get("layer_types")
    return default if found is None else kinds("layer_types", found, KINDS, layers=len(default))


def kinds(name: str, found: object, known: Collection[str], *, layers: int) -> list[str]:
    """Give a setting's list of the kinds of layers back, which has to have one of the known kinds for each."""
    if not isinstance(found, list) or len(found) != layers:
        what = f"a list of {len(found)}" if isinstance(found, list) else f"{found!r:.40}"
        raise CheckpointError(f"{name}: found {what}, expected a list of {layers}, a kind for each layer")
    for kind in found:
        if not isinstance(kind, str) or kind not in known:
            raise refused(name, kind)
    return found


def bands(kinds: Sequence[str], *, width: int | None) -> tuple[int | None, ...]:
    """Give a band of this width, the current token included, to the layers whose kind is sliding."""
    if width is None and KINDS[1] in kinds:
        raise CheckpointError("sliding_window: found null, but layer_types asks for it; expected a whole number")
    return tuple(width if kind == KINDS[1] else None for kind in kinds)

"""A model by the name a user gives it."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from evalkit import hub
from evalkit.decoder.files import is_hub_id, local
from evalkit.errors import UsageError
from evalkit.interfaces import LanguageModel
from evalkit.registry import MODELS, resolve

# What stands before a name: the module whose `load` takes the rest of it, and what that is.
PREFIXES = {
    "hf": ("evalkit.models.hf", "a folder or a hub id, as in hf:openai-community/gpt2"),
    "server": ("evalkit.models.server", "a URL, as in server:http://127.0.0.1:8000"),
}


def load(
    name: str,
    *,
    device: str | None = None,
    dtype: str | None = None,
    window: int | None = None,
    token_budget: int | None = None,
) -> LanguageModel:
    """Load an embedded model by its name, or a checkpoint by its folder or hub id.

    `hf:ID` and `hf:FOLDER` run through transformers, `server:URL` asks a server. Raises CheckpointError where there is
    no such model, UsageError where device, dtype or window cannot be had. `token_budget` tokens are computed together,
    None lets the device decide.
    """
    if not name.strip():
        raise UsageError("--model is empty; expected nano, a checkpoint folder or a hub id")
    if token_budget is not None and token_budget < 1:
        raise UsageError(f"--token-budget: found {token_budget}, expected 1 or more")
    given = {"device": device, "dtype": dtype, "window": window, "token_budget": token_budget}
    if name in MODELS:
        return resolve(MODELS, name)(**given)  # type: ignore[no-any-return]
    prefix, _, rest = name.partition(":")
    if prefix in PREFIXES and prefix != name:
        module, expected = PREFIXES[prefix]
        if not rest.strip():
            raise UsageError(f"--model: found {name!r} with nothing behind it, expected {expected}")
        return import_module(module).load(rest, **given)  # type: ignore[no-any-return]
    _prepare_hub(name)
    from evalkit.decoder.engine import load as load_checkpoint

    return load_checkpoint(name, device=device, dtype=dtype, window=window, token_budget=token_budget)


def find(name: str) -> Path:
    """Give the checkpoint folder of a model that runs in evalkit's own decoder."""
    if name in MODELS:
        return Path(import_module(MODELS[name].partition(":")[0]).FOLDER)
    prefix, _, rest = name.partition(":")
    if prefix in PREFIXES and rest:
        raise UsageError(
            f"--model: {name!r} does not run in evalkit's own decoder; expected nano, a folder or a hub id"
        )
    _prepare_hub(name)
    from evalkit.decoder.checkpoint import find as find_checkpoint

    return find_checkpoint(name)


def _prepare_hub(name: str) -> None:
    """Let a hub that is away not be waited for where a name has the form of its ids and no folder has that name."""
    if is_hub_id(name) and not local(name).exists():
        hub.prepare()

"""The Hugging Face hub: datasets of it, or local files through `datasets`, without waiting for a hub that is away."""

from __future__ import annotations

import logging
import os
import socket
import sys
from functools import cache
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies

from evalkit.errors import HubError

PATIENCE = 3.0  # seconds


def load(
    path: str, *, split: str, name: object = None, is_local: bool = False, **given: object
) -> Any:  # Any: a datasets.Dataset, which is not typed
    """Load one split of a dataset, in its configuration `name`; `given` are further arguments of `load_dataset`.

    No code of a dataset is ever run. `is_local` says that the hub is not asked. Raises HubError.
    """
    if not is_local:
        prepare()
    import datasets

    hush()
    logging.getLogger("datasets").setLevel(logging.CRITICAL)
    datasets.disable_progress_bars()
    try:
        return datasets.load_dataset(path, name, split=split, **given)
    except Exception as error:  # the libraries beneath raise dozens of kinds, none with a common base
        config = f", configuration {name!r}," if name else ""
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        advice = "check its files and splits" if is_local else "check name and network"
        raise HubError(
            f"{path}: split {split!r}{config} of a dataset of this name cannot be loaded: {reason.rstrip('.')}; "
            f"{advice}, or give a file of its documents with --data"
        ) from error


@cache
def prepare() -> None:
    """Tell the libraries of the hub to use their caches alone where the hub's server does not answer.

    They would try six times over half a minute. Behind a proxy the server cannot be asked directly: it is left to them.
    """
    hush()
    if os.environ.get("HF_HUB_OFFLINE") or getproxies():
        return
    address = urlsplit(os.environ.get("HF_ENDPOINT") or "https://huggingface.co")
    try:
        port = address.port or (80 if address.scheme == "http" else 443)
        socket.create_connection((address.hostname or "", port), timeout=PATIENCE).close()
    except (OSError, ValueError):
        _go_offline()


def hush() -> None:
    """Let the hub's library not tell of every retry, as the one line that is raised in the end says it all."""
    os.environ.setdefault("HF_HUB_VERBOSITY", "error")  # read when it is imported
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)


def _go_offline() -> None:
    os.environ["HF_HUB_OFFLINE"] = "1"  # what is imported from now on reads this
    for name, place in (("huggingface_hub.constants", "HF_HUB_OFFLINE"), ("datasets.config", "HF_HUB_OFFLINE")):
        if name in sys.modules:
            setattr(sys.modules[name], place, True)

"""Whether the Hugging Face hub can be reached, found out once a process, so that nobody waits for retries."""

from __future__ import annotations

import os
import socket
import sys
from functools import cache
from urllib.parse import urlsplit
from urllib.request import getproxies

PATIENCE = 3.0  # seconds


@cache
def prepare() -> None:
    """Tell the libraries of the hub to use their caches alone where the hub's server does not answer.

    They would try six times over half a minute. Behind a proxy the server cannot be asked directly: nothing is done.
    """
    if os.environ.get("HF_HUB_OFFLINE") or getproxies():
        return
    address = urlsplit(os.environ.get("HF_ENDPOINT") or "https://huggingface.co")
    try:
        port = address.port or (80 if address.scheme == "http" else 443)
        socket.create_connection((address.hostname or "", port), timeout=PATIENCE).close()
    except (OSError, ValueError):
        _go_offline()


def _go_offline() -> None:
    os.environ["HF_HUB_OFFLINE"] = "1"  # what is imported from now on reads this
    for name, place in (("huggingface_hub.constants", "HF_HUB_OFFLINE"), ("datasets.config", "HF_HUB_OFFLINE")):
        if name in sys.modules:
            setattr(sys.modules[name], place, True)

"""How often a client may ask: a token bucket for each address."""

from __future__ import annotations

import ipaddress
import math
import time
from collections import OrderedDict
from collections.abc import Callable

MOST_ADDRESSES = 10_000  # remembered at a time; beyond that, those are forgotten that have asked least lately


class Limit:
    """Buckets that hold `at_once` requests and fill by `a_second`; a request that finds its bucket empty is refused."""

    def __init__(self, *, a_second: float, at_once: float, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin with every bucket full; `clock` tells seconds."""
        self._a_second = a_second
        self._at_once = max(1.0, at_once)
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # what is left, and when it was counted

    def wait(self, address: str) -> int:
        """Count a request of an address; return 0 if it may pass, or else the seconds to wait before the next."""
        name, now = _network(address), self._clock()
        left, before = self._buckets.pop(name, (self._at_once, now))
        left = min(self._at_once, left + self._a_second * (now - before))
        passes = left >= 1
        self._buckets[name] = (left - passes, now)
        if len(self._buckets) > MOST_ADDRESSES:
            self._buckets.popitem(last=False)
        return 0 if passes else math.ceil((1 - left) / self._a_second)


def _network(address: str) -> str:
    """Name what one customer has: an address of IPv4, the first 64 bits of one of IPv6."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    return str(found) if found.version == 4 else str(ipaddress.ip_network((found, 64), strict=False))

"""What `evalkit study serve` is asked to do."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from evalkit.errors import UsageError

SHORTEST_TOKEN = 12  # characters; shorter ones can be guessed


@dataclass(frozen=True, slots=True)
class ServeSettings:
    """The flags of `evalkit study serve`; UsageError where one cannot be carried out.

    The limits hold for each client address, and 200 participants of one laboratory may share one: each of them asks
    twice an article, so that at an article every ten seconds they send 40 requests a second.
    """

    directory: Path  # of a study
    host: str = "127.0.0.1"  # the address to listen at
    port: int = 8000  # 0 takes any that is free
    admin_token: str | None = None  # None makes one, which is told once
    names: tuple[str, ...] = ()  # names, beside --host, under which browsers reach the server
    consent: Path | None = None  # text to agree to, above what evalkit says of the data that are recorded
    requests_a_second: float = 100.0  # in the long run
    requests_at_once: int = 1000
    begins_a_minute: float = 60.0  # new participants, in the long run
    begins_at_once: int = 300
    is_behind_proxy: bool = False  # one on this machine, whose X-Forwarded-For and X-Forwarded-Proto are true

    def __post_init__(self) -> None:
        """Check what can be checked without reading anything."""
        if not 0 <= self.port <= 65535:
            raise UsageError(f"--port: found {self.port}, expected 0 to 65535")
        for flag, value in (("host", self.host), *(("name", name) for name in self.names)):
            if not value.strip() or any(not "!" <= character <= "~" for character in value) or "/" in value:
                raise UsageError(f"--{flag}: found {value!r}, expected the name or address of a machine")
        token = self.admin_token
        if token is not None and (len(token) < SHORTEST_TOKEN or not token.isascii() or not token.isprintable()):
            raise UsageError(
                f"--admin-token: found {len(token)} characters, expected {SHORTEST_TOKEN} or more, of ASCII; leave it "
                "out to have one made"
            )
        limits = (
            ("requests-a-second", self.requests_a_second),
            ("requests-at-once", self.requests_at_once),
            ("begins-a-minute", self.begins_a_minute),
            ("begins-at-once", self.begins_at_once),
        )
        for flag, limit in limits:
            if not math.isfinite(limit) or limit <= 0:
                raise UsageError(f"--{flag}: found {limit}, expected a number above 0")

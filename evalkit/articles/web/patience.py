"""Connections on which nothing comes: closed, so that they do not take the places of those who ask."""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

SECONDS = 20.0  # as long as a form may take; uvicorn itself waits for the head of a request without end


class PatientProtocol(H11Protocol):
    """Closes a connection on which no whole head of a request comes within two looks, `seconds` apart."""

    seconds = SECONDS
    _seen: RequestResponseCycle | None = None  # the latest request when it was looked last
    _look: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Begin to look."""
        super().connection_made(transport)
        self._look = self.loop.call_later(self.seconds, self._check)

    def connection_lost(self, exc: Exception | None) -> None:
        """Look no more."""
        if self._look is not None:
            self._look.cancel()
        super().connection_lost(exc)

    def _check(self) -> None:
        # None before the first request, whatever uvicorn's types say.
        latest: RequestResponseCycle | None = self.cycle
        is_answering = latest is not None and not latest.response_complete
        if latest is self._seen and not is_answering:
            self.transport.close()
            return
        self._seen = latest
        self._look = self.loop.call_later(self.seconds, self._check)

"""What every request passes before it is looked at, and what every response carries."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Callable, Mapping
from typing import TypeAlias
from urllib.parse import parse_qsl, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from evalkit.articles.web.limits import Limit
from evalkit.articles.web.settings import ServeSettings

LOOPBACK = ("localhost", "127.0.0.1", "::1")
EVERYWHERE = ("0.0.0.0", "::")  # addresses that listen at all others
MOST_BYTES = 16 * 1024  # of a form; ours have some hundred
MOST_FIELDS = 16
MOST_DIGITS = 20  # of a length that is told; Python refuses to read thousands
SECONDS_FOR_A_FORM = 20
FORM = "application/x-www-form-urlencoded"
OWN_SITE = (None, "none", "same-origin")  # what browsers that say so send with our own forms

Refuse: TypeAlias = Callable[[int, Mapping[str, str]], Response]  # makes a page of an HTTP status, with these headers
Fail: TypeAlias = Callable[[Exception], Response]  # makes a page of what nobody has caught


class Guard:
    """Refuse requests for other hosts, from other sites' forms, and too many of them; add headers to every response."""

    def __init__(self, app: ASGIApp, *, settings: ServeSettings, refuse: Refuse, fail: Fail, style: str) -> None:
        """Stand before `app`; `style` is the source, in the policy's words, of the one style that pages have."""
        self._app = app
        self._refuse = refuse
        self._fail = fail
        self._hosts = {_name(name) for name in (*LOOPBACK, settings.host, *settings.names)}
        # A page elsewhere can lead a browser here under a name of its own, but not under an address.
        self._takes_addresses = settings.host in EVERYWHERE
        if self._takes_addresses:
            self._hosts.add(_name(socket.gethostname()))
        self._limit = Limit(a_second=settings.requests_a_second, at_once=settings.requests_at_once)
        self._headers = {
            "Content-Security-Policy": (
                f"default-src 'none'; style-src {style}; img-src data:; form-action 'self'; base-uri 'none'; "
                "frame-ancestors 'none'"
            ),
            "Cross-Origin-Opener-Policy": "same-origin",
            "Cross-Origin-Resource-Policy": "same-origin",
            "Referrer-Policy": "no-referrer",
            "X-Content-Type-Options": "nosniff",
            "X-Frame-Options": "DENY",
            "X-Robots-Tag": "noindex, nofollow",
            "Cache-Control": "no-store",
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or pass it on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        has_started = False

        async def send_with_headers(message: Message) -> None:
            nonlocal has_started
            if message["type"] == "http.response.start":
                has_started = True
                MutableHeaders(scope=message).update(self._headers)
            await send(message)

        answer = self._refused(scope) or self._app
        try:
            await answer(scope, receive, send_with_headers)
        except Exception as error:
            if has_started:
                raise
            await self._fail(error)(scope, receive, send_with_headers)

    def _refused(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        hosts = headers.getlist("host")
        if len(hosts) != 1 or not self._is_own(hosts[0]):
            return self._refuse(400, {})
        if wait := self._limit.wait(address(scope)):
            return self._refuse(429, {"Retry-After": str(wait)})
        if scope["method"] == "POST" and headers.get("sec-fetch-site") not in OWN_SITE:
            return self._refuse(403, {})
        return None

    def _is_own(self, host: str) -> bool:
        name = _name(host)
        return name in self._hosts or (self._takes_addresses and _is_address(name))


async def read_form(request: Request) -> dict[str, str]:
    """Read the fields of a form, the first of each name; HTTPException for what is none, too large or too slow."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != FORM:
        raise HTTPException(415)
    told = request.headers.get("content-length", "0")
    if not told.isdecimal() or len(told) > MOST_DIGITS or int(told) > MOST_BYTES:
        raise HTTPException(413)
    content = bytearray()
    try:
        async with asyncio.timeout(SECONDS_FOR_A_FORM):
            async for chunk in request.stream():
                content += chunk
                if len(content) > MOST_BYTES:
                    raise HTTPException(413)
    except TimeoutError:
        raise HTTPException(408) from None
    except ClientDisconnect:
        raise HTTPException(400) from None
    try:
        pairs = parse_qsl(content.decode("latin-1"), keep_blank_values=True, max_num_fields=MOST_FIELDS)
    except ValueError:
        raise HTTPException(400) from None
    return dict(reversed(pairs))


def address(scope: Scope) -> str:
    """Return the address of the client that asks."""
    client = scope.get("client")
    return str(client[0]) if client else ""


def _name(host: str) -> str:
    """Take the port off a Host header."""
    if host.count(":") > 1 and not host.startswith("["):
        return host.lower()
    try:
        return (urlsplit(f"//{host}").hostname or "").rstrip(".")
    except ValueError:
        return ""


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True

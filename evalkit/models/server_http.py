"""Requests to a server and its JSON: timeouts, dropped connections tried again, errors of one line."""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass, field
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, OpenerDirector, Request, build_opener

from evalkit.errors import ServerError, StatusError, UsageError

KEY_VARIABLE = "OPENAI_API_KEY"
BUSY = frozenset({429, 502, 503, 504})  # a later attempt may get an answer
LONGEST_MESSAGE = 300  # characters of a server's own words


class _NoRedirect(HTTPRedirectHandler):
    """Take a redirect as an error: following one would hand the key to another host."""

    def redirect_request(self, *_: Any, **__: Any) -> None:  # Any: urllib's own signature is untyped
        return None


@dataclass(frozen=True, slots=True)
class Server:
    """Where a server is, and how long it is waited for."""

    root: str  # such as `http://127.0.0.1:8000`
    timeout: float = 600.0  # seconds without a byte of an answer
    attempts: int = 4  # that a request is given, where the connection drops or the server is busy
    pause: float = 1.0  # seconds before the second attempt, doubled before each further one
    opener: OpenerDirector = field(default_factory=lambda: build_opener(_NoRedirect()), repr=False)

    def get(self, path: str) -> dict[str, Any]:  # Any: JSON
        """Read the JSON object at a path."""
        return self._ask(path, None)

    def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:  # Any: JSON
        """Send a JSON object and read the answer; StatusError where it is refused, ServerError where there is none."""
        return self._ask(path, json.dumps(body).encode())

    def _ask(self, path: str, body: bytes | None) -> dict[str, Any]:  # Any: JSON
        for attempt in range(self.attempts):
            is_last = attempt + 1 == self.attempts
            try:
                return self._read(path, body)
            except StatusError as error:
                if is_last or error.status not in BUSY:
                    raise
            except (HTTPException, OSError) as error:
                reason = error.reason if isinstance(error, URLError) else error
                if isinstance(reason, TimeoutError):
                    raise ServerError(
                        f"{self.root}{path}: no answer within {self.timeout:g} seconds; is the server overloaded?"
                    ) from error
                if is_last:
                    raise ServerError(
                        f"{self.root}{path}: the connection failed {self.attempts} times "
                        f"({_one_line(str(reason)) or type(reason).__name__}); is the server running?"
                    ) from error
            time.sleep(self.pause * 2**attempt)
        raise AssertionError("an attempt returns or raises")

    def _read(self, path: str, body: bytes | None) -> dict[str, Any]:  # Any: JSON
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if key := os.environ.get(KEY_VARIABLE, "").strip():
            headers["Authorization"] = f"Bearer {key}"
        request = Request(self.root + path, data=body, headers=headers)
        try:
            with self.opener.open(request, timeout=self.timeout) as answer:
                content = answer.read()
        except HTTPError as error:
            with error:
                said = _message(error.read())
            raise StatusError(
                f"{self.root}{path}: the server refused with {error.code} ({said or error.reason})", status=error.code
            ) from error
        try:
            read = json.loads(content)
        except (ValueError, RecursionError) as error:
            raise ServerError(
                f"{self.root}{path}: found {content[:40]!r}, expected JSON; is this an OpenAI-compatible server?"
            ) from error
        if not isinstance(read, dict):
            raise ServerError(f"{self.root}{path}: found a JSON {type(read).__name__}, expected an object")
        return read


def address(url: str) -> str:
    """Give the root of a server from its URL, with or without `/v1`; UsageError where it is none."""
    try:
        parts = urlsplit(url)
        is_url = parts.scheme in {"http", "https"} and bool(parts.hostname) and (parts.port or True)
    except ValueError:
        is_url = False
    if not is_url or any(character.isspace() or ord(character) < 32 for character in url):
        raise UsageError("--model server: found no URL, expected one such as server:http://127.0.0.1:8000")
    if parts.username or parts.password:
        raise UsageError(f"--model server: found a password in the URL, expected it in {KEY_VARIABLE}")
    if parts.query:
        raise UsageError(f"--model server: found ?{parts.query:.40} in the URL, expected none")
    return f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/').removesuffix('/v1').rstrip('/')}"


def _message(body: bytes) -> str:
    """Take the server's own words out of what it sent with an error."""
    text = body.decode(errors="replace")
    try:
        read = json.loads(text)
    except (ValueError, RecursionError):
        return _one_line(text)
    for key in ("error", "message", "detail"):
        if isinstance(read, dict) and key in read:
            read = read[key]
    return _one_line(read if isinstance(read, str) else json.dumps(read))


def _one_line(text: str) -> str:
    return " ".join(text.split())[:LONGEST_MESSAGE]

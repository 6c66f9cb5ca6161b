"""Requests to a server and its JSON: timeouts, dropped connections tried again, errors of one line."""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.message import Message
from email.utils import parsedate_to_datetime
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urlsplit
from urllib.request import HTTPRedirectHandler, OpenerDirector, Request, build_opener

from evalkit.errors import ServerError, StatusError, UsageError

KEY_VARIABLE = "OPENAI_API_KEY"
TOO_MANY = 429  # requests
BUSY = frozenset({TOO_MANY, 502, 503, 504})  # a later attempt may get an answer
LONGEST_MESSAGE = 300  # characters of a server's own words


class _RefusalError(StatusError):
    """A refusal with the seconds after which the server wants to be asked again, where it tells them."""

    def __init__(self, message: str, *, status: int, after: float | None) -> None:
        super().__init__(message, status=status)
        self.after = after


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
    tries: int = 60  # in place of `attempts`, where the server says that it is asked too often
    patience: float = 60.0  # seconds in all waits for one request
    opener: OpenerDirector = field(default_factory=lambda: build_opener(_NoRedirect()), repr=False)

    def get(self, path: str) -> dict[str, Any]:  # Any: JSON
        """Read the JSON object at a path."""
        return self._ask(path, None)

    def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:  # Any: JSON
        """Send a JSON object and read the answer; StatusError where it is refused, ServerError where there is none."""
        return self._ask(path, json.dumps(body).encode())

    def _ask(self, path: str, body: bytes | None) -> dict[str, Any]:  # Any: JSON
        waited = 0.0
        refused = dropped = 0  # attempts that ended so
        while True:
            try:
                return self._read(path, body)
            except _RefusalError as error:
                refused += 1
                wait = self._wait(error, refused=refused, asked=refused + dropped, waited=waited)
            except (HTTPException, OSError) as error:
                dropped += 1
                reason = error.reason if isinstance(error, URLError) else error
                if isinstance(reason, TimeoutError):
                    raise ServerError(
                        f"{self.root}{path}: no answer within {self.timeout:g} seconds; is the server overloaded?"
                    ) from error
                if dropped >= self.attempts:
                    raise ServerError(
                        f"{self.root}{path}: the connection failed {dropped} times "
                        f"({_one_line(str(reason)) or type(reason).__name__}); is the server running?"
                    ) from error
                wait = self.pause * 2 ** (dropped - 1)
            time.sleep(wait)
            waited += wait

    def _wait(self, error: _RefusalError, *, refused: int, asked: int, waited: float) -> float:
        """Give the seconds until the next attempt; StatusError where there is to be none."""
        if error.status not in BUSY:
            raise error
        told = error.after is not None
        wait = self.pause * 2 ** (refused - 1) if error.after is None else max(error.after, self.pause)
        left = self.patience - waited
        is_last = refused >= (self.tries if error.status == TOO_MANY else self.attempts)
        if is_last or left <= 0 or (told and wait > left):
            times = "once" if asked == 1 else f"{asked} times in {waited:.0f} seconds"
            wanted = f", and wants {wait:g} seconds more" if told else ""
            raise StatusError(f"{error}, asked {times}{wanted}; try again later", status=error.status) from error
        return min(wait, left)

    def _read(self, path: str, body: bytes | None) -> dict[str, Any]:  # Any: JSON
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if key := os.environ.get(KEY_VARIABLE, "").strip():
            if not (key.isascii() and key.isprintable()):
                raise UsageError(f"{KEY_VARIABLE}: found a key that is not printable ASCII on one line; set it again")
            headers["Authorization"] = f"Bearer {key}"
        request = Request(self.root + path, data=body, headers=headers)
        try:
            with self.opener.open(request, timeout=self.timeout) as answer:
                content = answer.read()
        except HTTPError as error:
            with error:
                said = _message(error.read())
            raise _RefusalError(
                f"{self.root}{path}: the server refused with {error.code} ({said or error.reason})",
                status=error.code,
                after=_seconds(error.headers),
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
        (parts.hostname or "").encode("idna")  # as it is looked up
        is_url = parts.scheme in {"http", "https"} and bool(parts.hostname) and (parts.port or True)
    except ValueError:
        is_url = False
    if not is_url or any(character.isspace() or ord(character) < 32 for character in url):
        raise UsageError("--model server: found no URL, expected one such as server:http://127.0.0.1:8000")
    if parts.username or parts.password:
        raise UsageError(f"--model server: found a password in the URL, expected it in {KEY_VARIABLE}")
    if parts.query:
        raise UsageError(f"--model server: found ?{parts.query:.40} in the URL, expected none")
    if not parts.path.isascii():
        quoted = quote(parts.path, safe="/%")
        raise UsageError(f"--model server: found {parts.path!r:.60} in the URL, expected ASCII, as in {quoted:.90}")
    return f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/').removesuffix('/v1').rstrip('/')}"


def _seconds(headers: Message) -> float | None:
    """Read Retry-After, seconds or a date (RFC 9110, 10.2.3); None where it is absent or neither."""
    told = headers.get("Retry-After", "").strip()
    if told.isascii() and told.isdigit():
        return float(told)
    try:
        date = parsedate_to_datetime(told)
    except ValueError:
        return None
    date = date if date.tzinfo else date.replace(tzinfo=UTC)
    return max(0.0, (date - datetime.now(UTC)).total_seconds())


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

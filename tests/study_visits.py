"""Visitors of a study's pages: they ask the application itself, without a network, and keep cookies as browsers do."""

from __future__ import annotations

import asyncio
import html
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from http.cookies import SimpleCookie
from urllib.parse import urlencode

from starlette.types import ASGIApp, Message

from evalkit.articles.records import CHOICES

FORM = "application/x-www-form-urlencoded"


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: str

    def header(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key == name), None)

    @property
    def location(self) -> str | None:
        return self.header("location")

    @property
    def token(self) -> str:
        return re.findall(r'name="token" value="([^"]*)"', self.body)[0]

    @property
    def link(self) -> str:
        return re.findall(r'href="http://[^/]*(/resume/[^"]*)"', self.body)[0]

    @property
    def asked(self) -> int:
        """The choice that the attention check names."""
        [name] = re.findall("“(.*?)”", self.text)
        return 1 + CHOICES.index(name[0].lower() + name[1:])

    @property
    def text(self) -> str:
        """The article: everything between its tags, without markup."""
        [found] = re.findall(r"<article>(.*?)</article>", self.body, re.DOTALL)
        return html.unescape(re.sub(r"<[^>]*>", " ", found))


@dataclass(slots=True)
class Visitor:
    """A browser without scripts."""

    app: ASGIApp
    address: str = "127.0.0.1"
    headers: Mapping[str, str] = field(default_factory=dict)
    cookies: dict[str, str] = field(default_factory=dict)

    def get(self, path: str, **headers: str) -> Reply:
        return self.ask("GET", path, headers=headers)

    def post(self, path: str, fields: Mapping[str, object], **headers: str) -> Reply:
        return self.ask("POST", path, urlencode(fields).encode(), headers={"content-type": FORM, **headers})

    def open(self, path: str) -> Reply:
        """Ask for a page, and for where it leads, until one is shown."""
        reply = self.get(path)
        while reply.location:
            reply = self.get(reply.location)
        return reply

    def begin(self) -> Reply:
        """Consent, and show the instructions."""
        self.post("/begin", {"token": self.get("/").token})
        return self.get("/instructions")

    def answer(self, path: str, choice: object = 1) -> Reply:
        """Show an article or the check, and answer."""
        return self.post(path, {"token": self.get(path).token, "choice": choice})

    def go(self, steps: int, choice: int = 1) -> str:
        """Take so many pages, attentively, from the one that is next, and return where the last answer leads."""
        path = self.get("/").location or "/"
        path = "/article/1" if path == "/instructions" else path
        for _ in range(steps):
            path = self.answer(path, self.get(path).asked if path == "/check" else choice).location or ""
        return path

    def ask(self, method: str, path: str, body: bytes = b"", *, headers: Mapping[str, str] | None = None) -> Reply:
        sent = {"host": "localhost", **self.headers, **(headers or {})}
        if self.cookies:
            sent["cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        reply = asyncio.run(send(self.app, method, path, [body], list(sent.items()), self.address))
        for key, value in reply.headers:
            if key == "set-cookie":
                self.cookies |= {name: each.value for name, each in SimpleCookie(value).items()}
        return reply


async def send(
    app: ASGIApp, method: str, path: str, chunks: Iterable[bytes], headers: Iterable[tuple[str, str]], address: str
) -> Reply:
    """Send one request to an application, its body in pieces."""
    waiting = [*chunks]
    messages: list[Message] = []

    async def receive() -> Message:
        if not waiting:
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": waiting.pop(0), "more_body": bool(waiting)}

    async def keep(message: Message) -> None:
        messages.append(message)

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(key.replace("_", "-").encode(), value.encode("latin-1")) for key, value in headers],
        "client": (address, 50_000),
        "server": ("127.0.0.1", 8000),
    }
    await app(scope, receive, keep)
    [start] = [each for each in messages if each["type"] == "http.response.start"]
    body = b"".join(each.get("body", b"") for each in messages if each["type"] == "http.response.body")
    read = tuple((key.decode("latin-1"), value.decode("latin-1")) for key, value in start["headers"])
    return Reply(start["status"], read, body.decode())

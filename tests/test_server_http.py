"""Requests to a server: its URL, the key, and what comes of one that is away or asked too often."""

from __future__ import annotations

import socket
import time
from typing import Any

import pytest

from evalkit.errors import ServerError, UsageError
from evalkit.models.server import connect
from evalkit.models.server_http import Server, address
from tests.completions_server import LISTED, Answer, refused, serving


@pytest.mark.parametrize(
    ("url", "root"),
    [
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000"),
        ("http://127.0.0.1:8000/v1/", "http://127.0.0.1:8000"),
        ("https://host/models/a/v1", "https://host/models/a"),
    ],
)
def test_a_url_may_end_in_v1(url: str, root: str) -> None:
    assert address(url) == root


@pytest.mark.parametrize(
    "url", ["", "localhost", "ftp://host", "http://", "http://host:x", "http://a b", "file:///etc", "http://a..b"]
)
def test_what_is_no_url_is_refused(url: str) -> None:
    with pytest.raises(UsageError, match="expected one such as"):
        address(url)


def test_a_password_in_a_url_is_refused_and_not_repeated() -> None:
    with pytest.raises(UsageError, match="OPENAI_API_KEY") as caught:
        address("http://me:secret@host")
    assert "secret" not in str(caught.value)


def test_a_path_with_other_characters_than_ascii_is_told() -> None:
    with pytest.raises(UsageError, match="expected ASCII, as in /%C3%A9"):
        address("http://127.0.0.1:8791/é")


def test_a_server_that_is_not_there_is_told_in_one_line() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # never listens
        with pytest.raises(ServerError, match=r"failed 4 times.*is the server running") as caught:
            connect(Server(f"http://127.0.0.1:{taken.getsockname()[1]}", pause=0.0))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("key", ["secret\nkey", "secret \u2014", "sécret"])
def test_a_key_that_cannot_be_sent_is_told_and_not_shown(monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", key)
    with (
        serving(lambda *_: (200, {"data": [LISTED]})) as url,
        pytest.raises(UsageError, match="OPENAI_API_KEY") as caught,
    ):
        connect(Server(url))
    assert "cret" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_server_that_is_asked_too_often_is_asked_for_longer() -> None:
    left = [refused("slow down", status=429)] * 9
    with serving(lambda *_: left.pop() if left else (200, {"data": [LISTED]})) as url:
        assert connect(Server(url, pause=0.0)).name == LISTED["id"]
    assert not left


def test_a_server_that_is_always_asked_too_often_is_an_error() -> None:
    tried = []

    def refuse(path: str, _: dict[str, Any]) -> Answer:
        tried.append(path)
        return refused("slow down", status=429)

    with serving(refuse) as url, pytest.raises(ServerError, match=r"429 \(slow down\), asked 60 times in 0 seconds"):
        connect(Server(url, pause=0.0))
    assert len(tried) == 60


def test_a_connection_that_drops_after_many_refusals_is_tried_again() -> None:
    left: list[Answer] = [(200, None), *[refused("slow down", status=429)] * 9]
    with serving(lambda *_: left.pop() if left else (200, {"data": [LISTED]})) as url:
        assert connect(Server(url, pause=0.0)).name == LISTED["id"]
    assert not left


def test_waits_end_when_patience_does() -> None:
    server_url = serving(lambda *_: refused("slow down", status=429))
    with server_url as url, pytest.raises(ServerError, match=r"asked 4 times in 0 seconds"):
        connect(Server(url, pause=0.01, patience=0.05))  # 0.01 + 0.02 + what is left of it


@pytest.mark.parametrize(("after", "least"), [("1", 1.0), ("0", 0.0), ("soon", 0.0), ("-1", 0.0)])
def test_a_server_is_asked_again_when_it_says(after: str, least: float) -> None:
    left = [refused("slow down", status=429)]
    with serving(lambda *_: left.pop() if left else (200, {"data": [LISTED]}), refusing={"Retry-After": after}) as url:
        begun = time.monotonic()
        connect(Server(url, pause=0.0))
        assert least <= time.monotonic() - begun < 10.0


@pytest.mark.parametrize("after", ["3600", "Fri, 31 Dec 2999 23:59:59 GMT"])
def test_a_server_that_asks_for_too_long_a_wait_is_told_at_once(after: str) -> None:
    with (
        serving(lambda *_: refused("slow down", status=429), refusing={"Retry-After": after}) as url,
        pytest.raises(ServerError, match=r"asked once, and wants [\d.e+]+ seconds more"),
    ):
        connect(Server(url, pause=0.0))

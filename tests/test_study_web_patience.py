"""Connections that keep a server waiting."""

import asyncio
import time

import pytest
from starlette.types import Receive, Scope, Send
from uvicorn import Config
from uvicorn.server import ServerState

from evalkit.articles.web.patience import PatientProtocol

SECONDS = 0.2
REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


class Hasty(PatientProtocol):
    seconds = SECONDS


async def slow(scope: Scope, receive: Receive, send: Send) -> None:
    """Take longer to answer than a connection may be silent."""
    await asyncio.sleep(4 * SECONDS)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


async def ask(*pieces: bytes, pause: float = 0.0) -> tuple[bytes, float]:
    """Send pieces, and read until the server closes; give what came, and after how long."""
    config = Config(slow, ws="none", lifespan="off", log_config=None, server_header=False, date_header=False)
    loop = asyncio.get_running_loop()
    served = await loop.create_server(lambda: Hasty(config, ServerState(), {}), "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*served.sockets[0].getsockname())
    started = time.monotonic()
    for piece in pieces:
        if reader.at_eof():
            break
        writer.write(piece)
        await asyncio.sleep(pause)
    found = await asyncio.wait_for(reader.read(), 10)
    writer.close()
    served.close()
    return found, time.monotonic() - started


@pytest.mark.parametrize("pieces", [(), (b"GET / HT",), (REQUEST[:-2],)])
def test_a_connection_without_a_whole_request_is_closed(pieces: tuple[bytes, ...]) -> None:
    found, seconds = asyncio.run(ask(*pieces))
    assert found == b""
    assert seconds < 10 * SECONDS


def test_one_that_sends_a_byte_now_and_then_is_closed_too() -> None:
    found, _ = asyncio.run(ask(*(REQUEST[place : place + 1] for place in range(8)), pause=SECONDS / 4))
    assert found == b""


def test_a_request_that_is_being_answered_is_waited_for() -> None:
    found, seconds = asyncio.run(ask(REQUEST))
    assert found.endswith(b"ok")
    assert seconds >= 4 * SECONDS


def test_a_second_request_that_does_not_come_whole_is_not_waited_for() -> None:
    found, seconds = asyncio.run(ask(REQUEST, REQUEST[:-2]))
    assert found.count(b"HTTP/1.1 200") == 1
    assert seconds < 4 * SECONDS + 10 * SECONDS

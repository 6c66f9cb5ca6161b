"""What the command `study serve` does: one process that asks people, until it is stopped."""

from __future__ import annotations

import contextlib
import errno
import secrets
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from evalkit import text_file
from evalkit.articles import directory
from evalkit.articles.web.settings import ServeSettings
from evalkit.articles.web.store import Store
from evalkit.errors import UsageError

if TYPE_CHECKING:
    import uvicorn

TOKEN_BYTES = 18
SECONDS_TO_END = 5  # for requests that are being answered when the server is stopped
MOST_CONNECTIONS = 900  # processes may usually open 1024 files
OPEN = (
    "answers and tokens are sent as they are, and can be read on their way; on a network that others use, put a proxy "
    "with TLS on this machine in front (--behind-proxy)"
)
WAITING = 2048  # connections that the system holds until they are taken


def serve(settings: ServeSettings, *, say: Callable[[str], None] = lambda _: None) -> None:
    """Serve a study until the process is told to end (SIGINT, SIGTERM); `say` is told the address and the token.

    Raises UsageError for an address that cannot be listened at and where the web packages are missing, StorageError
    for a directory without a study, with answers about another study, or that another server holds.
    """
    try:
        import uvicorn

        from evalkit.articles.web.app import create_app
        from evalkit.articles.web.patience import PatientProtocol
        from evalkit.articles.web.security import LOOPBACK
    except ImportError as error:
        raise UsageError(f"study serve: {error.name} is not installed; pip install 'evalkit[study]'") from error

    study = directory.load(settings.directory)
    consent = "" if settings.consent is None else text_file.read(settings.consent)
    token = settings.admin_token or secrets.token_urlsafe(TOKEN_BYTES)
    with _listen(settings) as listening, Store(settings.directory, study=study) as store:
        app = create_app(study, store, replace(settings, admin_token=token), consent=consent, say=say)
        config = uvicorn.Config(
            app,
            http=PatientProtocol,
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="critical",
            access_log=False,  # it would keep addresses, and personal links
            server_header=False,
            proxy_headers=settings.is_behind_proxy,
            forwarded_allow_ips="127.0.0.1,::1",
            limit_concurrency=MOST_CONNECTIONS,
            timeout_graceful_shutdown=SECONDS_TO_END,
        )
        server = uvicorn.Server(config)
        made = "" if settings.admin_token else f"; its token, told this once: {token}"
        with _ended_by_signals(server):
            say(f"{_address(listening)} asks about {len(study.articles)} articles; stop with Ctrl+C")
            say(f"{_address(listening)}admin shows progress and answers{made}")
            if settings.host not in LOOPBACK and not settings.is_behind_proxy:
                say(OPEN)
            server.run(sockets=[listening])


def _listen(settings: ServeSettings) -> socket.socket:
    """Take the address, so that one that is taken is told before anything else is."""
    where = f"--host {settings.host} --port {settings.port}"
    try:
        found = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        raise UsageError(f"{where}: no such address; give one of this machine, such as 127.0.0.1") from error
    family, _, _, _, address = found[0]
    try:
        return socket.create_server(address, family=family, backlog=WAITING)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise UsageError(
                f"{where}: taken by another program; choose another --port, or 0 for any that is free"
            ) from error
        reason = error.strerror or str(error)
        raise UsageError(f"{where}: cannot listen there ({reason}); choose another") from error


def _address(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # a browser goes to no address that means all of them
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/"


@contextlib.contextmanager
def _ended_by_signals(server: uvicorn.Server) -> Iterator[None]:
    """Let SIGINT and SIGTERM end the server, and what is after it be done."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(*_: object) -> None:
        server.should_exit = True

    # uvicorn has handlers of its own while it runs, and raises the signal again for these; one may come before that.
    before = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

"""The application of one study: participants' pages, the admin's, and what stands before both."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from evalkit.articles.records import Study
from evalkit.articles.web import admin, pages, participants
from evalkit.articles.web.keys import Keys
from evalkit.articles.web.limits import Limit
from evalkit.articles.web.security import Guard
from evalkit.articles.web.settings import ServeSettings
from evalkit.articles.web.store import Store
from evalkit.errors import StorageError


def create_app(
    study: Study,
    store: Store,
    settings: ServeSettings,
    *,
    consent: str = "",
    say: Callable[[str], None] = lambda _: None,
) -> Starlette:
    """Make the application; without `settings.admin_token` nobody is let into the admin's part.

    `consent` is the researcher's own text. `say` is told in one line what failed that is not the client's doing.
    """

    async def refuse(_: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        return _message(error.status_code, error.headers or {})

    def fail(error: Exception) -> Response:
        say(str(error) if isinstance(error, StorageError) else f"a page failed: {type(error).__name__}: {error}")
        return _message(503 if isinstance(error, StorageError) else 500, {})

    keys = Keys(store.secret)
    begins = Limit(a_second=settings.begins_a_minute / 60, at_once=settings.begins_at_once)
    desk = participants.Desk(study, store, keys, consent, begins)
    guard = Middleware(Guard, settings=settings, refuse=_message, fail=fail, style=pages.style_source())
    return Starlette(
        routes=[*participants.routes(desk), *admin.routes(admin.Office(study, store, keys, settings.admin_token))],
        middleware=[guard],
        exception_handlers={HTTPException: refuse},
    )


def _message(status: int, headers: Mapping[str, str]) -> Response:
    return HTMLResponse(pages.error(status), status_code=status, headers=dict(headers))

"""The admin's part: who has the token sees how far participants are, and takes their answers away as CSV."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import anyio.to_thread
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from evalkit.articles import answers
from evalkit.articles.records import QUIZZES, Participant, Study
from evalkit.articles.web import pages
from evalkit.articles.web.keys import HOURS, Keys, is_admin_token
from evalkit.articles.web.limits import Limit
from evalkit.articles.web.security import address, read_form
from evalkit.articles.web.store import Store
from evalkit.report.csv import line

HEADER = ("condition", "quiz", "begun", "finished", "passed the check", "answers", "median s an article")
TRIES_AT_ONCE = 10  # of the token, for each client address
TRIES_A_SECOND = 0.1


@dataclass(frozen=True, slots=True)
class Office:
    """What the admin's pages share."""

    study: Study
    store: Store
    keys: Keys
    token: str | None  # None lets nobody in
    tries: Limit = field(default_factory=lambda: Limit(a_second=TRIES_A_SECOND, at_once=TRIES_AT_ONCE))

    @property
    def cookie(self) -> str:
        """Name the cookie of a visit."""
        return f"admin-{self.keys.cookie}"


def routes(office: Office) -> list[Route]:
    """List the admin's pages."""
    return [
        Route("/admin", partial(_progress, office), methods=["GET"]),
        Route("/admin", partial(_enter, office), methods=["POST"]),
        Route("/admin/answers.csv", partial(_answers, office), methods=["GET"]),
        Route("/admin/codes.csv", partial(_codes, office), methods=["GET"]),
    ]


async def _progress(office: Office, request: Request) -> Response:
    """Show progress by condition and quiz, or ask for the token."""
    if not _is_admin(office, request):
        return HTMLResponse(pages.admin_door(is_wrong=False), status_code=401)
    participants = await _read(office)
    rows = [
        _row(
            (condition.name, quiz),
            [each for each in participants if (each.condition, each.quiz) == (condition.name, quiz)],
        )
        for condition in office.study.conditions
        for quiz in QUIZZES
    ]
    return HTMLResponse(pages.admin(office.study, header=HEADER, rows=rows, total=_row(("all", ""), participants)))


async def _enter(office: Office, request: Request) -> Response:
    """Take the token from the form, and leave a cookie that ends by itself."""
    token = (await read_form(request)).get("token", "")
    _count_try(office, request)
    if office.token is None or not is_admin_token(token, office.token):
        return HTMLResponse(pages.admin_door(is_wrong=True), status_code=401)
    response = RedirectResponse("/admin", status_code=303)
    response.set_cookie(
        office.cookie,
        office.keys.new_visit(office.token),
        max_age=HOURS * 3600,
        path="/admin",
        httponly=True,
        samesite="strict",
        secure=request.url.scheme == "https",
    )
    return response


async def _answers(office: Office, request: Request) -> Response:
    return await _file(office, request, "answers.csv", answers.render_csv)


async def _codes(office: Office, request: Request) -> Response:
    """List completion codes in their own order: beside ids they would tell a crowd platform's worker's answers."""

    def render(participants: Sequence[Participant]) -> str:
        finished = [each for each in participants if each.has_finished]
        rows = sorted((office.keys.code(each.id), "yes" if each.has_attended else "no") for each in finished)
        return "".join(map(line, [("code", "attended"), *rows]))

    return await _file(office, request, "codes.csv", render)


async def _file(
    office: Office, request: Request, name: str, render: Callable[[Sequence[Participant]], str]
) -> Response:
    if not _is_admin(office, request):
        raise HTTPException(401)
    content = await anyio.to_thread.run_sync(render, await _read(office))
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return Response(content.encode("utf-8", "backslashreplace"), media_type="text/csv", headers=headers)


async def _read(office: Office) -> tuple[Participant, ...]:
    # By a connection of its own, so that participants do not wait.
    directory: Path = office.store.path.parent
    return await anyio.to_thread.run_sync(answers.load, directory)


def _is_admin(office: Office, request: Request) -> bool:
    """Tell whether a request has the cookie of a visit, or the token itself in its header."""
    if office.token is None:
        return False
    kind, _, token = request.headers.get("authorization", "").partition(" ")
    if kind.lower() == "bearer":
        if is_admin_token(token.strip(), office.token):
            return True
        _count_try(office, request)
    return office.keys.is_visit(request.cookies.get(office.cookie, ""), office.token)


def _count_try(office: Office, request: Request) -> None:
    if wait := office.tries.wait(address(request.scope)):
        raise HTTPException(429, headers={"Retry-After": str(wait)})


def _row(names: tuple[str, str], participants: Sequence[Participant]) -> tuple[str, ...]:
    seconds = [answer.seconds for each in participants for answer in each.answers]
    counts = (
        len(participants),
        sum(each.has_finished for each in participants),
        sum(each.has_attended is True for each in participants),
        len(seconds),
    )
    return (*names, *map(str, counts), f"{statistics.median(seconds):.1f}" if seconds else "–")

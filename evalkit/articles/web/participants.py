"""A participant's way from consent to the completion code, one page after another."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

import anyio
import anyio.to_thread
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from evalkit.articles import quizzes
from evalkit.articles.records import CHOICES, Study
from evalkit.articles.web import pages
from evalkit.articles.web.keys import Keys
from evalkit.articles.web.limits import Limit
from evalkit.articles.web.security import address, read_form
from evalkit.articles.web.store import Outcome, Store, Taken

DAYS = 30  # that a cookie is kept
SEE_OTHER = 303
PLACE = re.compile("[1-9][0-9]{0,8}")

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Desk:
    """What all pages of one study share."""

    study: Study
    store: Store
    keys: Keys
    consent: str  # the researcher's own text
    begins: Limit
    one_at_a_time: anyio.CapacityLimiter = field(default_factory=lambda: anyio.CapacityLimiter(1))

    async def work(self, job: Callable[[], Result]) -> Result:
        """Run what reads or writes the store in a thread, so that others are served while the disk is waited for."""
        return await anyio.to_thread.run_sync(job, limiter=self.one_at_a_time)

    def page(self, taken: Taken) -> str:
        """Return the path of the page that comes next for a participant."""
        if taken.has_finished:
            return "/thanks"
        if taken.has_attended is None and taken.answered == len(self.study.articles) // 2:
            return "/check"
        return f"/article/{taken.answered + 1}"

    def asked(self, taken: Taken) -> int:
        """Return the choice that the attention check asks of a participant who is at it."""
        return quizzes.asked(self.study, taken.participant, before=taken.latest)

    def name(self, taken: Taken, place: int) -> str:
        """Return the id of the article at a place, from 1, of a participant's order."""
        return quizzes.order(self.study, taken.participant)[place - 1]


def routes(desk: Desk) -> list[Route]:
    """List the pages that participants see."""
    return [
        Route("/", partial(_start, desk), methods=["GET"]),
        Route("/begin", partial(_begin, desk), methods=["POST"]),
        Route("/resume/{ticket}", partial(_resume, desk), methods=["GET"]),
        Route("/instructions", partial(_instructions, desk), methods=["GET"]),
        Route("/article/{place}", partial(_article, desk), methods=["GET"]),
        Route("/article/{place}", partial(_answer, desk), methods=["POST"]),
        Route("/check", partial(_check, desk), methods=["GET"]),
        Route("/check", partial(_attend, desk), methods=["POST"]),
        Route("/thanks", partial(_thanks, desk), methods=["GET"]),
    ]


async def _start(desk: Desk, request: Request) -> Response:
    """Ask for consent, or show who has begun where they are."""
    ticket, participant = _ticket(desk, request), _participant(desk, request)
    if participant is None:
        ticket = desk.keys.new_ticket()
        participant = desk.keys.participant(ticket)
        assert participant is not None
    elif (taken := await _taken(desk, participant)) is not None:
        has_begun = taken.answered or taken.has_attended is not None
        return _to(desk.page(taken) if has_begun else "/instructions")
    token = desk.keys.form_token(participant, "/begin")
    return _keep(desk, request, ticket, HTMLResponse(pages.start(desk.study, token=token, consent=desk.consent)))


async def _begin(desk: Desk, request: Request) -> Response:
    """Draw condition and quiz; a form that is sent twice draws once."""
    participant = _participant(desk, request)
    form = await read_form(request)
    if participant is None or not desk.keys.is_form_token(form.get("token", ""), participant, "/begin"):
        raise HTTPException(403)
    if await _taken(desk, participant) is None:
        if wait := desk.begins.wait(address(request.scope)):
            raise HTTPException(429, headers={"Retry-After": str(wait)})
        await desk.work(partial(desk.store.begin, participant))
    return _to("/instructions")


async def _resume(desk: Desk, request: Request) -> Response:
    """Take a personal link in the cookie's place."""
    ticket = request.path_params["ticket"]
    participant = desk.keys.participant(ticket)
    if participant is None or await _taken(desk, participant) is None:
        raise HTTPException(404)
    return _keep(desk, request, ticket, _to("/"))


async def _instructions(desk: Desk, request: Request) -> Response:
    taken = await _here(desk, request)
    if taken is None:
        return _to("/")
    return HTMLResponse(pages.instructions(desk.study, link=_link(desk, request), onward=desk.page(taken)))


async def _article(desk: Desk, request: Request) -> Response:
    """Show the article that comes next, and note when; another place leads to the page that comes next."""
    participant, place = _participant(desk, request), _place(desk, request)
    # Browsers that fetch pages before they are wanted say so.
    is_seen = request.method == "GET" and "prefetch" not in request.headers.get("sec-purpose", "")

    def show() -> Taken | None:
        taken = desk.store.find(participant) if participant else None
        if taken is not None and is_seen and desk.page(taken) == request.url.path:
            desk.store.show(taken.participant, desk.name(taken, place))
        return taken

    taken = await desk.work(show)
    if taken is None:
        return _to("/")
    if desk.page(taken) != request.url.path:
        return _to(desk.page(taken))
    return _shown(desk, request, taken, place)


async def _answer(desk: Desk, request: Request) -> Response:
    """Keep an answer and lead on; one that is sent again leads on as well, a different one changes nothing."""
    participant, place = _participant(desk, request), _place(desk, request)
    choice = await _choice(desk, request, participant)

    def keep() -> tuple[Taken | None, Outcome]:
        taken = desk.store.find(participant) if participant else None
        if taken is None or choice is None:
            return taken, "not shown"
        name = desk.name(taken, place)
        writer = desk.study.writer(name, taken.quiz)
        outcome = desk.store.answer(taken.participant, name, position=place - 1, writer=writer, choice=choice)
        return desk.store.find(taken.participant), outcome

    taken, outcome = await desk.work(keep)
    if taken is not None and choice is None and desk.page(taken) == request.url.path:
        return _shown(desk, request, taken, place, is_incomplete=True)
    return _after(desk, taken, outcome)


async def _check(desk: Desk, request: Request) -> Response:
    taken = await _here(desk, request)
    if taken is None or desk.page(taken) != request.url.path:
        return _to("/")
    return _checking(desk, request, taken)


async def _attend(desk: Desk, request: Request) -> Response:
    """Keep the answer to the attention check, as `_answer` does for an article."""
    participant = _participant(desk, request)
    choice = await _choice(desk, request, participant)

    def keep() -> tuple[Taken | None, Outcome]:
        taken = desk.store.find(participant) if participant else None
        if taken is None or choice is None:
            return taken, "not shown"
        outcome = desk.store.attend(taken.participant, choice, asked=desk.asked(taken))
        return desk.store.find(taken.participant), outcome

    taken, outcome = await desk.work(keep)
    if taken is not None and choice is None and desk.page(taken) == request.url.path:
        return _checking(desk, request, taken, is_incomplete=True)
    return _after(desk, taken, outcome)


async def _thanks(desk: Desk, request: Request) -> Response:
    taken = await _here(desk, request)
    if taken is None or not taken.has_finished:
        return _to("/")
    return HTMLResponse(pages.thanks(desk.keys.code(taken.participant)))


def _after(desk: Desk, taken: Taken | None, outcome: Outcome) -> Response:
    if taken is None:
        return _to("/")
    return HTMLResponse(pages.kept_before(), status_code=409) if outcome == "different" else _to(desk.page(taken))


def _shown(desk: Desk, request: Request, taken: Taken, place: int, *, is_incomplete: bool = False) -> Response:
    name = desk.name(taken, place)
    article = next(each for each in desk.study.articles if each.id == name)
    text = quizzes.shown(desk.study, taken.condition, quiz=taken.quiz, article=name)
    shown = pages.Shown(article.title, article.subtitle, text)
    form = _form(desk, request, taken, is_incomplete=is_incomplete)
    page = pages.article(shown, place=place, of=len(desk.study.articles), form=form)
    return HTMLResponse(page, status_code=422 if is_incomplete else 200)


def _checking(desk: Desk, request: Request, taken: Taken, *, is_incomplete: bool = False) -> Response:
    form = _form(desk, request, taken, is_incomplete=is_incomplete)
    page = pages.check(answered=taken.answered, of=len(desk.study.articles), form=form, asked=desk.asked(taken))
    return HTMLResponse(page, status_code=422 if is_incomplete else 200)


def _form(desk: Desk, request: Request, taken: Taken, *, is_incomplete: bool) -> pages.Form:
    path = request.url.path
    token = desk.keys.form_token(taken.participant, path)
    return pages.Form(path, token, _link(desk, request), is_incomplete=is_incomplete)


async def _choice(desk: Desk, request: Request, participant: str | None) -> int | None:
    """Read the choice of a form of the page that is asked for, or None; HTTPException for a stranger's form."""
    form = await read_form(request)
    if participant is None or not desk.keys.is_form_token(form.get("token", ""), participant, request.url.path):
        raise HTTPException(403)
    choices = {str(number): number for number in range(1, len(CHOICES) + 1)}
    return choices.get(form.get("choice", ""))


def _place(desk: Desk, request: Request) -> int:
    found: str = request.path_params["place"]
    # More digits than that are no place, and Python refuses thousands of them.
    if not PLACE.fullmatch(found) or int(found) > len(desk.study.articles):
        raise HTTPException(404)
    return int(found)


async def _here(desk: Desk, request: Request) -> Taken | None:
    participant = _participant(desk, request)
    return await _taken(desk, participant) if participant else None


async def _taken(desk: Desk, participant: str) -> Taken | None:
    return await desk.work(partial(desk.store.find, participant))


def _participant(desk: Desk, request: Request) -> str | None:
    return desk.keys.participant(_ticket(desk, request))


def _ticket(desk: Desk, request: Request) -> str:
    return request.cookies.get(desk.keys.cookie, "")


def _keep(desk: Desk, request: Request, ticket: str, response: Response) -> Response:
    """Set the cookie that holds a participant's place."""
    is_secure = request.url.scheme == "https"
    age = DAYS * 24 * 3600
    response.set_cookie(desk.keys.cookie, ticket, max_age=age, httponly=True, samesite="lax", secure=is_secure)
    return response


def _link(desk: Desk, request: Request) -> str:
    """Return the personal link of whoever asks, whose cookie was looked at before."""
    return str(request.url.replace(path=f"/resume/{_ticket(desk, request)}", query=""))


def _to(path: str) -> Response:
    return RedirectResponse(path, status_code=SEE_OTHER)

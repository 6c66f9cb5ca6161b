"""Equal requests are computed once, and answered at every place where they were asked."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from evalkit.interfaces import OnResponse
from evalkit.records import Request, Response

Compute = Callable[[Sequence[Request], OnResponse], None]
"""Gives each request's response, with the request's place, to what it is handed; once each, in any order."""


def answer(requests: Sequence[Request], compute: Compute, *, on_response: OnResponse) -> list[Response]:
    """Let `compute` answer the requests without their repeats; give all answers in the order of the requests.

    `on_response` is told of every place of a request as soon as its response is there.
    """
    places: dict[Request, list[int]] = {}
    for place, request in enumerate(requests):
        places.setdefault(request, []).append(place)
    distinct = list(places)
    answers: dict[Request, Response] = {}

    def keep(owner: int, response: Response) -> None:
        request = distinct[owner]
        answers[request] = response
        for place in places[request]:
            on_response(place, response)

    compute(distinct, keep)
    return [answers[request] for request in requests]

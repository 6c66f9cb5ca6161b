"""A model that works arithmetic out, wrong one time in seven; as a program, the command line on that model.

`python -m tests.scripted SECONDS run --task …` writes a line to stdout after every batch, so that a test can stop it.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Sequence
from functools import partial
from hashlib import sha256

from evalkit.cli import main
from evalkit.interfaces import OnResponse, ignore_response
from evalkit.models.scripted import ScriptedModel
from evalkit.records import Request, Response

TOGETHER = 3  # requests in a batch

OPERATIONS = {"plus": lambda a, b: a + b, "minus": lambda a, b: a - b, "times": lambda a, b: a * b}


def calculate(request: Request) -> str:
    """Answer the last question of a context, and go on with another as a decoder would."""
    asked = request.context.rsplit("Q: What is ", 1)[1].removesuffix("?\n\nA:")
    match = re.fullmatch(r"(\d+) (plus|minus|times) (\d+)", asked)
    if match is None:
        return " unknown\n\nQ:"
    value = OPERATIONS[match[2]](int(match[1]), int(match[3]))
    is_wrong = sha256(request.context.encode()).digest()[0] % 7 == 0
    return f" {value + is_wrong}\n\nQ:"


class Dying(ScriptedModel):
    """Raises after some batches, as a process that is killed between two of them."""

    def __init__(self, answer: Callable[[Request], str | Response], batches: int) -> None:
        super().__init__(answer)
        self.left = batches

    def answer(self, requests: Sequence[Request], *, on_response: OnResponse = ignore_response) -> list[Response]:
        if self.left == 0:
            raise KeyboardInterrupt
        self.left -= 1
        return super().answer(requests, on_response=on_response)


class Announcing(ScriptedModel):
    """Says when a batch is answered."""

    def answer(self, requests: Sequence[Request], *, on_response: OnResponse = ignore_response) -> list[Response]:
        responses: list[Response] = []
        for begin in range(0, len(requests), TOGETHER):
            tell = partial(self._tell, on_response, begin)
            responses += super().answer(requests[begin : begin + TOGETHER], on_response=tell)
            sys.stdout.write("batch\n")
            sys.stdout.flush()
        return responses

    @staticmethod
    def _tell(on_response: OnResponse, begin: int, place: int, response: Response) -> None:
        on_response(begin + place, response)


if __name__ == "__main__":
    seconds = float(sys.argv[1])
    sys.exit(main(sys.argv[2:], load=lambda *_, **__: Announcing(calculate, seconds=seconds)))

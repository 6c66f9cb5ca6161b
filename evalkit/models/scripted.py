"""A language model that answers from a script: for tests, dry runs and examples, at no cost."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from typing import Literal, TypeAlias

from evalkit.errors import ModelMemoryError, WindowError
from evalkit.interfaces import OnResponse, ignore_response
from evalkit.records import Completion, Generate, LogProb, PerToken, Request, Response, TokenScores, Windowed

Script: TypeAlias = Callable[[Request], "str | Response"]

# A word carries the white space before it, and trailing white space is a word: joined, words give the text again.
WORD = re.compile(r"\s*\S+|\s+$")
LIKELY, UNLIKELY = -0.1, -10.0  # nats a token of the scripted answer, and of any other
FIRST, SECOND = 1, 2  # their ranks
ENTROPY, VARIANCE = 0.5, 0.25  # nats and nats squared, before every token


class ScriptedModel:
    """Answers each request with what `script` says: a whole response, or the text it would write.

    A text is cut as a real model's would be: at a stop string, at max_tokens, at the end of the window. Asked for the
    likelihood of a continuation, or of a whole text, the model finds it likely where what it would write begins so.
    """

    def __init__(
        self,
        script: Script,
        *,
        name: str = "scripted",  # stands for the script in the fingerprint: a function has no digest
        window: int = 2048,
        tokens: Literal["words", "bytes"] = "words",
        most_requests: int | None = None,  # a larger batch raises ModelMemoryError
        seconds: float = 0.0,  # slept per batch
    ) -> None:
        self.script = script
        self.name = name
        self.window = window
        self.tokens = tokens
        self.most_requests = most_requests
        self.seconds = seconds
        self.batches: list[tuple[Request, ...]] = []  # every batch answered, for those who want to look

    @property
    def fingerprint(self) -> str:
        """Digest of name, window and kind of token."""
        return sha256(f"scripted|{self.name}|{self.window}|{self.tokens}".encode()).hexdigest()

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Count words or bytes; there is no start token."""
        return [self._count(text) for text in texts]

    def answer(self, requests: Sequence[Request], *, on_response: OnResponse = ignore_response) -> list[Response]:
        """Answer all requests in their order."""
        if self.most_requests is not None and len(requests) > self.most_requests:
            raise ModelMemoryError(f"{self.name}: {len(requests)} requests in a batch, {self.most_requests} fit")
        time.sleep(self.seconds)
        responses = [self._respond(request) for request in requests]
        self.batches.append(tuple(requests))
        for place, response in enumerate(responses):
            on_response(place, response)
        return responses

    def _respond(self, request: Request) -> Response:
        room = self._room(request)
        said = self.script(request)
        if not isinstance(said, str):
            return said
        if isinstance(request, Generate):
            return self._write(request, said, room=room)
        if isinstance(request, PerToken):
            return self._describe(request.text, said)
        return self._judge(request.text if isinstance(request, Windowed) else request.continuation, said)

    def _room(self, request: Request) -> int:
        """Count the tokens that the window has left for an answer; WindowError where they are too few."""
        if isinstance(request, Windowed):
            room, needed = self.window, request.window
        else:
            room = self.window - self._count(request.context)
            needed = 1 if isinstance(request, Generate) else self._count(request.continuation)
        if room < needed:
            raise WindowError(f"{self.name}: the request needs {needed - room} tokens more than the window holds")
        return room

    def _judge(self, continuation: str, said: str) -> LogProb:
        tokens = self._count(continuation)
        is_greedy = said.startswith(continuation)
        return LogProb(
            total=tokens * (LIKELY if is_greedy else UNLIKELY),
            tokens=tokens,
            bytes=len(continuation.encode()),
            is_greedy=is_greedy,
            boundary_merged=False,
        )

    def _describe(self, text: str, said: str) -> TokenScores:
        texts = self._tokens(text)
        is_greedy = said.startswith(text)
        return TokenScores(
            texts=tuple(texts),
            logprobs=(LIKELY if is_greedy else UNLIKELY,) * len(texts),
            ranks=(FIRST if is_greedy else SECOND,) * len(texts),
            entropies=(ENTROPY,) * len(texts),
            variances=(VARIANCE,) * len(texts),
        )

    def _write(self, request: Generate, said: str, *, room: int) -> Completion:
        longest = min(request.max_tokens, room)
        text = self._first(longest, said)
        tokens = min(self._count(said), longest)
        ends = [at for stop in request.stop if stop and (at := text.find(stop)) >= 0]
        if ends:
            return Completion(text=text[: min(ends)], tokens=tokens, finish="stop")
        if text == said:
            return Completion(text=text, tokens=tokens, finish="end-of-text")
        return Completion(text=text, tokens=tokens, finish="max-tokens" if longest == request.max_tokens else "window")

    def _count(self, text: str) -> int:
        return len(WORD.findall(text)) if self.tokens == "words" else len(text.encode())

    def _tokens(self, text: str) -> list[str]:
        if self.tokens == "words":
            return WORD.findall(text)
        return [piece for each in text for piece in ("",) * (len(each.encode()) - 1) + (each,)]

    def _first(self, tokens: int, text: str) -> str:
        if self.tokens == "words":
            return "".join(WORD.findall(text)[:tokens])
        return text.encode()[:tokens].decode(errors="ignore")


def from_table(answers: Mapping[str, str]) -> Script:
    """Make a script that looks up the whole context, or rolling text; an unknown one is answered with nothing."""

    def script(request: Request) -> str:
        return answers.get(request.text if isinstance(request, Windowed) else request.context, "")

    return script

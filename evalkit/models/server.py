"""`server:URL` and `server:URL#MODEL`: a model behind the completions API of OpenAI, as vLLM and SGLang serve it.

A log-likelihood is read off a prompt that the server echoes with log-probabilities. llama.cpp echoes none: it is asked
for each token of a continuation in turn (evalkit.models.server_llama).
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from hashlib import sha256
from typing import Any, ClassVar, TypeAlias

from evalkit.decoder import distinct, rolling
from evalkit.decoder.generation import first_stop
from evalkit.decoder.sampling import is_greedy
from evalkit.decoder.spans import Span
from evalkit.errors import ServerError, StatusError, UsageError, WindowError
from evalkit.interfaces import OnResponse, ignore_response
from evalkit.models import server_echo, server_llama, server_tokens
from evalkit.models.server_http import Server, address
from evalkit.records import (
    Completion,
    FinishReason,
    Generate,
    LogLikelihood,
    LogProb,
    PerToken,
    Request,
    Response,
    Rolling,
)

THREADS = 16  # requests under way at once
LARGEST_ID = 2**31 - 1  # of a token
WINDOW = 2048  # where neither --window nor the server says
SPARE = 2  # of the server's window: a rolling window's last token, which is not read, and one that is generated
ENDS = ("<|endoftext|>", "</s>", "<|end_of_text|>", "<eos>", "<|im_end|>", "<\uff5cend\u2581of\u2581sentence\uff5c>")
TOLD = ("id", "root", "owned_by", "meta")  # what a server says of its model, but for what changes with every start
MISSING = frozenset({404, 405, 501})  # statuses of a path that a server does not know
UNFIT = frozenset({400, 413, 422})  # of a prompt that it does not take: empty, or beyond its window

Servable: TypeAlias = LogLikelihood | Generate | Rolling


class ServerModel:
    """A LanguageModel that another process serves.

    Its window is two tokens less than the server's, 2,048 where the server tells none. Its fingerprint is weak: a
    digest of the server's URL, the model's name and what the server tells of it, so other weights under the same name
    go unnoticed.
    """

    unanswered: ClassVar[tuple[type[Request], ...]] = (PerToken,)

    def __init__(self, server: Server, model: dict[str, Any], *, window: int | None = None) -> None:  # Any: JSON
        """Take the server and its own description of the model; UsageError where it cannot have the window.

        Raises ServerError where the server tells a window that is none.
        """
        self.name = str(model["id"])
        room = _room(model.get("max_model_len"), name=self.name)
        if window is not None and not 1 < window <= (room or window):
            limit = "2 or more" if room is None else f"2 to {room}"
            raise UsageError(f"--window: found {window}, expected {limit}, which is what {self.name} is served with")
        self.window = window or room or WINDOW
        facts = json.dumps({key: model.get(key) for key in TOLD}, sort_keys=True)
        self.fingerprint = sha256(f"server\n{server.root}\n{facts}".encode()).hexdigest()
        self._server = server
        self._is_llama = model.get("owned_by") == "llamacpp"
        self._has_tokenize = True  # until the server says otherwise
        self._counts: dict[str, int] = {}
        self._end_of_text: str | None = None

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Count the tokens of whole contexts, the start token included, by the server's /tokenize.

        A server without one is asked for a token of an answer, whose `usage` counts the prompt. Where it refuses that,
        as it does for a prompt beyond its window, the bytes are counted, of which a text has at least as many.
        """
        waiting = [text for text in dict.fromkeys(texts) if text not in self._counts]
        with ThreadPoolExecutor(THREADS) as pool:
            self._counts.update(zip(waiting, pool.map(self._count, waiting), strict=True))
        return [max(1, self._counts[text]) for text in texts]

    def answer(self, requests: Sequence[Request], *, on_response: OnResponse = ignore_response) -> list[Response]:
        """Answer all requests, in their order; equal requests are asked once.

        Raises WindowError where a request exceeds the window, UsageError for beam search and for scores of each token,
        ServerError where the server fails; what was answered before that, or was under way, was given to `on_response`.
        """
        return distinct.answer(requests, self._answer, on_response=on_response)

    def _answer(self, requests: Sequence[Request], keep: OnResponse) -> None:
        checked = [self._checked(request) for request in requests]
        failed: BaseException | None = None
        with ThreadPoolExecutor(THREADS) as pool:
            owners = {pool.submit(self._respond, request): owner for owner, request in enumerate(checked)}
            try:
                for future in as_completed(owners):
                    if future.cancelled():
                        continue
                    error = future.exception()
                    if error is None:
                        keep(owners[future], future.result())
                    elif failed is None:
                        failed = error
                        for other in owners:  # those under way go on, and what they bring is kept
                            other.cancel()
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
        if failed is not None:
            raise failed

    def _checked(self, request: Request) -> Servable:
        """Give a request back; UsageError where no server can be asked it, WindowError where its window is too long."""
        if isinstance(request, PerToken):
            raise UsageError(
                f"{self.name}: found a request for ranks, entropies and variances of tokens, which a server does not "
                "tell; load the model from its folder"
            )
        if isinstance(request, Rolling):
            rolling.check(request, name=self.name, window=self.window)
        elif isinstance(request, Generate) and request.decoding.beams > 1:
            raise UsageError(
                f"{self.name}: found a request for {request.decoding.beams} beams, but beam search cannot be done by a "
                "server; load the model from its folder"
            )
        elif isinstance(request, LogLikelihood) and not request.continuation:
            raise UsageError(f"the continuation of {request.context[-40:]!r} has no tokens; expected some text")
        return request

    def _respond(self, request: Servable) -> Response:
        if isinstance(request, Rolling):
            return self._roll(request)
        if isinstance(request, Generate):
            return self._generate(request)
        self._check_fits(request.context + request.continuation, request, extra=0)
        if self._is_llama:
            text, edge = request.context + request.continuation, len(request.context)
            return server_llama.score(self._server, text, edge, end_of_text=self._find_end_of_text)
        return self._score(request.context, request.continuation)

    def _check_fits(self, text: str, request: LogLikelihood | Generate, *, extra: int) -> int | None:
        """Count tokens where a text may be too long: it has no more of them than bytes; WindowError where it is."""
        if len(text.encode()) + 2 + (request.max_tokens if isinstance(request, Generate) else 0) <= self.window:
            return None
        needed = max(1, self._count(text))
        if needed + extra > self.window:
            raise WindowError(
                f"the request that begins {request.context[:40]!r} needs {needed + extra} tokens, the window of "
                f"{self.name} holds {self.window}; shorten it or drop demonstrations"
            )
        return needed

    def _score(self, context: str, continuation: str, *, prefix: str = "") -> LogProb:
        """Score a continuation; `prefix` is the end-of-text token, where a server puts nothing before a text."""
        text, edge = prefix + context + continuation, len(prefix + context)
        echo = self._echo(text)
        layout = server_tokens.lay(echo.tokens, text)
        if layout is None:
            raise ServerError(f"{self.name}: the tokens it echoes do not spell the text that begins {text[:40]!r}")
        found = server_tokens.split(layout, edge)
        if found is None:
            found = server_tokens.common(echo.tokens, self._echo(text[:edge]).tokens)
        if found.before == 0 and not prefix:
            return self._score(context, continuation, prefix=self._find_end_of_text())
        total, greedy = server_echo.total(echo, found.before, name=self.name)
        tokens = len(echo.tokens) - found.before
        return LogProb(total, tokens, len(continuation.encode()), greedy, found.boundary_merged)

    def _echo(self, prompt: str | list[int]) -> server_echo.Echo:
        """Ask for the log-probabilities of a prompt's own tokens."""
        body = {"prompt": prompt, "max_tokens": 1, "temperature": 0, "echo": True, "logprobs": 1}
        answer, choice = self._complete(body)
        return server_echo.read(answer, choice, name=self.name)

    def _generate(self, request: Generate) -> Completion:
        """Ask for text; tokens are the server's own count, the stop string's included."""
        counted = self._check_fits(request.context, request, extra=1)
        room = request.max_tokens if counted is None else self.window - counted
        limit = min(request.max_tokens, room)
        full: FinishReason = "max-tokens" if request.max_tokens <= room else "window"
        if limit <= 0:
            return Completion("", 0, full)
        rule = request.decoding
        stop = [string for string in request.stop if string]  # servers refuse an empty one, which never comes
        prompt = request.context or ("" if self._count("") else self._find_end_of_text())
        body = {
            "prompt": prompt,
            "max_tokens": limit,
            "stop": stop,
            "seed": request.seed % 2**31,  # llama.cpp has 32 bits for it
            # All is said, because servers take what is not from the checkpoint's generation_config.json.
            "temperature": 0.0 if is_greedy(rule) else rule.temperature,
            "top_p": rule.top_p or 1.0,
            "top_k": rule.top_k or -1,
            "min_p": 0.0,
            "repetition_penalty": 1.0,
        }
        answer, choice = self._complete(body)
        text, reason = choice.get("text"), choice.get("finish_reason")
        if not isinstance(text, str) or reason not in {"stop", "length"}:
            raise ServerError(
                f"{self.name}: found finish_reason {reason!r:.40} and text {text!r:.40}, expected an answer"
            )
        cut = first_stop(text, stop)
        tokens = server_echo.count_of(answer, "completion_tokens")
        tokens = self._count(text) if tokens is None else tokens
        if cut is not None:
            return Completion(text[:cut], tokens, "stop")
        if reason == "length":
            return Completion(text, tokens, full)
        # vLLM and SGLang name the stop string, or nothing; of a server that tells neither, stop strings are believed.
        named = [choice[key] for key in ("stop_reason", "matched_stop") if key in choice]
        is_stop = any(isinstance(each, str) for each in named) if named else bool(stop)
        return Completion(text, tokens, "stop" if is_stop else "end-of-text")

    def _roll(self, request: Rolling) -> LogProb:
        """Answer a request whose text is computed in windows of token ids."""
        ids = self._tokenize(request.text)
        if ids is None:
            raise ServerError(f"{self.name}: the server has no /tokenize, which rolling log-likelihoods need")
        if not self._count(""):
            ids = [*self._end_of_text_ids(), *ids]
        text = rolling.Text(request, array("i", ids))
        return rolling.total(request, [self._score_ids(span) for span in rolling.spans(text)])

    def _end_of_text_ids(self) -> list[int]:
        """Give the end-of-text token as ids, of which there is one."""
        name = self._find_end_of_text()
        ids = self._tokenize(name)
        if ids is None or len(ids) != 1:
            raise ServerError(f"{self.name}: /tokenize gives {ids!r:.60} for {name}, expected one token")
        return ids

    def _score_ids(self, span: Span) -> LogProb:
        if self._is_llama:
            total, greedy = server_llama.score_ids(self._server, span.ids, span.start)
        else:
            echo = self._echo(span.ids)
            if len(echo.tokens) != len(span.ids):
                raise ServerError(f"{self.name}: sent {len(span.ids)} token ids, the server echoes {len(echo.tokens)}")
            total, greedy = server_echo.total(echo, span.start, name=self.name)
        return LogProb(total, len(span.ids) - span.start, span.bytes, greedy, span.boundary_merged)

    def _complete(self, body: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:  # Any: JSON
        """Post to /v1/completions; give the answer and its only choice."""
        answer = self._server.post("/v1/completions", {"model": self.name, **body})
        named = answer.get("model")
        if named is not None and named != self.name:
            raise ServerError(f"{self.name}: found an answer of model {named!r:.60}, expected one of {self.name!r:.60}")
        choices = answer.get("choices")
        if not isinstance(choices, list) or len(choices) != 1 or not isinstance(choices[0], dict):
            raise ServerError(f"{self.name}: found {choices!r:.60} as choices of a completion, expected one")
        return answer, choices[0]

    def _tokenize(self, text: str) -> list[int] | None:
        """Give a text's ids with the start token; None where the server has no /tokenize."""
        if not self._has_tokenize:
            return None
        # vLLM and SGLang read the first names, llama.cpp the others.
        body = {"model": self.name, "prompt": text, "add_special_tokens": True, "content": text, "add_special": True}
        try:
            ids = self._server.post("/tokenize", body).get("tokens")
        except StatusError as error:
            if error.status not in MISSING:
                raise
            self._has_tokenize = False
            return None
        if not isinstance(ids, list) or not all(type(each) is int and 0 <= each <= LARGEST_ID for each in ids):
            raise ServerError(f"{self.name}: found {ids!r:.60} as tokens of /tokenize, expected their numbers")
        if text and not ids:
            raise ServerError(f"{self.name}: /tokenize gives no tokens for {text[:40]!r}, expected one at least")
        return ids

    def _count(self, text: str) -> int:
        """Count the tokens of a text, the start token included; 0 for none."""
        if text in self._counts:
            return self._counts[text]
        ids = self._tokenize(text)
        self._counts[text] = self._count_by_usage(text) if ids is None else len(ids)
        return self._counts[text]

    def _count_by_usage(self, text: str) -> int:
        """Count by the `usage` of an answer of one token, or by bytes where the server refuses the text as a prompt."""
        try:
            count = server_echo.count_of(
                self._complete({"prompt": text, "max_tokens": 1, "temperature": 0})[0], "prompt_tokens"
            )
        except StatusError as error:
            if error.status not in UNFIT:
                raise
            count = None
        return len(text.encode()) + bool(text) if count is None else count

    def _find_end_of_text(self) -> str:
        """Find the text that this server reads as its end-of-text token: the first of ENDS that is one token."""
        if self._end_of_text is None:
            self._end_of_text = next((name for name in ENDS if self._count(name) == 1), None)
        if self._end_of_text is None:
            raise ServerError(
                f"{self.name}: the server puts no token before a text, and none of {', '.join(ENDS[:3])} is one; "
                "nothing predicts the first token of an empty context"
            )
        return self._end_of_text


def load(
    name: str,
    *,
    device: str | None = None,
    dtype: str | None = None,
    window: int | None = None,
    token_budget: int | None = None,
) -> ServerModel:
    """Find a served model by `URL` or `URL#MODEL`; without a name the only one the server has.

    The key is read from OPENAI_API_KEY. Raises UsageError for a wrong URL or flag, ServerError for a server that fails.
    """
    for flag, given in (("device", device), ("dtype", dtype), ("token-budget", token_budget)):
        if given is not None:
            raise UsageError(f"--{flag}: the server of --model server: decides on it; leave it out")
    url, _, wanted = name.partition("#")
    return connect(Server(address(url)), wanted=wanted or None, window=window)


def connect(server: Server, *, wanted: str | None = None, window: int | None = None) -> ServerModel:
    """Ask a server for its models and take one; UsageError where it is not there or there are several."""
    listed = server.get("/v1/models").get("data")
    if not isinstance(listed, list) or not all(isinstance(each, dict) and "id" in each for each in listed):
        raise ServerError(f"{server.root}/v1/models: found {listed!r:.60}, expected a list of models")
    models = {str(each["id"]): each for each in listed}
    if wanted is None and len(models) == 1:
        return ServerModel(server, *models.values(), window=window)
    if wanted not in models:
        asked = "none is named" if wanted is None else f"{wanted!r} is asked for"
        known = ", ".join(list(models)[:5]) or "no models"
        raise UsageError(f"--model server: {asked}, {server.root} serves {known}; expected server:URL#MODEL")
    return ServerModel(server, models[wanted], window=window)


def _room(told: object, *, name: str) -> int | None:
    """Give the window that a server's `max_model_len` leaves; None where it tells none, ServerError for nonsense."""
    if told is None:
        return None
    if isinstance(told, bool) or not isinstance(told, int) or told <= SPARE + 1:
        raise ServerError(
            f"{name}: the server tells max_model_len {told!r:.40}, expected a whole number above {SPARE + 1}"
        )
    return told - SPARE

"""Log-likelihoods from llama.cpp's server, which echoes no prompt: one request for each token of a continuation.

The token is forced by a bias on its logit, and its log-probability, which the server computes from the logits as they
were, comes back with that of the likeliest. The prompt stays in the server's cache, so a request computes one token.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from evalkit.errors import ServerError
from evalkit.models.server_http import Server
from evalkit.records import LogProb

FORCED = 10_000.0  # added to a logit
ROUNDING = 1e-3  # nats by which arithmetic alone may lift a log-probability above 0


def score(server: Server, text: str, edge: int, *, end_of_text: Callable[[], str]) -> LogProb:
    """Score the continuation that begins `edge` characters into a text."""
    ids, pieces = _tokenize(server, text, add_special=True)
    bare, _ = _tokenize(server, text, add_special=False)
    start = len(ids) - len(bare)
    if start not in {0, 1} or ids[start:] != bare:
        raise ServerError(f"{server.root}: /tokenize adds {start} tokens before a text, expected one at most")
    spelled = b"".join(pieces[start:])
    padding = len(spelled) - len(text.encode())  # SentencePiece puts a space before a text
    if padding not in {0, 1} or spelled[padding:] != text.encode():
        raise ServerError(f"{server.root}: the tokens of /tokenize do not spell the text that begins {text[:40]!r}")
    limit, end, before = len(text[:edge].encode()) + padding, 0, 0
    merged = False
    for piece in pieces[start:]:
        merged = end < limit < end + len(piece)
        end += len(piece)
        if end > limit:
            break
        before += 1
    first = start + before
    if first == 0:
        prefix, _ = _tokenize(server, end_of_text(), add_special=False)
        ids, first = [*prefix, *ids], len(prefix)
    total, is_greedy = score_ids(server, ids, first)
    return LogProb(total, len(ids) - first, len(text[edge:].encode()), is_greedy, merged)


def score_ids(server: Server, ids: list[int], start: int) -> tuple[float, bool]:
    """Add up the log-probabilities of the ids from `start` on; say whether each is the likeliest."""
    found = [_next(server, ids[:place], ids[place]) for place in range(start, len(ids))]
    return math.fsum(logprob for logprob, _ in found), all(is_greedy for _, is_greedy in found)


def _next(server: Server, before: list[int], token: int) -> tuple[float, bool]:
    """Give the log-probability of a token after others, and whether it is the likeliest."""
    body = {
        "prompt": before,
        "n_predict": 1,
        "n_probs": 1,
        "temperature": 0.0,
        "logit_bias": [[token, FORCED]],
        "post_sampling_probs": False,
        "cache_prompt": True,
    }
    answer = server.post("/completion", body)
    try:
        [told] = answer["completion_probabilities"]
        logprob, is_forced, best = float(told["logprob"]), told["id"] == token, told["top_logprobs"][0]["id"]
    except (KeyError, ValueError, TypeError, IndexError) as error:
        raise ServerError(f"{server.root}/completion: the server returns no logprobs of its answer") from error
    if not is_forced or not math.isfinite(logprob):
        raise ServerError(f"{server.root}/completion: found token {told['id']} with {logprob}, expected {token}")
    check(logprob, name=server.root)
    return logprob, best == token


def check(logprob: float, *, name: str) -> None:
    """Raise ServerError for a log-probability above 0."""
    if logprob > ROUNDING:
        raise ServerError(
            f"{name}: found a log-probability of {logprob:.6g}, expected 0 or less; is this a completions API?"
        )


def _tokenize(server: Server, text: str, *, add_special: bool) -> tuple[list[int], list[bytes]]:
    """Give the ids of a text and the bytes of each."""
    body = {"content": text, "add_special": add_special, "with_pieces": True}
    listed: Any = server.post("/tokenize", body).get("tokens")  # Any: JSON
    try:
        ids = [each["id"] for each in listed]
        # Bytes that are no character come as a list of numbers.
        pieces = [
            each["piece"].encode() if isinstance(each["piece"], str) else bytes([*each["piece"]]) for each in listed
        ]
    except (TypeError, KeyError, ValueError) as error:
        raise ServerError(f"{server.root}/tokenize: found {listed!r:.60}, expected tokens with pieces") from error
    return ids, pieces

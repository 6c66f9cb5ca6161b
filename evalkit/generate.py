"""Continue one text, shown while it grows where the model can."""

from __future__ import annotations

from collections.abc import Iterator

from evalkit.errors import UsageError
from evalkit.interfaces import LanguageModel, StreamingModel
from evalkit.records import Completion, Generate


def stream(model: LanguageModel, request: Generate) -> Iterator[str]:
    """Yield the answer piece by piece; beam search knows it only at the end and yields it whole."""
    if isinstance(model, StreamingModel) and request.decoding.beams == 1:
        yield from model.stream(request)
        return
    [answer] = model.answer([request])
    if isinstance(answer, Completion):
        yield answer.text


def checked(request: Generate) -> Generate:
    """Give a request back whose numbers can be carried out; UsageError for others."""
    rule = request.decoding
    wrong = [
        (request.max_tokens < 1, f"--max-tokens: found {request.max_tokens}, expected 1 or more"),
        (not 0 <= rule.temperature < float("inf"), f"--temperature: found {rule.temperature}, expected 0 or more"),
        (rule.top_k is not None and rule.top_k < 1, f"--top-k: found {rule.top_k}, expected 1 or more"),
        (
            rule.top_p is not None and not 0 < rule.top_p <= 1,
            f"--top-p: found {rule.top_p}, expected above 0 and up to 1",
        ),
        (rule.beams < 1, f"--beams: found {rule.beams}, expected 1 or more"),
        (
            rule.beams > 1 and rule.temperature > 0,
            f"--beams {rule.beams}: beam search draws nothing; expected --temperature 0 with it",
        ),
        ("" in request.stop, "--stop: found an empty text, expected at least one character"),
    ]
    for is_wrong, message in wrong:
        if is_wrong:
            raise UsageError(message)
    return request

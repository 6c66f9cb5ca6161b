"""Continue one text, shown while it grows where the model can."""

from __future__ import annotations

from collections.abc import Iterator

from evalkit import decoding
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
    """Give a request back whose text and numbers can be carried out; UsageError for others."""
    if request.max_tokens < 1:
        raise UsageError(f"--max-tokens: found {request.max_tokens}, expected 1 or more")
    if "" in request.stop:
        raise UsageError("--stop: found an empty text, expected at least one character")
    for flag, texts in (("prompt", (request.context,)), ("stop", request.stop)):
        if any("\ud800" <= character <= "\udfff" for text in texts for character in text):
            raise UsageError(f"--{flag}: found bytes that are not UTF-8, expected text")
    if wrong := decoding.complaint(request.decoding):
        field, message = wrong
        raise UsageError(f"--{field.replace('_', '-')}: {message}")
    return request

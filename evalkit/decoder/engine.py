"""The engine: a checkpoint that answers requests; what they share is computed once, logits where they are asked for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from evalkit.decoder import checkpoint, distinct, rolling
from evalkit.decoder.device import Budget, automatic_budget, dtype_of, reported_memory, usable_device
from evalkit.decoder.model import Decoder
from evalkit.decoder.session import Job, Session
from evalkit.decoder.spans import check_window, count_tokens, spans
from evalkit.decoder.tokenizer import Tokenizer
from evalkit.errors import UsageError
from evalkit.interfaces import OnResponse, ignore_response
from evalkit.records import Generate, Request, Response, Windowed


class DecoderModel:
    """A LanguageModel on our own decoder."""

    def __init__(
        self, loaded: checkpoint.Checkpoint, *, name: str, window: int | None = None, token_budget: int | None = None
    ) -> None:
        """Answer with a loaded checkpoint; `token_budget` are computed together, None lets the device decide."""
        positions = loaded.decoder.config.window
        if window is not None and not 1 < window <= positions:
            raise UsageError(f"--window: window {window}: {name} has {positions} positions; choose 2 to {positions}")
        self.name = name
        self.window = window or positions
        self.fingerprint = f"{loaded.fingerprint}-{str(loaded.decoder.tokens.dtype).removeprefix('torch.')}"
        self._decoder = loaded.decoder
        self._tokenizer = loaded.tokenizer
        self._budget = Budget(token_budget) if token_budget else automatic_budget(loaded.decoder)

    @property
    def decoder(self) -> Decoder:
        """The network itself."""
        return self._decoder

    @property
    def tokenizer(self) -> Tokenizer:
        """What makes token ids of text."""
        return self._tokenizer

    @property
    def parameters(self) -> int:
        """Count the numbers in its tensors, tied ones once."""
        return sum(each.numel() for each in self._decoder.parameters())

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Count the tokens of whole contexts, the start token included; an empty one always begins with a token."""
        return count_tokens(self._tokenizer, texts)

    def answer(self, requests: Sequence[Request], *, on_response: OnResponse = ignore_response) -> list[Response]:
        """Answer all requests, in their order; equal requests are computed once.

        Raises WindowError where a request exceeds the window, ModelMemoryError where a single one exceeds the memory,
        CheckpointError where the model's numbers are not finite.
        """
        return distinct.answer(requests, self._answer, on_response=on_response)

    @torch.inference_mode()
    def stream(self, request: Generate) -> Iterator[str]:
        """Generate one answer and yield its text as it comes."""
        if request.decoding.beams > 1:
            raise UsageError("beam search knows its answer only at the end; it cannot be streamed")
        session = self._session()
        [job] = self._jobs([request])
        with reported_memory():
            yield from filter(None, session.stream(job))

    @torch.inference_mode()
    def _answer(self, requests: Sequence[Request], keep: OnResponse) -> None:
        self._session().answer(self._jobs(requests), keep)

    def _session(self) -> Session:
        return Session(self._decoder, self._tokenizer, name=self.name, window=self.window, budget=self._budget)

    def _jobs(self, requests: Sequence[Request]) -> list[Job]:
        """Tokenize requests; one in windows has a span for each."""
        whole = [request for request in requests if not isinstance(request, Windowed)]
        tokenized = iter(spans(self._tokenizer, whole))
        jobs = []
        for owner, request in enumerate(requests):
            if isinstance(request, Windowed):
                rolling.check(request, name=self.name, window=self.window)
                text = rolling.tokenize(self._tokenizer, request)
                jobs.append(Job(owner, request, rolling.spans(text), text.texts))
            else:
                job = Job(owner, request, (next(tokenized),))
                check_window(request, job.spans[0], name=self.name, window=self.window)
                jobs.append(job)
        return jobs


def load(
    name: str,
    *,
    device: str | None = None,
    dtype: str | None = None,
    window: int | None = None,
    token_budget: int | None = None,
) -> DecoderModel:
    """Load a checkpoint folder or hub id: on the first GPU in bfloat16 if there is one, else on the CPU in float32."""
    folder = checkpoint.find(name)
    return from_folder(folder, name=name, device=device, dtype=dtype, window=window, token_budget=token_budget)


def from_folder(
    folder: Path,
    *,
    name: str,
    device: str | None = None,
    dtype: str | None = None,
    window: int | None = None,
    token_budget: int | None = None,
) -> DecoderModel:
    """Load a local checkpoint folder under the name that tables show."""
    device = usable_device(device)
    with reported_memory():
        loaded = checkpoint.load(folder, device=device, dtype=dtype_of(dtype, device=device))
    return DecoderModel(loaded, name=name, window=window, token_budget=token_budget)

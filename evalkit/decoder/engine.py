"""The engine: a checkpoint that answers requests, in batches of like length, logits only where they are asked for."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from evalkit.decoder import checkpoint, rolling
from evalkit.decoder.beam import search
from evalkit.decoder.generation import complete
from evalkit.decoder.scoring import Span, score
from evalkit.decoder.tokenizer import Tokenizer
from evalkit.errors import ModelMemoryError, UsageError, WindowError
from evalkit.records import Completion, Generate, LogLikelihood, LogProb, Request, Response, Rolling

BATCH_TOKENS = 16384  # padded prompt and answer tokens computed together

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True, slots=True)
class Job:
    """A request as token ids, computed in one piece."""

    request: LogLikelihood | Generate
    span: Span  # a prompt, where the request is a Generate

    @property
    def room(self) -> int:
        """Tokens the request takes at most."""
        extra = self.request.max_tokens if isinstance(self.request, Generate) else 0
        return len(self.span.ids) + extra


class DecoderModel:
    """A LanguageModel on our own decoder."""

    def __init__(
        self, loaded: checkpoint.Checkpoint, *, name: str, window: int | None = None, batch_tokens: int = BATCH_TOKENS
    ) -> None:
        positions = loaded.decoder.config.window
        if window is not None and not 1 < window <= positions:
            raise UsageError(f"--window: window {window}: {name} has {positions} positions; choose 2 to {positions}")
        self.name = name
        self.window = window or positions
        self.fingerprint = f"{loaded.fingerprint}-{str(loaded.decoder.tokens.dtype).removeprefix('torch.')}"
        self._decoder = loaded.decoder
        self._tokenizer = loaded.tokenizer
        self._batch_tokens = batch_tokens

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Count the tokens of whole contexts, the start token included; an empty one always begins with a token."""
        start = int(self._tokenizer.start is not None)
        return [max(1, start + len(encoding.ids)) for encoding in self._tokenizer.encode(texts)]

    def answer(self, requests: Sequence[Request]) -> list[Response]:
        """Answer all requests, in their order; equal requests are computed once.

        Raises WindowError where a request exceeds the window, ModelMemoryError where a batch exceeds the memory; the
        windows of a rolling request are computed in smaller batches first.
        """
        distinct = dict.fromkeys(requests)
        rolled = [request for request in distinct if isinstance(request, Rolling)]
        whole = [request for request in distinct if not isinstance(request, Rolling)]
        jobs = list(map(Job, whole, spans(self._tokenizer, whole)))
        for job in jobs:
            self._check_window(job)
        for request in rolled:
            rolling.check(request, name=self.name, window=self.window)
        answers: dict[Request, Response] = {}
        with reported_memory(), torch.inference_mode():
            for batch in plan(jobs, batch_tokens=self._batch_tokens):
                answers.update(zip((job.request for job in batch), self._compute(batch), strict=True))
            answers.update(zip(rolled, self._roll(rolled), strict=True))
        return [answers[request] for request in requests]

    def stream(self, request: Generate) -> Iterator[str]:
        """Generate one answer and yield its text as it comes."""
        if request.decoding.beams > 1:
            raise UsageError("beam search knows its answer only at the end; it cannot be streamed")
        job = Job(request, spans(self._tokenizer, [request])[0])
        self._check_window(job)
        with reported_memory(), torch.inference_mode():
            self._decoder.pack()
            for text, _ in complete(self._decoder, self._tokenizer, [job.span.ids], [request], window=self.window):
                yield from text

    def _check_window(self, job: Job) -> None:
        """Raise WindowError where not even one token of an answer fits."""
        needed = len(job.span.ids) + (1 if isinstance(job.request, Generate) else 0)
        if needed > self.window:
            start = job.request.context[:40]
            raise WindowError(
                f"the request that begins {start!r} needs {needed} tokens, the window of {self.name} holds "
                f"{self.window}; shorten it or drop demonstrations"
            )

    def _compute(self, batch: Sequence[Job]) -> list[LogProb] | list[Completion]:
        """Answer a batch whose requests are of one kind."""
        first = batch[0].request
        if isinstance(first, LogLikelihood):
            return score(self._decoder, [job.span for job in batch])
        self._decoder.pack()
        prompts = [job.span.ids for job in batch]
        requests = [job.request for job in batch if isinstance(job.request, Generate)]
        if first.decoding.beams > 1:
            return search(self._decoder, self._tokenizer, prompts, requests, window=self.window)
        steps = complete(self._decoder, self._tokenizer, prompts, requests, window=self.window)
        return [done for _, done in steps][-1]

    def _roll(self, requests: Sequence[Rolling]) -> list[LogProb]:
        """Answer requests whose texts are computed in windows."""

        def compute(batch: Sequence[Span]) -> list[LogProb]:
            with reported_memory():
                return score(self._decoder, batch)

        texts = [rolling.tokenize(self._tokenizer, request) for request in requests]
        return rolling.score(texts, compute, batch_tokens=self._batch_tokens)


def load(name: str, *, device: str | None = None, dtype: str | None = None, window: int | None = None) -> DecoderModel:
    """Load a checkpoint folder or hub id: on the first GPU in bfloat16 if there is one, else on the CPU in float32."""
    return from_folder(checkpoint.find(name), name=name, device=device, dtype=dtype, window=window)


def from_folder(
    folder: Path, *, name: str, device: str | None = None, dtype: str | None = None, window: int | None = None
) -> DecoderModel:
    """Load a local checkpoint folder under the name that tables show."""
    device = usable_device(device)
    dtype = dtype or ("bfloat16" if device.startswith("cuda") else "float32")
    if dtype not in DTYPES:
        raise UsageError(f"--dtype: dtype {dtype!r} is not known; choose {', '.join(DTYPES)}")
    with reported_memory():
        loaded = checkpoint.load(folder, device=device, dtype=DTYPES[dtype])
    return DecoderModel(loaded, name=name, window=window)


def usable_device(name: str | None) -> str:
    """Take the device asked for, or the first GPU, or the CPU; UsageError where it cannot be used."""
    name = name or ("cuda" if torch.cuda.is_available() else "cpu")
    if not re.fullmatch(r"cpu|mps|cuda(:\d{1,3})?", name):
        raise UsageError(f"--device: found {name!r}, expected cpu, cuda, cuda:1 or mps")
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:  # torch without CUDA asserts
        reason = str(error).splitlines()[0]
        raise UsageError(f"--device: device {name!r} cannot be used ({reason}); try --device cpu") from error
    return name


def spans(tokenizer: Tokenizer, requests: Sequence[LogLikelihood | Generate]) -> list[Span]:
    """Tokenize each request once, whole, and split it where its context ends."""
    texts = [r.context + (r.continuation if isinstance(r, LogLikelihood) else "") for r in requests]
    found = []
    for request, encoding in zip(requests, tokenizer.encode(texts), strict=True):
        edge = len(request.context)
        before = sum(end <= edge for _, end in encoding.offsets)
        merged = before < len(encoding.ids) and encoding.offsets[before][0] < edge
        ids = encoding.ids
        if tokenizer.start is not None or before == 0:
            ids = [tokenizer.end_of_text if tokenizer.start is None else tokenizer.start, *ids]
            before += 1
        continuation = request.continuation if isinstance(request, LogLikelihood) else ""
        if isinstance(request, LogLikelihood) and before == len(ids):
            raise UsageError(f"the continuation of {request.context[-40:]!r} has no tokens; expected some text")
        found.append(Span(ids, before, bytes=len(continuation.encode()), boundary_merged=merged))
    return found


def plan(jobs: Sequence[Job], *, batch_tokens: int) -> Iterator[list[Job]]:
    """Group jobs that can be computed together, the longest first, by padded tokens."""
    kinds: dict[tuple[type, int], list[Job]] = {}
    for job in jobs:
        beams = job.request.decoding.beams if isinstance(job.request, Generate) else 1
        kinds.setdefault((type(job.request), beams), []).append(job)
    for (_, beams), group in kinds.items():
        batch: list[Job] = []
        for job in sorted(group, key=lambda job: -job.room):
            longest = batch[0].room if batch else job.room
            if batch and longest * beams * (len(batch) + 1) > batch_tokens:
                yield batch
                batch = []
            batch.append(job)
        if batch:
            yield batch


@contextmanager
def reported_memory(advice: str = "lower --token-budget or use a smaller model") -> Iterator[None]:
    """Turn a device's out-of-memory error into ModelMemoryError."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        torch.cuda.empty_cache()
        raise ModelMemoryError(_out_of_memory(error, advice)) from error
    except MemoryError as error:
        raise ModelMemoryError(_out_of_memory(error, advice)) from error
    except RuntimeError as error:  # what the CPU's allocator raises has no class of its own
        if "not enough memory" not in str(error) and "can't allocate memory" not in str(error):
            raise
        raise ModelMemoryError(_out_of_memory(error, advice)) from error


def _out_of_memory(error: BaseException, advice: str) -> str:
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    return f"the device has too little memory ({reason}); {advice}"

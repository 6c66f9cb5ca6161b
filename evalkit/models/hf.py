"""`hf:ID` and `hf:FOLDER`: any causal language model that transformers runs, asked as evalkit's own decoder is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch

from evalkit import hub
from evalkit.decoder import distinct, finite, rolling
from evalkit.decoder.device import Budget, dtype_of, reported_memory, usable_device
from evalkit.decoder.files import is_hub_id, local
from evalkit.decoder.scoring import describe
from evalkit.decoder.spans import Span, check_window, count_tokens, spans
from evalkit.decoder.tokenizer import Tokenizer
from evalkit.errors import CheckpointError, ModelMemoryError, UsageError
from evalkit.interfaces import OnResponse, ignore_response
from evalkit.models.hf_checkpoint import check_weights, ends_of, folder_digest, had, positions, tokenizer_of
from evalkit.models.hf_generation import complete
from evalkit.models.hf_network import Network
from evalkit.records import Generate, LogProb, PerToken, Request, Response, Rolling, TokenScores, Windowed

BATCH_TOKENS = 16_384  # padded prompt and answer tokens computed together
LOGIT_POSITIONS = 1024  # scored at once, unless a single window has more: (1024, V) is what scoring makes
WINDOW = 2048  # of a model whose configuration names none


@dataclass(frozen=True, slots=True)
class Asked:
    """A request as token ids, or one window of its text."""

    owner: int  # the request's place
    request: Request
    span: Span
    place: int = 0  # of the window's first target among the request's
    texts: tuple[str, ...] = ()  # of its targets, where they are asked for

    @property
    def room(self) -> int:
        """Tokens it takes at most, in all its beams."""
        if not isinstance(self.request, Generate):
            return len(self.span.ids)
        return (len(self.span.ids) + self.request.max_tokens) * self.request.decoding.beams

    @property
    def targets(self) -> int:
        """Tokens to score."""
        return len(self.span.ids) - self.span.start


class HfModel:
    """A LanguageModel on transformers: numbers, text and errors are those of DecoderModel on the same checkpoint."""

    def __init__(
        self,
        network: Network,
        tokenizer: Tokenizer,
        *,
        name: str,
        fingerprint: str,
        window: int,
        token_budget: int | None = None,
    ) -> None:
        self.name = name
        self.fingerprint = fingerprint
        self.window = window
        self._network = network
        self._tokenizer = tokenizer
        self._budget = Budget(token_budget or BATCH_TOKENS)

    @property
    def parameters(self) -> int:
        """Count the numbers in its tensors, tied ones once."""
        return sum(each.numel() for each in self._network.model.parameters())

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Count the tokens of whole contexts, the start token included; an empty one always begins with a token."""
        return count_tokens(self._tokenizer, texts)

    def answer(self, requests: Sequence[Request], *, on_response: OnResponse = ignore_response) -> list[Response]:
        """Answer all requests, in their order; equal requests are computed once.

        Raises WindowError where a request exceeds the window, ModelMemoryError where a single one exceeds the memory,
        CheckpointError where the model's numbers are not finite.
        """
        return distinct.answer(requests, self._answer, on_response=on_response)

    def _answer(self, requests: Sequence[Request], keep: OnResponse) -> None:
        pieces = self._tokenize(requests)
        parts: list[dict[int, Response]] = [{} for _ in requests]
        for owner, found in enumerate(pieces):
            if not found:
                keep(owner, _joined(requests[owner], []))
        with torch.inference_mode():
            for asked, response in self._compute([each for found in pieces for each in found]):
                answered = parts[asked.owner]
                answered[asked.place] = response
                if len(answered) == len(pieces[asked.owner]):
                    keep(asked.owner, _joined(asked.request, [answered[place] for place in sorted(answered)]))

    def _tokenize(self, requests: Sequence[Request]) -> list[list[Asked]]:
        """Give what is to be computed for each request: one piece, or the windows of its text."""
        tokenized = iter(spans(self._tokenizer, [each for each in requests if not isinstance(each, Windowed)]))
        pieces: list[list[Asked]] = []
        for owner, request in enumerate(requests):
            if isinstance(request, Windowed):
                rolling.check(request, name=self.name, window=self.window)
                text = rolling.tokenize(self._tokenizer, request)
                pairs = zip(rolling.windows(text), rolling.spans(text), strict=True)
                pieces.append(
                    [
                        Asked(owner, request, span, each.start - 1, text.texts[each.start - 1 : each.end - 1])
                        for each, span in pairs
                    ]
                )
            else:
                span = next(tokenized)
                check_window(request, span, name=self.name, window=self.window)
                pieces.append([Asked(owner, request, span)])
        return pieces

    def _compute(self, asked: Sequence[Asked]) -> Iterator[tuple[Asked, Response]]:
        """Answer requests in batches of one kind, the longest first; halve the batch where memory runs out."""
        written = [each for each in asked if isinstance(each.request, Generate)]
        scored = [each for each in asked if not isinstance(each.request, Generate)]
        for group in (scored, written):
            waiting = sorted(group, key=lambda each: -each.room)
            while waiting:
                longest = waiting[0].room
                is_alone = self._network.steady is not None and longest > self._network.steady
                batch = waiting[: 1 if is_alone else max(1, self._budget.tokens // longest)]
                try:
                    with reported_memory():
                        found = self._answer_batch(batch)
                except ModelMemoryError:
                    if len(batch) == 1:
                        raise
                    self._budget.halve(longest * len(batch))
                    continue
                yield from zip(batch, found, strict=True)
                waiting = waiting[len(batch) :]

    def _answer_batch(self, batch: Sequence[Asked]) -> Sequence[Response]:
        """Answer a batch whose requests are of one kind."""
        requests = [each.request for each in batch if isinstance(each.request, Generate)]
        if not requests:
            return self._score(batch)
        prompts = [each.span.ids for each in batch]
        return complete(self._network, self._tokenizer, prompts, requests, window=self.window)

    def _score(self, batch: Sequence[Asked]) -> list[Response]:
        """Score continuations, as many at once as have LOGIT_POSITIONS tokens together."""
        results: list[Response] = []
        while len(results) < len(batch):
            part = [batch[len(results)]]
            places = part[0].targets
            for each in batch[len(results) + 1 :]:
                places += each.targets
                if places > LOGIT_POSITIONS:
                    break
                part.append(each)
            results += self._score_together(part)
        return results

    def _score_together(self, batch: Sequence[Asked]) -> list[Response]:
        """Score continuations in one forward."""
        scored = [each.span for each in batch]
        # The last token predicts nothing that is asked for, so it is not computed.
        rows = [span.ids[:-1] for span in scored]
        places = [range(span.start - 1, len(span.ids) - 1) for span in scored]
        logits = self._network.logits(rows, places)  # (N, V)
        target = torch.tensor([token for span in scored for token in span.ids[span.start :]], device=logits.device)
        totals = (logits.gather(1, target[:, None]).squeeze(1) - logits.logsumexp(dim=1)).double().tolist()
        finite.check(totals, name=self.name, dtype=self._network.dtype)
        greedy = (logits.argmax(dim=1) == target).tolist()
        results: list[Response] = []
        begin = 0
        for each in batch:
            span, end = each.span, begin + each.targets
            if isinstance(each.request, PerToken):
                asked = torch.arange(begin, end, device=logits.device)
                ranks, entropies, variances = describe(logits, rows=asked, targets=target[begin:end])
                logprobs = tuple(totals[begin:end])
                results.append(TokenScores(each.texts, logprobs, tuple(ranks), tuple(entropies), tuple(variances)))
            else:
                total, is_greedy = sum(totals[begin:end]), all(greedy[begin:end])
                results.append(LogProb(total, each.targets, span.bytes, is_greedy, span.boundary_merged))
            begin = end
        return results


def _joined(request: Request, parts: Sequence[Response]) -> Response:
    """Make one answer of what was computed for a request, in the order of its text."""
    if isinstance(request, PerToken):
        return rolling.joined([part for part in parts if isinstance(part, TokenScores)])
    if not isinstance(request, Rolling):
        return parts[0]
    return rolling.total(request, [part for part in parts if isinstance(part, LogProb)])


def load(
    name: str,
    *,
    device: str | None = None,
    dtype: str | None = None,
    window: int | None = None,
    token_budget: int | None = None,
) -> HfModel:
    """Load a folder or a hub id through transformers: in bfloat16 on the first GPU, else on the CPU in float32.

    No code of a checkpoint is run. Raises UsageError where transformers, device, dtype or window cannot be had,
    CheckpointError where the checkpoint cannot.
    """
    device = usable_device(device)
    number_type = dtype_of(dtype, device=device)
    folder = local(name)
    if not folder.is_dir():
        if folder.exists() or not is_hub_id(name):
            raise CheckpointError(f"hf:{name}: no such folder; expected a checkpoint folder or a hub id")
        hub.prepare()
    transformers = _transformers(name)
    from transformers.models.auto.tokenization_auto import get_tokenizer_config
    from transformers.utils.hub import cached_file

    source: dict[str, Any] = {"trust_remote_code": False, "local_files_only": folder.is_dir()}
    where = str(folder) if folder.is_dir() else name
    config = had(name, lambda: transformers.AutoConfig.from_pretrained(where, **source))
    commit = getattr(config, "_commit_hash", None)
    if commit is not None and not folder.is_dir():
        source["revision"] = commit  # what is fetched after it belongs to it
    most = positions(config)
    if window is not None and not 1 < window <= (most or window):
        limit = "2 or more" if most is None else f"2 to {most}"
        raise UsageError(f"--window: found {window}, expected {limit}, the positions of hf:{name}")
    made = had(name, lambda: transformers.AutoTokenizer.from_pretrained(where, **source))
    settings = had(name, lambda: get_tokenizer_config(where, **source))
    model, found = had(
        name,
        lambda: transformers.AutoModelForCausalLM.from_pretrained(
            where,
            config=config,
            dtype=number_type,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # so that they are told
            **source,
        ),
    )
    started = settings.get("add_bos_token")
    tokenizer = had(name, lambda: tokenizer_of(made, is_started=started, ends=ends_of(model), name=name))
    model = had(name, lambda: model.to(device).eval())
    stored = folder
    if not folder.is_dir():
        file = had(name, lambda: cached_file(name, "config.json", revision=commit))
        stored = Path(file).parent
    had(name, lambda: check_weights(model, found, tokenizer, folder=stored, name=f"hf:{name}"))
    network = had(name, lambda: Network(model, name=f"hf:{name}"))
    digest = folder_digest(folder) if folder.is_dir() else sha256(f"transformers\n{name}@{commit}".encode())
    return HfModel(
        network,
        tokenizer,
        name=f"hf:{name}",
        fingerprint=f"{digest.hexdigest()}-{str(number_type).removeprefix('torch.')}",
        window=window or most or WINDOW,
        token_budget=token_budget,
    )


def _transformers(name: str) -> Any:  # Any: untyped
    """Import transformers and keep it from printing; UsageError where it is not installed."""
    try:
        import transformers
    except ImportError as error:
        raise UsageError(f"--model hf:{name}: transformers is not installed; pip install 'evalkit[hf]'") from error
    messages: Any = transformers.utils.logging  # Any: untyped
    messages.set_verbosity_error()
    messages.disable_progress_bar()
    return transformers

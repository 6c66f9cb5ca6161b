"""`hf:ID` and `hf:FOLDER`: any causal language model that transformers runs, asked as evalkit's own decoder is."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Any

import torch
from tokenizers import processors

from evalkit.decoder import rolling
from evalkit.decoder.device import Budget, dtype_of, reported_memory, usable_device
from evalkit.decoder.scoring import describe
from evalkit.decoder.spans import Span, spans
from evalkit.decoder.tokenizer import Tokenizer
from evalkit.errors import CheckpointError, EvalkitError, ModelMemoryError, UsageError, WindowError
from evalkit.interfaces import OnResponse, ignore_response
from evalkit.models.hf_generation import complete
from evalkit.models.hf_network import Network
from evalkit.records import Generate, LogProb, PerToken, Request, Response, Rolling, TokenScores, Windowed

BATCH_TOKENS = 16_384  # padded prompt and answer tokens computed together
LOGIT_POSITIONS = 1024  # scored at once: (1024, V) is the largest tensor that scoring makes
WINDOW = 2048  # of a model whose configuration names none
POSITIONS = ("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len", "seq_length", "max_sequence_length")
HASHED = ("config.json", "*token*", "vocab*", "merges.txt", "*.model")


@dataclass(frozen=True, slots=True)
class Asked:
    """A request as token ids, or one window of its text."""

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

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Count the tokens of whole contexts, the start token included; an empty one always begins with a token."""
        start = int(self._tokenizer.start is not None)
        return [max(1, start + len(encoding.ids)) for encoding in self._tokenizer.encode(texts)]

    def answer(self, requests: Sequence[Request], *, on_response: OnResponse = ignore_response) -> list[Response]:
        """Answer all requests, in their order; equal requests are computed once.

        Raises WindowError where a request exceeds the window, ModelMemoryError where a single one exceeds the memory.
        """
        places: dict[Request, list[int]] = {}
        for place, request in enumerate(requests):
            places.setdefault(request, []).append(place)
        pieces = self._tokenize(list(places))
        parts: dict[Request, dict[int, Response]] = {request: {} for request in places}
        answers: dict[Request, Response] = {}

        def finish(request: Request) -> None:
            answers[request] = _joined(request, [parts[request][place] for place in sorted(parts[request])])
            for place in places[request]:
                on_response(place, answers[request])

        for request in [request for request, found in pieces.items() if not found]:
            finish(request)
        with torch.inference_mode():
            for asked, response in self._compute([each for found in pieces.values() for each in found]):
                parts[asked.request][asked.place] = response
                if len(parts[asked.request]) == len(pieces[asked.request]):
                    finish(asked.request)
        return [answers[request] for request in requests]

    def _tokenize(self, requests: Sequence[Request]) -> dict[Request, list[Asked]]:
        """Give what is to be computed for each request: one piece, or the windows of its text."""
        whole = [request for request in requests if not isinstance(request, Windowed)]
        pieces: dict[Request, list[Asked]] = {request: [] for request in requests}
        for each, span in zip(whole, spans(self._tokenizer, whole), strict=True):
            needed = len(span.ids) + (1 if isinstance(each, Generate) else 0)
            if needed > self.window:
                raise WindowError(
                    f"the request that begins {each.context[:40]!r} needs {needed} tokens, the window of "
                    f"{self.name} holds {self.window}; shorten it or drop demonstrations"
                )
            pieces[each].append(Asked(each, span))
        for request in requests:
            if isinstance(request, Windowed):
                rolling.check(request, name=self.name, window=self.window)
                text = rolling.tokenize(self._tokenizer, request)
                for window, span in zip(rolling.windows(text), rolling.spans(text), strict=True):
                    texts = text.texts[window.start - 1 : window.end - 1]
                    pieces[request].append(Asked(request, span, window.start - 1, texts))
        return pieces

    def _compute(self, asked: Sequence[Asked]) -> Iterator[tuple[Asked, Response]]:
        """Answer requests in batches of one kind, the longest first; halve the batch where memory runs out."""
        written = [each for each in asked if isinstance(each.request, Generate)]
        scored = [each for each in asked if not isinstance(each.request, Generate)]
        for group in (scored, written):
            waiting = sorted(group, key=lambda each: -each.room)
            while waiting:
                longest = waiting[0].room
                batch = waiting[: max(1, self._budget.tokens // longest)]
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
        greedy = (logits.argmax(dim=1) == target).tolist()
        results: list[Response] = []
        begin = 0
        for each in batch:
            span, end = each.span, begin + each.targets
            if isinstance(each.request, PerToken):
                asked = torch.arange(begin, end, device=logits.device)
                ranks, entropies = describe(logits, rows=asked, targets=target[begin:end])
                results.append(TokenScores(each.texts, tuple(totals[begin:end]), tuple(ranks), tuple(entropies)))
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
    try:
        import transformers
        from transformers.models.auto.tokenization_auto import get_tokenizer_config
    except ImportError as error:
        raise UsageError(f"--model hf:{name}: transformers is not installed; pip install 'evalkit[hf]'") from error
    folder = Path(name).expanduser()
    if not folder.is_dir() and (folder.exists() or not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", name)):
        raise CheckpointError(f"hf:{name}: no such folder; expected a checkpoint folder or a hub id")
    messages: Any = transformers.utils.logging  # Any: untyped
    messages.set_verbosity_error()
    messages.disable_progress_bar()
    source: dict[str, Any] = {"trust_remote_code": False, "local_files_only": folder.is_dir()}
    where = str(folder) if folder.is_dir() else name
    config = _had(name, lambda: transformers.AutoConfig.from_pretrained(where, **source))
    commit = getattr(config, "_commit_hash", None)
    if commit is not None and not folder.is_dir():
        source["revision"] = commit  # what is fetched after it belongs to it
    positions = _positions(config)
    if window is not None and not 1 < window <= (positions or window):
        limit = "2 or more" if positions is None else f"2 to {positions}"
        raise UsageError(f"--window: found {window}, expected {limit}, the positions of hf:{name}")
    made = _had(name, lambda: transformers.AutoTokenizer.from_pretrained(where, **source))
    settings = _had(name, lambda: get_tokenizer_config(where, **source))
    model, found = _had(
        name,
        lambda: transformers.AutoModelForCausalLM.from_pretrained(
            where, config=config, dtype=number_type, output_loading_info=True, **source
        ),
    )
    tokenizer = _tokenizer(made, is_started=settings.get("add_bos_token"), ends=_ends(model), name=name)
    with reported_memory():
        model = model.to(device).eval()
    _check_weights(model, found, tokenizer, name=f"hf:{name}")
    digest = _folder_digest(folder) if folder.is_dir() else sha256(f"transformers\n{name}@{commit}".encode())
    return HfModel(
        Network(model, name=f"hf:{name}"),
        tokenizer,
        name=f"hf:{name}",
        fingerprint=f"{digest.hexdigest()}-{str(number_type).removeprefix('torch.')}",
        window=window or positions or WINDOW,
        token_budget=token_budget,
    )


def _had(name: str, get: Callable[[], Any]) -> Any:  # Any: what transformers loads
    """Load a part of a checkpoint; CheckpointError, of one line, where transformers cannot."""
    try:
        with reported_memory():
            return get()
    except EvalkitError:
        raise
    except Exception as error:  # what transformers raises has no class in common
        if "trust_remote_code" in str(error):
            raise CheckpointError(
                f"hf:{name}: needs code of its own, which evalkit does not run; serve it and use server:URL"
            ) from error
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".:")
        raise CheckpointError(f"hf:{name}: transformers cannot load it ({reason})") from error


def _positions(config: Any) -> int | None:  # Any: a configuration of transformers
    """Read how many positions a model has; None where its configuration names no limit."""
    text = config.get_text_config()
    found = (getattr(text, setting, None) for setting in POSITIONS)
    return next((value for value in found if isinstance(value, int) and value > 1), None)


def _tokenizer(
    made: Any,  # Any: a tokenizer of transformers
    *,
    is_started: bool | None,
    ends: frozenset[int],
    name: str,
) -> Tokenizer:
    """Take what a fast tokenizer of transformers rests on, and find the token that stands before a text.

    As in the decoder, `add_bos_token` of tokenizer_config.json decides on it; where that is silent, the tokenizer does.
    """
    if not getattr(made, "is_fast", False):
        raise CheckpointError(
            f"hf:{name}: {type(made).__name__} is a slow tokenizer, which tells no offsets; expected one with "
            "tokenizer.json: convert it, or serve the model and use server:URL"
        )
    end = made.eos_token_id
    if end is None and ends:
        end = min(ends)
    if end is None:
        raise CheckpointError(f"hf:{name}: neither tokenizer nor configuration names an end-of-text token; add one")
    start = None
    if is_started:
        start = end if made.bos_token_id is None else made.bos_token_id
    elif is_started is None:
        plain = made("a", add_special_tokens=False)["input_ids"]
        whole = made("a")["input_ids"]
        front = next((at for at in range(len(whole)) if whole[at : at + len(plain)] == plain), len(whole))
        if not plain or front > 1:
            raise CheckpointError(
                f"hf:{name}: the tokenizer makes {whole} of 'a', expected one token before a text at most; "
                "serve the model and use server:URL"
            )
        start = whole[0] if front else None
    backend = made.backend_tokenizer
    backend.no_padding()
    backend.no_truncation()
    # No special token is asked of it again; and GPT-2's kind would leave spaces out of the tokens' offsets.
    backend.post_processor = processors.TemplateProcessing(single="$A", pair="$A $B", special_tokens=[])
    return Tokenizer(backend, start=start, end_of_text=end, ends=ends)


def _ends(model: Any) -> frozenset[int]:  # Any: a model of transformers
    """Read which tokens end an answer, from generation_config.json where that names any, else from config.json."""
    for settings in (getattr(model, "generation_config", None), model.config.get_text_config()):
        found = getattr(settings, "eos_token_id", None)
        if found is not None:
            return frozenset(found if isinstance(found, list) else [found])
    return frozenset()


def _check_weights(model: Any, found: Any, tokenizer: Tokenizer, *, name: str) -> None:  # Any: transformers
    """Raise CheckpointError where weights are missing, not finite, or too few for the tokenizer."""
    if missing := sorted(found["missing_keys"]):
        raise CheckpointError(f"{name}: {len(missing)} tensors are missing, such as {missing[0]}; save the model again")
    rows = model.get_input_embeddings().weight.shape[0]
    if tokenizer.size > rows:
        raise CheckpointError(
            f"{name}: the tokenizer has {tokenizer.size} tokens but the model only {rows}; "
            "use the tokenizer the model was trained with"
        )
    for tensor, parameter in model.named_parameters():
        if not torch.isfinite(parameter).all():
            raise CheckpointError(
                f"{name}: tensor {tensor} holds numbers that are not finite in "
                f"{str(parameter.dtype).removeprefix('torch.')}; save the model again, or try --dtype float32"
            )


def _folder_digest(folder: Path) -> Any:  # Any: hashlib names no public class
    """Hash the configuration, weights and tokenizer files that transformers reads."""
    weights = ("*.safetensors",) if any(folder.glob("*.safetensors")) else ("*.bin",)
    files = {path for pattern in (*HASHED, *weights) for path in folder.glob(pattern) if path.is_file()}
    whole = sha256(b"transformers\n")  # the decoder's answers to the same files are others, in the last digits
    for path in sorted(files):
        with path.open("rb") as file:
            whole.update(f"{path.name}:{file_digest(file, 'sha256').hexdigest()}\n".encode())
    return whole

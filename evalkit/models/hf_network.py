"""A causal model of transformers as two computations: logits at chosen places, and rows that grow by a token a step."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from evalkit.errors import CheckpointError

# Of the logits' standard deviation: a model that is not causal, or that sees its padding, is off by about 1.
TOLERANCE = {torch.float32: 0.01, torch.bfloat16: 0.2, torch.float16: 0.1}


class Growing(Protocol):
    """Rows of tokens, and what comes next in each."""

    logits: Tensor  # (B, V) of the token after each row, float32

    def extend(self, rows: Sequence[int], tokens: Sequence[int]) -> None:
        """Keep the given rows, in their order, and add a token to each; a row may be named more than once."""


class Network:
    """A causal model without its tokenizer."""

    def __init__(self, model: Any, *, name: str) -> None:  # Any: transformers is untyped
        """Take a model; CheckpointError where its answers depend on what follows."""
        self.model = model
        self.name = name
        self.device: torch.device = model.device
        self.dtype: torch.dtype = model.dtype
        self.steady = _steady(model.config)
        self._head: nn.Module | None = model.get_output_embeddings()
        takes = inspect.signature(model.forward).parameters
        self.takes_positions = "position_ids" in takes
        self._takes_use_cache = "use_cache" in takes
        self._has_cache = {"past_key_values", "attention_mask", "use_cache"} <= takes.keys()
        with torch.inference_mode():
            self._check(name)

    def logits(self, rows: Sequence[list[int]], places: Sequence[range]) -> Tensor:
        """Compute the logits (N, V), in float32, at `places` of each row; N counts the places of all rows.

        Rows are padded on the right and not masked: what follows a token cannot change a causal model's answer.
        """
        longest = max(map(len, rows))
        ids = torch.tensor([[*row, *[0] * (longest - len(row))] for row in rows], device=self.device)  # (B, T)
        wanted = torch.zeros(ids.shape, dtype=torch.bool)
        for row, chosen in enumerate(places):
            wanted[row, chosen.start : chosen.stop] = True
        extra = {"use_cache": False} if self._takes_use_cache else {}
        return self.forward(wanted.to(self.device), input_ids=ids, **extra)[0]

    def grow(self, prompts: Sequence[list[int]], *, longest: int) -> Growing:
        """Begin rows with prompts, none of them empty, that grow to at most `longest` tokens."""
        # What is cached of a short row is of no use once the row is long.
        has_switch = self.steady is not None and min(map(len, prompts)) <= self.steady < longest
        return CachedRows(self, prompts) if self._has_cache and not has_switch else RecomputedRows(self, prompts)

    def forward(self, wanted: Tensor, **inputs: Any) -> tuple[Tensor, Any]:  # Any: what transformers takes and gives
        """Run the model once; give the logits (N, V) where `wanted` (B, T) holds, and all that the model gave.

        The model's own head is shown the wanted places alone, so that what it does to logits afterwards, such as
        capping or scaling them, stays its own affair. Heads that are no module see all places.
        """
        with _shown(self._head, wanted) as calls:
            output = self.model(**inputs, return_dict=True)
        logits: Tensor = output.logits
        chosen = logits[0] if calls and logits.shape[0] == 1 and logits.shape[1] == calls[0] else logits[wanted]
        return chosen.float(), output

    def _check(self, name: str) -> None:
        """Compare small inputs computed in two ways."""
        size = self.model.get_input_embeddings().weight.shape[0]
        first, second = ([number % size for number in range(begin, begin + 6)] for begin in (3, 11))
        whole = self.logits([first, second[:3]], [range(6), range(2, 3)])  # (7, V)
        cut = self.logits([first[: end + 1] for end in range(4)], [range(end, end + 1) for end in range(4)])
        tolerance = TOLERANCE.get(self.model.dtype, max(TOLERANCE.values())) * whole.std().item()
        # All of them: a mixture of experts may take another expert at a place for a rounding's sake.
        if ((whole[:4] - cut).abs().amax(dim=1) > tolerance).all():
            raise CheckpointError(f"{name}: its answers depend on the tokens that follow; expected a causal model")
        if self._has_cache and not self._cache_holds(first, second[:3], whole, tolerance=tolerance):
            self._has_cache = False

    def _cache_holds(self, first: list[int], second: list[int], whole: Tensor, *, tolerance: float) -> bool:
        """Whether a cache, its rows padded on the left, gives the logits that whole rows give."""
        try:
            rows = CachedRows(self, [second[:2], first[:4]])
            rows.extend([1, 0], [first[4], second[2]])
            found = [rows.logits]
            rows.extend([0], [first[5]])
            found.append(rows.logits)
        except torch.OutOfMemoryError:
            raise
        except Exception:  # what caches of other kinds raise has no class in common; whole rows were computed already
            return False
        expected = whole[[4, 6, 5]]
        return bool(((torch.cat(found) - expected).abs().amax() <= tolerance).item())


class CachedRows:
    """Rows whose keys and values are kept; padded on the left, as transformers' own generation has them."""

    def __init__(self, network: Network, prompts: Sequence[list[int]]) -> None:
        self._network = network
        longest = max(map(len, prompts))
        pads = [longest - len(prompt) for prompt in prompts]
        device = network.device
        ids = torch.tensor([[*[0] * pad, *prompt] for pad, prompt in zip(pads, prompts, strict=True)], device=device)
        self._mask = torch.tensor([[0] * pad + [1] * (longest - pad) for pad in pads], device=device)  # (B, T)
        self._cache: Any = None
        self._compute(ids, (self._mask.cumsum(-1) - 1).clamp(min=0))

    def extend(self, rows: Sequence[int], tokens: Sequence[int]) -> None:
        """Drop, repeat and reorder rows in the cache, then compute one more place of each."""
        chosen = torch.tensor(rows, device=self._mask.device)
        if list(rows) != list(range(len(self._mask))):
            self._cache.reorder_cache(chosen)
        kept = self._mask[chosen]
        self._mask = torch.cat([kept, torch.ones_like(kept[:, :1])], dim=1)
        self._compute(torch.tensor(tokens, device=chosen.device)[:, None], self._mask.sum(-1, keepdim=True) - 1)

    def _compute(self, ids: Tensor, positions: Tensor) -> None:
        wanted = torch.zeros_like(ids, dtype=torch.bool)
        wanted[:, -1] = True
        extra = {"position_ids": positions} if self._network.takes_positions else {}
        self.logits, output = self._network.forward(
            wanted, input_ids=ids, attention_mask=self._mask, past_key_values=self._cache, use_cache=True, **extra
        )
        self._cache = output.past_key_values


class RecomputedRows:
    """Rows computed anew at each step: right for every causal model, slow for all."""

    def __init__(self, network: Network, prompts: Sequence[list[int]]) -> None:
        self._network = network
        self._rows = [list(prompt) for prompt in prompts]
        self._compute()

    def extend(self, rows: Sequence[int], tokens: Sequence[int]) -> None:
        """Write the rows anew, each with one more token."""
        self._rows = [[*self._rows[row], token] for row, token in zip(rows, tokens, strict=True)]
        self._compute()

    def _compute(self) -> None:
        self.logits = self._network.logits(self._rows, [range(len(row) - 1, len(row)) for row in self._rows])


def _steady(config: Any) -> int | None:  # Any: a configuration of transformers
    """Give the longest row beside which others keep their logits; None where any row may be beside any other.

    LongRoPE (Ding 2024) takes other frequencies for all that is computed together where one row is longer.
    """
    text = config.get_text_config()
    whole = getattr(text, "rope_parameters", None) or getattr(text, "rope_scaling", None) or {}
    for found in (whole, *(each for each in whole.values() if isinstance(each, dict))):
        if found.get("rope_type", found.get("type")) == "longrope":
            own = getattr(text, "original_max_position_embeddings", None)
            return int(found.get("original_max_position_embeddings") or own or 0)
    return None


@contextmanager
def _shown(head: nn.Module | None, wanted: Tensor) -> Iterator[list[int]]:
    """Let a head see nothing but the wanted places, as one row; the list given holds how many, once a call."""
    calls: list[int] = []

    def choose(_: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:  # Any: whatever a head takes
        hidden = inputs[0]
        if hidden.shape[:2] != wanted.shape:
            return inputs
        chosen = hidden[wanted][None]  # (1, N, d)
        calls.append(chosen.shape[1])
        return chosen, *inputs[1:]

    if head is None:
        yield calls
        return
    handle = head.register_forward_pre_hook(choose)
    try:
        yield calls
    finally:
        handle.remove()

"""Prefill of prompts that lie end to end: nothing is computed of what would pad the shorter ones."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

import torch
from torch import Tensor

from evalkit.decoder import varlen
from evalkit.decoder.attention import Scores, attend_packed
from evalkit.decoder.cache import KVCache
from evalkit.decoder.model import Decoder

LEAST_PADDING = 0.03  # share of all tokens that padding has to be


class Prompts:
    """The prompts of a prefill as its past: their keys and values go to the rows of a cache, if there is one."""

    def __init__(
        self, config_bands: Sequence[int | None], lengths: Sequence[int], cache: KVCache | None, *, device: torch.device
    ) -> None:
        self._bands = config_bands
        self._cache = cache
        self._longest = max(lengths)
        counts = torch.tensor(lengths, device=device)
        self._starts = torch.tensor([0, *accumulate(lengths)], device=device, dtype=torch.int32)
        self._rows = torch.arange(len(lengths), device=device).repeat_interleave(counts, output_size=sum(lengths))
        self._places = torch.arange(sum(lengths), device=device) - self._starts[self._rows]  # (N,)

    def positions(self, tokens: int) -> Tensor:
        """Give the position of each token in its own prompt: (1, N)."""
        assert tokens == len(self._places)
        return self._places[None]

    def end(self, tokens: int) -> int:  # noqa: ARG002  # as Past has it
        """Count the tokens of the longest prompt."""
        return self._longest

    def attend(
        self, layer: int, query: Tensor, key: Tensor, value: Tensor, *, scores: Scores, wanted: Tensor | None = None
    ) -> Tensor:
        """Store keys and values (1, G, N, D), and attend from (1, H, N, D), or the wanted (1, Q) of these queries."""
        if self._cache is not None:
            for new, stored in ((key, self._cache.keys[layer]), (value, self._cache.values[layer])):
                stored[self._rows, :, self._places] = new[0].transpose(0, 1)
        if wanted is not None:  # the others have room, for a query sees what lies before its own place
            few, query = query, query.new_zeros(1, query.shape[1], key.shape[2], query.shape[3])
            query[:, :, wanted[0]] = few
        laid = (x[0].transpose(0, 1) for x in (query, key, value))  # (N, H or G, D)
        mixed = attend_packed(
            *laid, starts=self._starts, longest=self._longest, band=self._bands[layer], scale=scores.scale
        )
        mixed = mixed.transpose(0, 1)[None]
        return mixed if wanted is None else mixed[:, :, wanted[0]]


def pays(decoder: Decoder, lengths: Sequence[int]) -> bool:
    """Say whether prompts of these lengths are better laid end to end than padded."""
    config, tokens = decoder.config, decoder.tokens
    padding = max(lengths) * len(lengths) - sum(lengths)
    if config.attention_cap is not None or padding < LEAST_PADDING * sum(lengths):
        return False
    return varlen.fits(tokens.new_empty(0, config.head_size))


def prefill(
    decoder: Decoder, prompts: Sequence[Tensor], wanted: Sequence[Sequence[int]], *, cache: KVCache | None
) -> Tensor:
    """Give the hidden states (M, d) of the wanted positions of prompts, one prompt after the other.

    Keys and values go to the first columns of a cache's rows, one a prompt; the caller counts them. The cache follows
    no prefix.
    """
    assert cache is None or cache.prefix is None
    device = decoder.tokens.device
    lengths = [len(prompt) for prompt in prompts]
    begins = accumulate([0, *lengths[:-1]])
    asked = [begin + place for begin, places in zip(begins, wanted, strict=True) for place in places]
    past = Prompts(decoder.config.bands, lengths, cache, device=device)
    tokens = torch.cat(list(prompts))[None].to(device)  # (1, N)
    return decoder(tokens, cache=past, wanted=torch.tensor([asked or [0]], device=device))[0, : len(asked)]  # type: ignore[no-any-return]  # nn.Module calls are untyped

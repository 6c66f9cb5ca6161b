"""The KV cache: keys and values of every position, computed once.

Rows are sequences, left-aligned: the tokens of a row lie at 0 .. length - 1 whatever the other rows' lengths, so that
a prefill needs no padding mask and a finished row can be dropped without moving the others' tokens.
"""

from __future__ import annotations

import torch
from torch import Tensor

from evalkit.decoder.config import DecoderConfig


class KVCache:
    """Preallocated keys and values of a batch of sequences."""

    def __init__(
        self, config: DecoderConfig, *, rows: int, capacity: int, device: torch.device, dtype: torch.dtype
    ) -> None:
        shape = (rows, config.heads, capacity, config.head_size)
        # Zeros, not whatever memory held: a masked position still counts with weight 0, and 0 x NaN is NaN.
        self.keys = [torch.zeros(shape, device=device, dtype=dtype) for _ in range(config.layers)]  # (B, H, S, D) each
        self.values = [torch.zeros(shape, device=device, dtype=dtype) for _ in range(config.layers)]
        self.lengths = torch.zeros(rows, dtype=torch.long, device=device)  # (B,) tokens in each row
        self.longest = 0  # the same as a number of Python, so that no step waits for the device
        self.shortest = 0

    @property
    def capacity(self) -> int:
        """Tokens a row has room for."""
        return self.keys[0].shape[2]

    def select(self, rows: Tensor) -> None:
        """Keep the given rows (B',), in their order; a row may be named more than once, as beams do."""
        self.keys = [key.index_select(0, rows) for key in self.keys]
        self.values = [value.index_select(0, rows) for value in self.values]
        self.set_lengths(self.lengths.index_select(0, rows).tolist())

    def set_lengths(self, lengths: list[int]) -> None:
        """Say how many tokens of each row hold."""
        self.lengths = torch.tensor(lengths, dtype=torch.long, device=self.lengths.device)
        self.longest, self.shortest = max(lengths, default=0), min(lengths, default=0)

    def advance(self) -> None:
        """Count one more token in every row."""
        self.lengths += 1
        self.longest += 1
        self.shortest += 1

    def fill(self, layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Store the keys and values (B, H, T, D) of a prefill from position 0; give them as they lie in the cache."""
        tokens = key.shape[2]
        stored = self.keys[layer][:, :, :tokens], self.values[layer][:, :, :tokens]
        stored[0].copy_(key)
        stored[1].copy_(value)
        return stored

    def append(self, layer: int, key: Tensor, value: Tensor) -> None:
        """Store one more position (B, H, 1, D) at the end of each row."""
        if self.shortest == self.longest:
            self.keys[layer][:, :, self.longest] = key[:, :, 0]
            self.values[layer][:, :, self.longest] = value[:, :, 0]
            return
        rows = torch.arange(key.shape[0], device=key.device)
        self.keys[layer][rows, :, self.lengths] = key[:, :, 0]
        self.values[layer][rows, :, self.lengths] = value[:, :, 0]

    def visible(self, band: int | None) -> tuple[int, int, Tensor | None]:
        """Give what the appended position may see: the slice [start, end) and a mask (B, 1, 1, S) where rows differ."""
        end = self.longest + 1
        start = 0 if band is None else max(0, self.shortest + 1 - band)
        if self.shortest == self.longest:
            return start, end, None
        position = torch.arange(start, end, device=self.lengths.device)
        mask = position <= self.lengths[:, None]
        if band is not None:
            mask &= position > self.lengths[:, None] - band
        return start, end, mask[:, None, None, :]

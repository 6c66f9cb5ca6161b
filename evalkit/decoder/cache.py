"""The KV cache: keys and values of every position, computed once.

Rows are sequences, left-aligned: the tokens of a row lie at 0 .. length - 1 whatever the other rows' lengths, so that
a prefill needs no padding mask and a finished row can be dropped without moving the others' tokens.

Rows may follow a prefix that they all share, a cache of one row. A dense layer then keeps it once, beside the rows; a
layer with a band copies the last tokens of it that the band can reach, its tail, before each row's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from evalkit.decoder.attention import Scores, attend, attend_after_prefix, attend_masked
from evalkit.decoder.config import DecoderConfig


@dataclass(frozen=True, slots=True)
class Layout:
    """Where new tokens stand that are no plain continuation of their rows, and which of a row's columns they see."""

    positions: Tensor  # (B, T) of the new tokens
    column_positions: Tensor  # (B, S) of all tokens of a row, the new ones last
    seen: Tensor  # (B, T, S)


class Past(Protocol):
    """What the new tokens of a forward follow, and where their keys and values are put."""

    def positions(self, tokens: int) -> Tensor:
        """Give the positions of so many new tokens: (1, T), or (B, T) where rows differ."""

    def end(self, tokens: int) -> int:
        """Give a number that the positions of so many new tokens lie below."""

    def attend(
        self, layer: int, query: Tensor, key: Tensor, value: Tensor, *, scores: Scores, wanted: Tensor | None = None
    ) -> Tensor:
        """Store the new tokens' keys and values (B, G, T, D), and attend to all that they see."""


class KVCache:
    """Preallocated keys and values of a batch of sequences."""

    def __init__(
        self,
        config: DecoderConfig,
        *,
        rows: int,
        capacity: int,
        device: torch.device,
        dtype: torch.dtype,
        prefix: KVCache | None = None,
    ) -> None:
        """Make room for `capacity` tokens in each row, those of the prefix not counted.

        Without room, tokens that are computed see the prefix and each other, and are kept for none that come later.
        """
        self.config = config
        self.prefix = prefix
        self.offset: int = 0 if prefix is None else prefix.longest  # tokens of the prefix
        self.bands = config.bands
        self.layout: Layout | None = None  # of the next tokens, where they do not follow their rows
        self.tails = [0 if band is None else min(self.offset, band - 1) for band in config.bands]
        self.capacity = capacity

        def room(tail: int, own: Tensor | None) -> Tensor:
            shape = (rows, config.kv_heads, tail + capacity, config.head_size)
            # Zeros, not whatever memory held: a masked position still counts with weight 0, and 0 x NaN is NaN.
            made = torch.zeros(shape, device=device, dtype=dtype)  # (B, G, tail + S, D)
            if own is not None and tail:
                made[:, :, :tail] = own[:, :, self.offset - tail : self.offset]
            return made

        layers = range(config.layers)
        self.keys: list[Tensor] = [room(self.tails[at], None if prefix is None else prefix.keys[at]) for at in layers]
        self.values: list[Tensor] = [
            room(self.tails[at], None if prefix is None else prefix.values[at]) for at in layers
        ]
        self.lengths = torch.zeros(rows, dtype=torch.long, device=device)  # (B,) own tokens of each row
        self.longest: int = 0  # the same as a number of Python, so that no step waits for the device
        self.shortest = 0

    def select(self, rows: Tensor) -> None:
        """Keep the given rows (B',), in their order; a row may be named more than once, as beams do."""
        self.keys = [key.index_select(0, rows) for key in self.keys]
        self.values = [value.index_select(0, rows) for value in self.values]
        self.set_lengths(self.lengths.index_select(0, rows).tolist())

    def exchange(self, rows: Tensor, *, begin: int) -> None:
        """Take rows (B,) as `select` does, as many as there are and each for one that is equal to it before `begin`."""
        for tensors in (self.keys, self.values):
            for tensor, tail in zip(tensors, self.tails, strict=True):
                changed = tensor[:, :, tail + begin : tail + self.longest]
                changed.copy_(changed.index_select(0, rows))
        self.set_lengths(self.lengths.index_select(0, rows).tolist())

    def extract(self, rows: Sequence[int], columns: Sequence[Sequence[range]], *, capacity: int) -> KVCache:
        """Make a cache of these rows, each of the tokens that lie in its ranges of columns, one after the other."""
        lengths = [sum(map(len, ranges)) for ranges in columns]
        made = KVCache(
            self.config,
            rows=len(rows),
            capacity=max(capacity, *lengths),
            device=self.lengths.device,
            dtype=self.keys[0].dtype,
            prefix=self.prefix,
        )
        is_plain = all(len(ranges) == 1 and ranges[0].start == 0 for ranges in columns)
        longest = max(lengths)
        chosen = torch.tensor(rows, device=self.lengths.device)
        taken = [[column for each in ranges for column in each] for ranges in ([] if is_plain else columns)]
        places = torch.tensor([each + [0] * (longest - len(each)) for each in taken], device=chosen.device)  # (B, S)
        for layer, tail in enumerate(self.tails):
            for old, new in ((self.keys[layer], made.keys[layer]), (self.values[layer], made.values[layer])):
                if is_plain:
                    found = old[:, :, tail : tail + longest].index_select(0, chosen)
                else:
                    found = old[chosen[:, None], :, tail + places].transpose(1, 2)
                new[:, :, tail : tail + longest] = found
        made.set_lengths(lengths)
        return made

    def join(self, other: KVCache) -> None:
        """Add the rows of another cache with the same prefix after one's own."""
        self.capacity = max(self.capacity, other.capacity)
        for mine, theirs in ((self.keys, other.keys), (self.values, other.values)):
            for layer, (own, added) in enumerate(zip(mine, theirs, strict=True)):
                shape = (own.shape[0] + added.shape[0], own.shape[1], self.tails[layer] + self.capacity, own.shape[3])
                both = own.new_zeros(shape)
                both[: own.shape[0], :, : own.shape[2]] = own
                both[own.shape[0] :, :, : added.shape[2]] = added
                mine[layer] = both
        self.set_lengths([*self.lengths.tolist(), *other.lengths.tolist()])

    def set_lengths(self, lengths: list[int]) -> None:
        """Say how many own tokens of each row hold."""
        self.lengths = torch.tensor(lengths, dtype=torch.long, device=self.lengths.device)
        self.longest, self.shortest = max(lengths, default=0), min(lengths, default=0)

    def advance(self) -> None:
        """Count one more token in every row."""
        self.lengths += 1
        self.longest += 1
        self.shortest += 1

    def positions(self, tokens: int) -> Tensor:
        """Give the positions of so many new tokens: (1, T), or (B, T) where rows differ."""
        if self.layout is not None:
            return self.layout.positions
        begin = self.lengths[:1] if self.shortest == self.longest else self.lengths
        return self.offset + begin[:, None] + torch.arange(tokens, device=begin.device)

    def end(self, tokens: int) -> int:
        """Give the position after the last of so many new tokens."""
        return self.offset + self.longest + tokens

    def attend(
        self, layer: int, query: Tensor, key: Tensor, value: Tensor, *, scores: Scores, wanted: Tensor | None = None
    ) -> Tensor:
        """Store keys and values (B, G, T, D) of new tokens after those of each row, and attend to all of them.

        Queries (B, H, T, D) are those of the new tokens, or (B, H, Q, D) of the `wanted` ones among them (B, Q).
        """
        tokens, tail, band = key.shape[2], self.tails[layer], self.bands[layer]
        end = tail + self.longest + tokens
        if self.capacity:
            self._store(layer, key, value)
            own = self.keys[layer][:, :, :end], self.values[layer][:, :, :end]
        elif tail:
            own = torch.cat([self.keys[layer], key], dim=2), torch.cat([self.values[layer], value], dim=2)
        else:
            own = key, value
        prefix = None
        if self.prefix is not None and band is None and self.offset > 0:
            prefix = self.prefix.keys[layer][:, :, : self.offset], self.prefix.values[layer][:, :, : self.offset]
        if self.layout is not None:
            mask = self._laid_out(self.layout, wanted, tail=tail, band=band)
            if prefix is not None:
                return attend_after_prefix(query, own, prefix, mask=mask, scores=scores)
            return attend_masked(query, *own, mask=mask, scores=scores)
        if tokens == 1 and prefix is None and wanted is None and self.shortest == self.longest:
            seen = slice(0 if band is None else max(0, end - band), end)
            return attend_masked(query, own[0][:, :, seen], own[1][:, :, seen], mask=None, scores=scores)
        last = None
        if self.longest or tail or wanted is not None:
            places = torch.arange(tokens, device=key.device)[None] if wanted is None else wanted  # (1 or B, T or Q)
            lengths = self.lengths[:1] if self.shortest == self.longest else self.lengths
            last = tail + lengths[:, None] + places
        return attend(query, *own, band=band, scores=scores, last=last, prefix=prefix)

    def _laid_out(self, layout: Layout, wanted: Tensor | None, *, tail: int, band: int | None) -> Tensor:
        """Say which of a layer's columns new tokens may see: (B, 1, T or Q, tail + S)."""
        seen, positions = layout.seen, layout.positions
        if wanted is not None:
            seen = seen.gather(1, wanted[:, :, None].expand(-1, -1, seen.shape[2]))
            positions = positions.gather(1, wanted)
        if band is not None:
            columns = layout.column_positions
            seen = seen & (columns[:, None] > positions[:, :, None] - band)
            before = torch.arange(self.offset - tail, self.offset, device=seen.device)
            reached = before > positions[:, :, None] - band  # (B, T or Q, tail)
            seen = torch.cat([reached, seen], dim=2)
        return seen[:, None]

    def _store(self, layer: int, key: Tensor, value: Tensor) -> None:
        tokens, begin = key.shape[2], self.tails[layer] + self.longest
        if self.shortest == self.longest or self.layout is not None:
            self.keys[layer][:, :, begin : begin + tokens] = key
            self.values[layer][:, :, begin : begin + tokens] = value
            return
        rows = torch.arange(key.shape[0], device=key.device)[:, None]
        places = self.tails[layer] + self.lengths[:, None] + torch.arange(tokens, device=key.device)  # (B, T)
        self.keys[layer][rows, :, places] = key.transpose(1, 2)
        self.values[layer][rows, :, places] = value.transpose(1, 2)

"""Keys and values in buffers that stay where they are, so that a device can record a decode step and do it again.

A row holds one sequence, or none. How many tokens it has is known to the device, which decides from it where a new
token's keys and values go and what the token sees: the work of a step is the same whatever the lengths are.

A dense layer keeps own tokens at 0 .. length - 1. A layer with a band keeps the last of them alone, in a ring: the
token at position p lies in column p modulo the ring. A prefix that all rows follow is kept once for dense layers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from evalkit.decoder.attention import Scores, attend_one
from evalkit.decoder.cache import KVCache
from evalkit.decoder.config import DecoderConfig

TILE = 16  # columns; torch copies masks that are no multiple of it, for every layer
LEAST_COLUMNS = 64


@dataclass(frozen=True, slots=True)
class Shape:
    """What buffers have room for."""

    rows: int
    capacity: int  # own tokens of a row
    prefix: int  # tokens of a prefix; 0 where there is none

    def ring(self, band: int | None) -> int:
        """Count the columns of a layer."""
        return self.capacity if band is None else min(-(-band // TILE) * TILE, self.prefix + self.capacity)

    def numbers(self, config: DecoderConfig) -> int:
        """Count the numbers of all keys and values."""
        columns = sum(self.rows * self.ring(band) + (self.prefix if band is None else 0) for band in config.bands)
        return 2 * columns * config.kv_heads * config.head_size


def shape_for(*, rows: int, capacity: int, prefix: int) -> Shape:
    """Round up, so that few shapes serve all."""
    return Shape(
        rounded(rows, least=1),
        rounded(capacity, least=LEAST_COLUMNS),
        rounded(prefix, least=LEAST_COLUMNS) if prefix else 0,
    )


def rounded(count: int, *, least: int) -> int:
    """Round up to `least` times a power of two, or three quarters of that from three times `least` on."""
    size = doubled(count, least=least)
    fewer = size // 4 * 3
    return fewer if size >= 4 * least and fewer >= count else size


def doubled(count: int, *, least: int) -> int:
    """Round up to `least` times a power of two."""
    size = least
    while size < count:
        size *= 2
    return size


class StaticCache:
    """The KV cache of a decode step: one new token in every row."""

    def __init__(self, config: DecoderConfig, shape: Shape, *, store: Tensor) -> None:
        """Lay keys and values into a store of at least `shape.numbers(config)` numbers; `begin` before use."""
        self.config = config
        self.shape = shape
        self._begin = 0
        self._store = store
        heads, size = config.kv_heads, config.head_size

        def laid(rows: int, columns: int) -> tuple[Tensor, Tensor]:
            return self._take(rows, heads, columns, size), self._take(rows, heads, columns, size)

        self._own = [laid(shape.rows, shape.ring(band)) for band in config.bands]  # (B, G, S, D) each
        self._shared = [laid(1, shape.prefix) if shape.prefix and band is None else None for band in config.bands]
        device = store.device
        self.lengths = torch.zeros(shape.rows, dtype=torch.long, device=device)  # (B,) own tokens of each row
        self._offset = torch.zeros((), dtype=torch.long, device=device)  # tokens of the prefix
        self._rows = torch.arange(shape.rows, device=device)
        self._columns = shape.capacity  # of dense layers that the step reads
        self._places: dict[int | None, Tensor] = {}  # band -> (B,) the column that a new token goes to
        self._biases: dict[int | None, Tensor] = {}  # band -> (B, 1, 1, S) of what it sees

    def _take(self, *sizes: int) -> Tensor:
        begin, self._begin = self._begin, self._begin + math.prod(sizes)
        return self._store[begin : self._begin].view(sizes)

    def begin(self, prefix: KVCache | None) -> None:
        """Empty all rows, which from now on follow a prefix."""
        # Zeros, not whatever memory held: a masked position still counts with weight 0, and 0 x NaN is NaN.
        self._store[: self._begin].zero_()
        self.lengths.zero_()
        self._offset.fill_(0 if prefix is None else prefix.longest)
        for layer, shared in enumerate(self._shared):
            if shared is not None and prefix is not None:
                for old, new in zip((prefix.keys[layer], prefix.values[layer]), shared, strict=True):
                    new[:, :, : prefix.longest] = old[:, :, : prefix.longest]

    def load(self, places: Sequence[int], cache: KVCache, *, rows: Sequence[int]) -> None:
        """Put rows (n) of a cache with the same prefix in the rows at these places (n), whatever was there."""
        device = self.lengths.device
        chosen, taken = torch.tensor(rows, device=device), torch.tensor(places, device=device)
        lengths = cache.lengths[chosen]
        for layer, band in enumerate(self.config.bands):
            # In a ring are positions, from the first that the cache has; elsewhere own tokens are counted.
            totals = lengths if band is None else lengths + cache.offset
            first = 0 if band is None else cache.offset - cache.tails[layer]
            last = totals[:, None] - 1
            ring = self.shape.ring(band)
            held = last - (last - torch.arange(ring, device=device)) % ring  # (n, S): the latest that belongs there
            columns = (held - first).clamp(min=0)  # where nothing belongs, which is not seen, some token of the row
            for old, new in zip((cache.keys[layer], cache.values[layer]), self._own[layer], strict=True):
                new[taken] = old[chosen[:, None], :, columns].transpose(1, 2)
        self.lengths[taken] = lengths

    def export(self, places: Sequence[int], lengths: Sequence[int], *, prefix: KVCache | None) -> KVCache:
        """Make a cache of the rows at these places (n), of known lengths; a band's layers have what it reaches."""
        device = self.lengths.device
        longest = max(lengths)
        made = KVCache(
            self.config,
            rows=len(places),
            capacity=max(1, longest),
            device=device,
            dtype=self._store.dtype,
            prefix=prefix,
        )
        taken = torch.tensor(places, device=device)
        for layer, band in enumerate(self.config.bands):
            tail = made.tails[layer]
            for old, new in zip(self._own[layer], (made.keys[layer], made.values[layer]), strict=True):
                columns = torch.arange(longest, device=device)
                if band is not None:  # those before what the ring holds are beyond the band
                    columns = torch.arange(made.offset - tail, made.offset + longest, device=device)
                    columns = columns % self.shape.ring(band)
                new[:, :, : tail + longest] = old[taken][:, :, columns]
        made.set_lengths(list(lengths))
        return made

    def see(self, columns: int) -> None:
        """Prepare a step in which every row that counts has fewer own tokens than so many."""
        device, dtype = self.lengths.device, self._store.dtype
        self._columns = columns
        positions = self.lengths + self._offset
        for band in set(self.config.bands):
            if band is None:
                # A row that has ended may be longer: it writes over itself, and nobody reads it.
                place = self.lengths.clamp(max=columns - 1)
                seen = torch.arange(columns, device=device) <= place[:, None]
                if self.shape.prefix:
                    of_prefix = torch.arange(self.shape.prefix, device=device) < self._offset
                    seen = torch.cat([of_prefix.expand(len(place), -1), seen], dim=1)
            else:
                ring = self.shape.ring(band)
                place = positions % ring
                age = (positions[:, None] - torch.arange(ring, device=device)) % ring
                seen = (age < band) & (age <= positions[:, None])
            bias = torch.zeros(seen.shape, device=device, dtype=dtype).masked_fill_(~seen, -torch.inf)
            self._places[band], self._biases[band] = place, bias[:, None, None]

    def advance(self) -> None:
        """Count one more token in every row."""
        self.lengths += 1

    def positions(self, tokens: int) -> Tensor:
        """Give the positions of one new token a row: (B, 1)."""
        assert tokens == 1
        return (self.lengths + self._offset)[:, None]

    def end(self, tokens: int) -> int:  # noqa: ARG002  # as Past has it
        """Give the window, so that what is looked up for positions is made once."""
        return self.config.window

    def attend(
        self, layer: int, query: Tensor, key: Tensor, value: Tensor, *, scores: Scores, wanted: Tensor | None = None
    ) -> Tensor:
        """Store the keys and values (B, G, 1, D) of one new token a row, and attend to what `see` has prepared."""
        assert wanted is None
        band = self.config.bands[layer]
        keys, values = self._own[layer]
        place = self._places[band]
        keys[self._rows, :, place] = key[:, :, 0]
        values[self._rows, :, place] = value[:, :, 0]
        if band is None:
            keys, values = keys[:, :, : self._columns], values[:, :, : self._columns]
        return attend_one(query, (keys, values), bias=self._biases[band], scores=scores, prefix=self._shared[layer])

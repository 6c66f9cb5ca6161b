"""Compute trees of sequences, one row a tree and one forward a level: what sequences share is computed once.

The first level is a plain prefill. The nodes of a deeper one lie beside each other in the row of their tree, each at
its own positions, and see the stretches above them and themselves.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from evalkit.decoder import packed
from evalkit.decoder.cache import KVCache, Layout
from evalkit.decoder.model import Decoder
from evalkit.decoder.tree import Node


@dataclass(frozen=True, slots=True)
class Level:
    """What was computed of the nodes of one level."""

    nodes: Sequence[Node]
    hidden: Tensor  # (N, d) of the positions wanted of these nodes, one node after the other


@dataclass(slots=True)
class Forest:
    """Trees in one batch, after a prefix that all of them follow."""

    decoder: Decoder
    roots: Sequence[Node]
    wanted: Mapping[int, Sequence[int]]  # id of a node -> the positions in it whose hidden states are asked for
    prefix: KVCache | None
    is_kept: bool  # whether keys and values are used after the forest was computed
    room: int = 0  # tokens that may come after a row
    cache: KVCache | None = None
    columns: dict[int, tuple[int, range]] | None = None  # id of a node -> its row, and its columns in the cache

    def levels(self) -> Iterator[Level]:
        """Compute level after level."""
        rows = [[root] for root in self.roots]  # the nodes of this level in each row
        device, dtype = self.decoder.tokens.device, self.decoder.tokens.dtype
        self.columns = {}
        filled = 0
        is_needed = self.is_kept or any(root.children for root in self.roots)
        if is_needed or self.prefix is not None:
            capacity = _columns(self.roots) + self.room if is_needed else 0
            self.cache = KVCache(
                self.decoder.config, rows=len(rows), capacity=capacity, device=device, dtype=dtype, prefix=self.prefix
            )
        column_positions = torch.zeros(len(rows), 0, dtype=torch.long)
        while any(rows):
            longest = max(sum(node.length for node in nodes) for nodes in rows)
            laid = [torch.tensor(_tokens(nodes), dtype=torch.long) for nodes in rows]
            places = [_wanted(nodes, self.wanted) for nodes in rows]
            for row, nodes in enumerate(rows):
                begin = filled
                for node in nodes:
                    self.columns[id(node)] = (row, range(begin, begin + node.length))
                    begin += node.length
            if self.cache is not None:
                positions = _positions(rows, longest)
                column_positions = torch.cat([column_positions, positions], dim=1)
                if filled:
                    seen = self._seen(rows, filled=filled, longest=longest)
                    self.cache.layout = Layout(*(each.to(device) for each in (positions, column_positions, seen)))
            may_pack = not filled and self.prefix is None
            hidden = self._hidden(laid, places, may_pack=may_pack)  # (N, d)
            filled += longest
            if self.cache is not None:
                self.cache.layout = None
                self.cache.set_lengths([filled] * len(rows))
            yield Level([node for nodes in rows for node in nodes], hidden)
            rows = [[child for node in nodes for child in node.children] for nodes in rows]

    def _hidden(self, laid: Sequence[Tensor], places: Sequence[list[int]], *, may_pack: bool) -> Tensor:
        """Compute the hidden states (N, d) of the places that are asked for, row by row: packed, or padded."""
        if may_pack and packed.pays(self.decoder, list(map(len, laid))):
            return packed.prefill(self.decoder, laid, places, cache=self.cache)
        device = self.decoder.tokens.device
        tokens = pad_sequence(list(laid), batch_first=True).to(device)  # (B, T)
        width = max(1, *map(len, places))
        asked = torch.tensor([each + [0] * (width - len(each)) for each in places], device=device)  # (B, Q)
        is_asked = torch.arange(width) < torch.tensor([len(each) for each in places])[:, None]
        hidden = self.decoder(tokens, cache=self.cache, wanted=asked)  # (B, Q, d)
        return hidden[is_asked.to(device)]  # type: ignore[no-any-return]  # nn.Module calls are untyped

    def hand_over(self, nodes: Sequence[Node], *, capacity: int) -> KVCache:
        """Give a cache whose rows end with these nodes, a row for each: the forest's own where they are its rows."""
        assert self.cache is not None
        assert self.columns is not None
        are_rows = list(map(id, nodes)) == list(map(id, self.roots))
        if are_rows and capacity <= self.cache.capacity:
            cache, self.cache = self.cache, None
            cache.set_lengths([node.length for node in nodes])
            return cache
        paths = [[self.columns[id(step)] for step in _path(node)] for node in nodes]
        ranges = [[columns for _, columns in path] for path in paths]
        return self.cache.extract([path[0][0] for path in paths], ranges, capacity=capacity)

    def _seen(self, rows: Sequence[Sequence[Node]], *, filled: int, longest: int) -> Tensor:
        """Say which columns the tokens of a level see: (B, T, S)."""
        assert self.columns is not None
        seen = torch.zeros(len(rows), longest, filled + longest, dtype=torch.bool)
        for row, nodes in enumerate(rows):
            begin = 0
            for node in nodes:
                end = begin + node.length
                for step in _path(node)[:-1]:
                    columns = self.columns[id(step)][1]
                    seen[row, begin:end, columns.start : columns.stop] = True
                own = torch.ones(node.length, node.length, dtype=torch.bool).tril()
                seen[row, begin:end, filled + begin : filled + end] = own
                begin = end
            seen[row, begin:, 0] = True  # what pads a row has to see something
        return seen


def _positions(rows: Sequence[Sequence[Node]], longest: int) -> Tensor:
    """Give the positions of the tokens of a level: (B, T)."""
    positions = torch.zeros(len(rows), longest, dtype=torch.long)
    for row, nodes in enumerate(rows):
        found = [position for node in nodes for position in range(node.begin, node.end)]
        positions[row, : len(found)] = torch.tensor(found, dtype=torch.long)
    return positions


def _tokens(nodes: Sequence[Node]) -> list[int]:
    return [token for node in nodes for token in node.tokens]


def _wanted(nodes: Sequence[Node], wanted: Mapping[int, Sequence[int]]) -> list[int]:
    """Find the wanted positions among the tokens of nodes that lie beside each other."""
    found, begin = [], 0
    for node in nodes:
        found += [begin + position - node.begin for position in wanted.get(id(node), ())]
        begin += node.length
    return found


def _path(node: Node) -> list[Node]:
    """List the nodes from the root of a row to this one."""
    path = [node]
    while path[-1].parent is not None:
        path.append(path[-1].parent)
    return path[::-1]


def _columns(roots: Sequence[Node]) -> int:
    """Count the columns that the levels of trees take, each as many as its longest row."""
    rows: list[list[Node]] = [[root] for root in roots]
    total = 0
    while any(rows):
        total += max(sum(node.length for node in nodes) for nodes in rows)
        rows = [[child for node in nodes for child in node.children] for nodes in rows]
    return total

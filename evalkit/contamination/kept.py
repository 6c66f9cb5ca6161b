"""Rows of matches in bounded memory: where there are too many, each group of them keeps its longest."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray


@dataclass(slots=True)
class Kept:
    """Rows in the order they came, all of them until there are more than `limit`.

    From then on each group, the rows that are equal in the columns `by`, keeps the `most` with the largest value in the
    column `length`, of equal ones the first; without a `length`, the first `most`.
    """

    columns: int
    by: tuple[int, ...]
    length: int | None
    limit: int
    most: int
    is_cut: bool = False
    _parts: list[NDArray[np.int64]] = field(default_factory=list)
    _held: int = 0
    _after: int = 0  # held after the last cut

    def add(self, rows: NDArray[np.int64]) -> None:
        """Take more rows, (M, columns)."""
        if not len(rows):
            return
        self._parts.append(rows.copy())
        self._held += len(rows)
        if self._held > 2 * max(self.limit, self._after):
            self._cut()

    def rows(self) -> NDArray[np.int64]:
        """Give what is kept, (M, columns)."""
        if self.is_cut or self._held > self.limit:
            self._cut()
        return np.concatenate([np.zeros((0, self.columns), np.int64), *self._parts])

    def _cut(self) -> None:
        rows = np.concatenate(self._parts)
        group = [rows[:, column] for column in self.by]
        size = np.zeros(len(rows), np.int64) if self.length is None else -rows[:, self.length]
        order = np.lexsort((size, *group))  # lexsort is stable, so of equal rows the first stays first
        is_new = np.ones(len(rows), bool)
        is_new[1:] = np.any([np.diff(each[order]) != 0 for each in group], axis=0)
        begins = np.flatnonzero(is_new)
        rank = np.arange(len(rows)) - np.repeat(begins, np.diff(np.append(begins, len(rows))))
        rows = rows[np.sort(order[rank < self.most])]
        self._parts, self._held, self._after, self.is_cut = [rows], len(rows), len(rows), True

"""Bounded rows: all of them while there are few, then the longest of each group."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from evalkit.contamination.kept import Kept

ROWS = st.lists(st.tuples(st.integers(0, 3), st.integers(1, 5)), max_size=60)


def rows(pairs: list[tuple[int, int]]) -> NDArray[np.int64]:
    """Give each pair of group and length its place in the stream as a third column."""
    return np.array([(*pair, place) for place, pair in enumerate(pairs)], np.int64).reshape(-1, 3)


def feed(kept: Kept, given_rows: NDArray[np.int64], step: int) -> list[list[int]]:
    for begin in range(0, len(given_rows), step):
        kept.add(given_rows[begin : begin + step])
    return kept.rows().tolist()


@given(ROWS, st.integers(1, 9))
def test_few_rows_all_stay_in_their_order(pairs: list[tuple[int, int]], step: int) -> None:
    kept = Kept(3, by=(0,), length=1, limit=60, most=1)
    assert feed(kept, rows(pairs), step) == rows(pairs).tolist()
    assert not kept.is_cut


@given(ROWS, st.integers(1, 9), st.integers(1, 3))
def test_of_many_rows_the_longest_stay_however_they_come(pairs: list[tuple[int, int]], step: int, most: int) -> None:
    kept = Kept(3, by=(0,), length=1, limit=10, most=most)
    expected = [
        row
        for group in range(4)
        for row in sorted((row for row in rows(pairs).tolist() if row[0] == group), key=lambda row: -row[1])[:most]
    ]
    if len(pairs) > 10:
        assert feed(kept, rows(pairs), step) == sorted(expected, key=lambda row: row[2])


def test_without_a_length_the_first_stay() -> None:
    kept = Kept(3, by=(0,), length=None, limit=2, most=2)
    assert feed(kept, rows([(0, 1), (0, 9), (0, 9), (1, 1)]), 1) == [[0, 1, 0], [0, 9, 1], [1, 1, 3]]

"""Ranges of rows are what a plain set of their numbers is."""

from __future__ import annotations

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from deeptool.columns.row_ranges import RowRanges

spans = st.tuples(st.integers(0, 30), st.integers(0, 8)).map(lambda s: (s[0], s[0] + s[1]))


def numbers(ranges: list[tuple[int, int]]) -> list[int]:
    return [row for start, stop in ranges for row in range(start, stop)]


@given(st.lists(spans, max_size=20), spans, st.lists(st.integers(0, 40), max_size=4))
def test_ranges_are_the_set_of_their_rows(
    added: list[tuple[int, int]], asked: tuple[int, int], rows: list[int]
) -> None:
    ranges, expected = RowRanges(), set()
    for start, stop in added:
        ranges.add(start, stop)
        expected |= set(range(start, stop))
    assert ranges.count == len(expected)
    missing = ranges.missing(*asked)
    assert numbers(missing) == [row for row in range(*asked) if row not in expected]
    assert all(start < stop for start, stop in missing)
    assert all(one[1] < next_[0] for one, next_ in itertools.pairwise(missing))
    assert ranges.holds(np.array(rows, np.int64)) == (set(rows) <= expected)


def test_neighbours_become_one_range() -> None:
    ranges = RowRanges()
    for start in (4, 0, 2):
        ranges.add(start, start + 2)
    assert ranges._starts == [0]
    assert ranges._stops == [6]

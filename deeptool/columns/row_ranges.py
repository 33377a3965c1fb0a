"""Which rows there are: ranges of row numbers."""

from __future__ import annotations

from bisect import bisect_left, bisect_right

import numpy as np

from deeptool.columns.columns import Rows


class RowRanges:
    """A set of row numbers, kept as ranges that neither overlap nor touch.

    Attributes
    ----------
    count : int
        How many rows are in it.
    """

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._stops: list[int] = []
        self.count = 0
        # Of the ranges, for NumPy; made again when they have changed.
        self._bounds: tuple[Rows, Rows] | None = None

    def add(self, start: int, stop: int) -> None:
        """Put rows start, ..., stop - 1 in; those that are in it already stay."""
        if start >= stop:
            return
        self.count += sum(high - low for low, high in self.missing(start, stop))
        low, high = bisect_left(self._stops, start), bisect_right(self._starts, stop)
        if low < high:
            start, stop = min(start, self._starts[low]), max(stop, self._stops[high - 1])
        self._starts[low:high], self._stops[low:high] = [start], [stop]
        self._bounds = None

    def missing(self, start: int, stop: int) -> list[tuple[int, int]]:
        """The ranges of rows start, ..., stop - 1 that are not in it, in ascending order."""
        found = []
        for place in range(bisect_right(self._stops, start), bisect_left(self._starts, stop)):
            if start < self._starts[place]:
                found.append((start, self._starts[place]))
            start = self._stops[place]
        if start < stop:
            found.append((start, stop))
        return found

    def holds(self, rows: Rows) -> bool:
        """Whether all of these rows are in it."""
        if self._bounds is None:
            self._bounds = np.array(self._starts, np.int64), np.array(self._stops, np.int64)
        starts, stops = self._bounds
        if not len(starts):
            return not len(rows)
        place = np.searchsorted(starts, rows, side="right") - 1
        return bool(((place >= 0) & (rows < stops[place])).all())

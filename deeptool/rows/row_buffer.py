"""A buffer of rows in random order, whose memory does not grow."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from deeptool.codec.structure import Leaf
from deeptool.codec.values import Array, Leaves, rows, slice_rows
from deeptool.rows.row_bytes import row_bytes
from deeptool.rows.row_columns import RowColumn, make_column


class RowBuffer:
    """Rows go in, other rows come out, each as likely as any that is in it.

    Rows are moved by whole columns; only ragged leaves are cut into single rows on their way in.

    Parameters
    ----------
    leaves : tuple of Leaf
        What a row consists of.
    memory : int
        Bytes that it may hold, about.
    stored : float
        The bytes that a row takes in a record, on average.
    most_rows : int
        Rows that will ever come.
    rng : Generator
        Draws the rows.
    """

    def __init__(
        self,
        leaves: tuple[Leaf, ...],
        memory: int,
        stored: float,
        most_rows: int,
        rng: np.random.Generator,
    ) -> None:
        self._leaves, self._memory, self._rng = leaves, memory, rng
        self._capacity = max(1, min(most_rows, int(memory / max(row_bytes(leaves, stored), 1))))
        self._held, self._held_bytes = 0, 0.0
        self._columns: tuple[RowColumn, ...] = ()
        self._weights: Array = np.zeros(0)

    def __len__(self) -> int:
        return self._held

    def exchange(self, leaves: Leaves, stored: float) -> Iterator[Leaves]:
        """Take rows in, and give out as many others as no longer fit.

        Parameters
        ----------
        leaves : Leaves
        stored : float
            The bytes that they took in records, all together.
        """
        if not self._columns:
            self._columns = tuple(make_column(value, self._capacity) for value in leaves)
            self._weights = np.zeros(self._capacity)
        count = rows(leaves)
        weight = row_bytes(self._leaves, stored / count)
        step = max(1, self._capacity // 2)
        for start in range(0, count, step):
            piece = slice_rows(leaves, start, min(start + step, count))
            yield from self._exchange(piece, weight)

    def draw(self, most: int) -> Leaves:
        """Give out up to `most` rows."""
        return self._take(min(most, self._held))

    def drain(self, count: int) -> Iterator[Leaves]:
        """Give out all rows, `count` at a time."""
        order = self._rng.permutation(self._held)
        for start in range(0, len(order), count):
            yield self._get(order[start : start + count])
        self._held, self._held_bytes = 0, 0.0

    def _exchange(self, new: Leaves, weight: float) -> Iterator[Leaves]:
        count = rows(new)
        excess = self._held + count - self._capacity
        over = self._held_bytes + count * weight - self._memory
        if over > 0 and self._held:
            # Rows can be larger than the average said.
            excess = max(excess, int(np.ceil(over / (self._held_bytes / self._held))))
        if excess > 0 and self._held:
            yield self._take(min(excess, self._held))
        slots = slice(self._held, self._held + count)
        for column, value in zip(self._columns, new, strict=True):
            column.put(slots, value)
        self._weights[slots] = weight
        self._held += count
        self._held_bytes += count * weight

    def _take(self, count: int) -> Leaves:
        """`count` random rows; the last ones move to where those were."""
        chosen = self._rng.choice(self._held, count, replace=False)
        taken = self._get(chosen)
        self._held_bytes -= float(self._weights[chosen].sum())
        left = self._held - count
        gaps = chosen[chosen < left]
        last = np.ones(count, dtype=bool)
        last[chosen[chosen >= left] - left] = False
        movers = np.flatnonzero(last) + left
        for column in self._columns:
            column.move(movers, gaps)
        self._weights[gaps] = self._weights[movers]
        self._held = left
        return taken

    def _get(self, slots: Array) -> Leaves:
        return tuple(column.get(slots) for column in self._columns)

"""Rows in memory, each at a place of its own that is used again once the row was given out."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from deeptool.codec.values import Leaves, rows
from deeptool.rows.row_columns import RowColumn, make_column

Slots = npt.NDArray[np.int64]


class RowPool:
    """Holds up to `capacity` rows; memory is taken up when the first ones are put in.

    Parameters
    ----------
    capacity : int
        Rows.
    """

    def __init__(self, capacity: int) -> None:
        self._free = np.arange(capacity, dtype=np.int64)[::-1].copy()
        self._free_count = capacity
        self._columns: tuple[RowColumn, ...] = ()

    @property
    def free(self) -> int:
        """How many more rows it takes."""
        return self._free_count

    def put(self, leaves: Leaves) -> Slots:
        """Keep rows, at most as many as are `free`.

        Returns
        -------
        ndarray of int64, shape (rows,)
            Where each of them is.
        """
        if not self._columns:
            self._columns = tuple(make_column(value, len(self._free)) for value in leaves)
        left = self._free_count - rows(leaves)
        slots = self._free[left : self._free_count][::-1].copy()
        for column, value in zip(self._columns, leaves, strict=True):
            column.put(slots, value)
        self._free_count = left
        return slots

    def take(self, slots: Slots) -> Leaves:
        """Give out these rows, in this order; others may take their places."""
        leaves = tuple(column.get(slots) for column in self._columns)
        self.release(slots)
        return leaves

    def release(self, slots: Slots) -> None:
        """Give up these rows."""
        self._free[self._free_count : self._free_count + len(slots)] = slots
        self._free_count += len(slots)

"""The rows of groups in memory: one is given out while the next ones are put in."""

from __future__ import annotations

import numpy as np

from deeptool.codec.values import Leaves, slice_rows
from deeptool.errors import WorkError
from deeptool.orders.windowed_order import Windowed
from deeptool.rows.group_reads import RecordsRead
from deeptool.rows.row_chunks import Chunk
from deeptool.rows.row_pool import RowPool, Slots

_NONE = -1


class GroupPool:
    """Rows of several groups of an order.

    Parameters
    ----------
    order : Windowed
    capacity : int
        Rows.
    """

    def __init__(self, order: Windowed, capacity: int) -> None:
        self._order, self._pool = order, RowPool(capacity)
        # Per group that is not given out yet: where its rows are, as far as they are there.
        self._slots: dict[int, Slots] = {}
        # Where the rows of the group that is given out are, by their places.
        self._giving: Slots = np.zeros(0, np.int64)
        self._given = self._begins = 0

    @property
    def free(self) -> int:
        """How many more rows it takes."""
        return self._pool.free

    @property
    def left(self) -> int:
        """How many rows of the group that is given out are left."""
        return len(self._giving) - self._given

    @property
    def place(self) -> int:
        """The place of the next row that is given out."""
        return self._begins + self._given

    @property
    def given_share(self) -> float:
        """How much of that group is given out, from 0 to 1."""
        return self._given / max(len(self._giving), 1)

    def put(self, read: RecordsRead, chunk: Chunk) -> None:
        """Keep those rows of a chunk that the plan says; ``chunk.first`` counts within the pass."""
        for piece in read.pieces:
            first = max(piece.first, chunk.first)
            stop = min(piece.stop, chunk.first + len(chunk.leaves[0]))
            if first < stop:
                rows = slice_rows(chunk.leaves, first - chunk.first, stop - chunk.first)
                begin = piece.begin + first - piece.first
                self._slots_of(piece.group)[begin : begin + stop - first] = self._pool.put(rows)

    def begin(self, number: int, skipped: int) -> None:
        """Give out group `number` from now on, without its first `skipped` places.

        Raises
        ------
        WorkError
            Some of its rows are not there.
        """
        slots = self._slots_of(number)
        del self._slots[number]
        lacking = int((slots == _NONE).sum())
        if lacking:
            raise WorkError(
                "records do not hold all rows that the catalog says",
                seen=f"{lacking} of {len(slots)} rows of a group are missing",
                next_step="deeptool check lists what is damaged; upload it again with --replace",
            )
        self._giving, self._given = slots[self._order.draw(number)], skipped
        self._begins = self._order.group(number).start
        self._pool.release(self._giving[:skipped])

    def give(self, most: int) -> Leaves:
        """The rows at the next places, at most so many."""
        slots = self._giving[self._given : self._given + most]
        self._given += len(slots)
        return self._pool.take(slots)

    def _slots_of(self, number: int) -> Slots:
        if number not in self._slots:
            group = self._order.group(number)
            self._slots[number] = np.full(group.stop - group.start, _NONE)
        return self._slots[number]

"""The rows of a pass in the files of its shards, as if they were one file."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from deeptool.codec.values import Array, Leaves, Ragged, Value, concat_rows
from deeptool.columns.columns import PATIENCE, Rows
from deeptool.columns.filled_rows import RowStore
from deeptool.columns.gather import indices_of, splits_of


class PassColumns:
    """See `deeptool.columns.columns.Columns`: all rows are there from the beginning.

    Parameters
    ----------
    stores : sequence of RowStore
        Those of each shard; whoever opened them closes them.
    """

    def __init__(self, stores: Sequence[RowStore]) -> None:
        self._stores = stores
        self._ends = np.cumsum([store.samples for store in stores], dtype=np.int64)
        self.samples = int(self._ends[-1])

    def take(self, rows: Rows) -> Leaves:
        """See `deeptool.columns.columns.Columns`."""
        if len(rows) and not 0 <= rows.min() <= rows.max() < self.samples:
            raise IndexError(f"rows {rows.min()} to {rows.max()} of {self.samples}")
        if len(self._stores) == 1:
            return self._stores[0].take(rows)
        shards = np.searchsorted(self._ends, rows, side="right")
        order = np.argsort(shards, kind="stable")
        present = np.unique(shards).tolist() or [0]
        parts = [
            self._stores[shard].take(rows[shards == shard] - self._begin(shard))
            for shard in present
        ]
        back = np.empty_like(order)
        back[order] = np.arange(len(order))
        return tuple(_picked(value, back) for value in concat_rows(parts))

    def slice(self, start: int, stop: int) -> Leaves:
        """See `deeptool.columns.columns.Columns`: views, but where a shard ends between."""
        if not 0 <= start <= stop <= self.samples:
            raise IndexError(f"rows {start} to {stop} of {self.samples}")
        parts = []
        for shard, store in enumerate(self._stores):
            begin = self._begin(shard)
            low, high = max(start - begin, 0), min(stop - begin, store.samples)
            if low < high or (start == stop and not shard):
                parts.append(store.slice(min(low, store.samples), max(low, high)))
        return concat_rows(parts)

    def wait(self, windows: Sequence[tuple[int, int]], timeout: float = PATIENCE) -> None:
        """See `deeptool.columns.columns.Columns`: returns at once."""

    def close(self) -> None:
        """See `deeptool.columns.columns.Columns`: nothing is held."""

    def _begin(self, shard: int) -> int:
        return int(self._ends[shard - 1]) if shard else 0


def _picked(value: Value, rows: Rows) -> Value:
    """Rows of a leaf, in that order."""
    if not isinstance(value, Ragged):
        taken: Array = np.take(value, rows, axis=0)
        return taken
    splits = []
    for level in value.row_splits:
        lengths = np.diff(level)[rows].astype(np.int64)
        splits.append(splits_of(lengths).astype(level.dtype))
        rows = indices_of(level[rows].astype(np.int64), lengths)
    return Ragged(np.take(value.flat_values, rows, axis=0), tuple(splits))

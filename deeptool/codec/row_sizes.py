"""About how many bytes each sample takes in a record, before it is encoded."""

from __future__ import annotations

import numpy as np

from deeptool.codec.values import Array, Leaves, Ragged, Value, rows


def stored_row_bytes(leaves: Leaves) -> Array:
    """About how many bytes each sample of a batch takes."""
    total: Array = np.ones(rows(leaves), dtype=np.int64)
    for value in leaves:
        total = total + _leaf_bytes(value)
    return total


def _leaf_bytes(value: Value) -> Array:
    if not isinstance(value, Ragged):
        return _flat_bytes(value)
    # Bytes up to each flat row, then looked up at the ends of the rows around them.
    ends = np.concatenate([[0], np.cumsum(_flat_bytes(value.flat_values))])
    for splits in reversed(value.row_splits):
        ends = ends[splits] + 4 * np.arange(len(splits))
    widths: Array = np.diff(ends)
    return widths


def _flat_bytes(flat: Array) -> Array:
    count = len(flat)
    if flat.dtype != object:
        size = flat.itemsize * int(np.prod(flat.shape[1:], dtype=np.int64))
        return np.full(count, size, dtype=np.int64)
    lengths = np.fromiter(map(len, flat.reshape(-1)), dtype=np.int64, count=flat.size)
    width: Array = lengths.reshape(count, flat.size // count if count else 0).sum(axis=1)
    return width + 4 * (flat.size // count if count else 0)

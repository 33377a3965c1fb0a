"""Columns of rows that are put in and taken out at any place: NumPy arrays, or ragged rows."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, Protocol

import numpy as np

from deeptool.codec.array_blocks import empty_array
from deeptool.codec.values import Array, Ragged, Value


class RowColumn(Protocol):
    """One leaf of rows in numbered slots."""

    def put(self, slots: Array | slice, value: Any) -> None: ...

    def get(self, slots: Array) -> Value: ...

    def move(self, source: Array, target: Array) -> None: ...


def make_column(value: Value, capacity: int) -> RowColumn:
    """A column of `capacity` slots for rows like those of `value`."""
    return _Ragged(value, capacity) if isinstance(value, Ragged) else _Dense(value, capacity)


class _Dense:
    def __init__(self, like: Array, capacity: int) -> None:
        self._rows = np.empty((capacity, *like.shape[1:]), like.dtype)
        size = like.dtype.itemsize * int(np.prod(like.shape[1:], dtype=np.int64))
        # NumPy puts rows of several numbers to chosen places number by number. As one opaque value
        # each they are copied whole, 15 times as fast for rows of 12 KB.
        self._opaque = None if like.dtype.hasobject or not size else np.dtype((np.void, size))
        self._whole = self._as_opaque(self._rows)

    def put(self, slots: Array | slice, value: Array) -> None:
        self._whole[slots] = self._as_opaque(value)

    def get(self, slots: Array) -> Value:
        out = empty_array((len(slots), *self._rows.shape[1:]), self._rows.dtype)
        # NumPy's check of the slots would take a copy of what it fills.
        return self._rows.take(slots, axis=0, out=out, mode="clip")

    def move(self, source: Array, target: Array) -> None:
        self._whole[target] = self._whole[source]

    def _as_opaque(self, value: Array) -> Array:
        if self._opaque is None:
            return value
        whole: Array = np.ascontiguousarray(value).reshape(-1).view(self._opaque)
        return whole


class _Ragged:
    """For each row: the lengths of its inner ragged dimensions, and its flat values."""

    def __init__(self, like: Ragged, capacity: int) -> None:
        self._like = like.flat_values[:0]
        self._splits_dtype = like.row_splits[0].dtype
        self._parts = [np.empty(capacity, dtype=object) for _ in like.row_splits]

    def put(self, slots: Array | slice, value: Ragged) -> None:
        bounds = value.row_splits[0]
        for part, splits in zip(self._parts[:-1], value.row_splits[1:], strict=True):
            part[slots] = _cut(np.diff(splits), bounds)
            bounds = splits[bounds]
        self._parts[-1][slots] = _cut(value.flat_values, bounds)

    def get(self, slots: Array) -> Value:
        pieces = [part[slots] for part in self._parts]
        lengths = [np.fromiter(map(len, pieces[0]), np.int64, len(slots))]
        lengths += [np.concatenate(list(piece)) for piece in pieces[:-1]]
        splits = tuple(
            np.concatenate([[0], np.cumsum(length)]).astype(self._splits_dtype)
            for length in lengths
        )
        return Ragged(np.concatenate([self._like, *pieces[-1]]), splits)

    def move(self, source: Array, target: Array) -> None:
        for part in self._parts:
            part[target] = part[source]


def _cut(values: Array, bounds: Array) -> Array:
    pieces = np.empty(len(bounds) - 1, dtype=object)
    edges = bounds.tolist()
    for row, (start, stop) in enumerate(pairwise(edges)):
        # A copy: a view would keep the whole record.
        pieces[row] = values[start:stop].copy()
    return pieces

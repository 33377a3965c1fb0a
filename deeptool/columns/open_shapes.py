"""Leaves whose dimensions are open, as leaves that one schema holds for all of their shapes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from deeptool.codec.structure import Leaf
from deeptool.codec.values import Array, Leaves, Ragged, Value
from deeptool.errors import WorkError


class StoredLeaf:
    """One leaf as a file of rows of many sizes holds it.

    One with open dimensions is a list of values for each of its (inner) rows, and beside it the
    shape that they had.

    Parameters
    ----------
    path : str
    leaf : Leaf
    """

    def __init__(self, path: str, leaf: Leaf) -> None:
        self.path, self.leaf = path, leaf
        self._open = None in leaf.inner

    def leaves(self) -> Iterator[tuple[str, Leaf]]:
        """What is stored: names and leaves."""
        if not self._open:
            yield self.path, self.leaf
            return
        rank = self.leaf.ragged_rank + 1
        # As long as a path escapes "~", this is the name of no other leaf.
        yield self.path, Leaf(self.leaf.dtype, (None,) * (rank + 1), rank)
        yield f"{self.path}~shape", Leaf("int64", (None, len(self.leaf.inner)))

    def to_stored(self, value: Value, count: int) -> Iterator[Value]:
        """The values of `leaves`, of `count` rows."""
        if not self._open:
            yield value
            return
        splits = value.row_splits if isinstance(value, Ragged) else ()
        flat = value.flat_values if isinstance(value, Ragged) else value
        inner = np.array(flat.shape[1:], np.int64)
        ends = np.arange(len(flat) + 1) * int(inner.prod())
        yield Ragged(flat.reshape(-1), (*(s.astype(np.int64) for s in splits), ends))
        yield np.broadcast_to(inner, (count, len(inner)))

    def from_stored(self, values: Iterator[Value]) -> Value:
        """The inverse of `to_stored`, of any rows that have one shape.

        Raises
        ------
        WorkError
            They have several.
        """
        value = next(values)
        if not self._open or not isinstance(value, Ragged):
            return value
        shapes = np.unique(np.asarray(next(values)), axis=0)
        if len(shapes) > 1:
            raise WorkError(
                f"samples of several shapes cannot be in one batch: leaf '{self.path}'",
                seen=", ".join(str(tuple(shape)) for shape in shapes[:3].tolist()),
                next_step="give a padding_value",
            )
        inner = shapes[0].tolist() if len(shapes) else [size or 0 for size in self.leaf.inner]
        *outer, ends = value.row_splits
        flat: Array = value.flat_values.reshape(len(ends) - 1, *inner)
        dtype = self.leaf.row_splits_dtype
        return Ragged(flat, tuple(s.astype(dtype) for s in outer)) if outer else flat


def to_stored(stored: list[StoredLeaf], leaves: Leaves, count: int) -> Leaves:
    """What is stored of a batch."""
    return tuple(
        part
        for leaf, value in zip(stored, leaves, strict=True)
        for part in leaf.to_stored(value, count)
    )


def from_stored(stored: list[StoredLeaf], values: Leaves) -> Leaves:
    """The batch that was stored."""
    remaining = iter(values)
    return tuple(leaf.from_stored(remaining) for leaf in stored)

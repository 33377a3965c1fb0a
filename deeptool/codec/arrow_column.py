"""One leaf of a spec as a column of Arrow, in a record or in a file that is memory-mapped."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from deeptool.codec.leaf_groups import LeafGroup
from deeptool.codec.structure import Leaf
from deeptool.codec.values import Array, Ragged, Value, numpy_dtype
from deeptool.errors import WorkError

# NumPy's view of the bytes, for the dtypes that Arrow lacks.
_STORED: dict[str, np.dtype[Any]] = {
    "bfloat16": np.dtype(np.uint16),
    "complex64": np.dtype(np.float32),
    "complex128": np.dtype(np.float64),
}
# Offsets of Arrow's lists are int32 in records; the larger kind would double them there.
_LONGEST_LIST = 2**31 - 1


def column_name(group: LeafGroup, paths: tuple[str, ...]) -> str:
    """Of a group: its first and its last leaf, which no other has."""
    first, last = paths[group.members[0]], paths[group.members[-1]]
    return first if first == last else f"{first}..{last}"


class ArrowColumn:
    """One leaf of the spec as a column.

    Parameters
    ----------
    path : str
        Its name in the spec.
    leaf : Leaf
    mapped : bool
        For a file that is memory-mapped: booleans take a byte each, so that NumPy reads them in
        place, and offsets of lists and strings are int64.

    Attributes
    ----------
    metadata : dict of bytes to bytes
        Of the column's field.
    dtype, stored : np.dtype
        Of the values, and of what Arrow holds for them.
    parts : tuple of int
        One more dimension of what is stored: (2,) for complex numbers.
    """

    def __init__(self, path: str, leaf: Leaf, mapped: bool = False) -> None:
        self.path, self.leaf, self._mapped = path, leaf, mapped
        self.metadata = {b"dtype": leaf.dtype.encode()}
        self.dtype = numpy_dtype(leaf.dtype)
        self.string, self._bits = leaf.dtype == "string", leaf.dtype == "bool" and not mapped
        self.parts = (2,) if leaf.dtype.startswith("complex") else ()
        self.stored = _STORED.get(leaf.dtype, self.dtype)
        if leaf.dtype == "bool" and mapped:
            self.stored = np.dtype(np.uint8)
        binary = pa.large_binary() if mapped else pa.binary()
        self.type = binary if self.string else pa.from_numpy_dtype(self.stored)

    def field(self, kind: pa.DataType) -> pa.Field:
        """The column's field, of the type that its array has."""
        return pa.field(self.path, kind, nullable=False, metadata=self.metadata)

    def over(self, values: pa.Buffer, count: int) -> pa.Array:
        """The column of `count` rows of a leaf of one known shape, over the memory of its values.

        Raises
        ------
        ValueError
            Rows of this leaf have no fixed size.
        """
        if self.string or not self.leaf.fixed:
            raise ValueError(f"leaf '{self.path}' has no fixed size: {self.leaf}")
        inner = (*(size or 0 for size in self.leaf.inner), *self.parts)
        size = count * int(np.prod(inner, dtype=np.int64))
        return self._of_rows(pa.Array.from_buffers(self.type, size, [None, values]), inner, count)

    def check(self, value: Value, count: int) -> None:
        """Whether a batch of `count` rows holds this for the leaf.

        Raises
        ------
        WorkError
            It is not what the spec says.
        """
        splits = value.row_splits if isinstance(value, Ragged) else ()
        flat = value.flat_values if isinstance(value, Ragged) else value
        for what, seen, valid in (
            ("number of samples", len(value), count),
            ("number of ragged dimensions", len(splits), self.leaf.ragged_rank),
            ("dtype", str(flat.dtype), str(self.dtype)),
        ):
            if seen != valid:
                raise WorkError(
                    f"leaf '{self.path}' has another {what} than it should",
                    seen=seen,
                    valid=str(valid),
                )
        if not self.leaf.fits(flat.shape[1:]):
            raise WorkError(
                f"leaf '{self.path}' has another shape than the element_spec says",
                seen=str(flat.shape),
                valid=str(self.leaf),
            )

    def to_arrow(self, value: Value, count: int) -> pa.Array:
        self.check(value, count)
        splits = value.row_splits if isinstance(value, Ragged) else ()
        flat = value.flat_values if isinstance(value, Ragged) else value
        inner = (*flat.shape[1:], *self.parts)
        column = self._of_rows(self._values(flat), inner, len(flat), nested=bool(splits))
        for row_splits in reversed(splits):
            column = self._list(column, row_splits)
        return column

    def _of_rows(
        self, values: pa.Array, inner: tuple[int, ...], count: int, nested: bool = False
    ) -> pa.Array:
        """`count` rows of shape `inner`; `nested`: which are the values of a list."""
        # Arrow's tensor type needs fixed-width values, and rows of at least one dimension.
        if nested or self.string or inner == self.parts:
            return _fixed_lists(values, inner, count)
        tensor = pa.fixed_shape_tensor(self.type, inner)
        storage = _fixed_lists(values, (tensor.storage_type.list_size,), count)
        return pa.ExtensionArray.from_storage(tensor, storage)

    def from_arrow(self, field: pa.Field, column: pa.Array) -> Value:
        offsets: list[Array] = []
        while len(offsets) < self.leaf.ragged_rank and isinstance(
            column.type, (pa.ListType, pa.LargeListType)
        ):
            offsets.append(column.offsets.to_numpy().astype(self.leaf.row_splits_dtype))
            column = column.values
        count, shape, nulls = len(column), _inner_shape(column.type), 0
        while isinstance(column.type, (pa.FixedSizeListType, pa.FixedShapeTensorType)):
            nulls += column.null_count
            column = column.storage if isinstance(column, pa.ExtensionArray) else _flat(column)
        inner = shape[: len(shape) - len(self.parts)]
        if (
            (field.metadata or {}).get(b"dtype") != self.metadata[b"dtype"]
            or len(offsets) != self.leaf.ragged_rank
            or column.type != self.type
            or nulls + column.null_count
            or shape != (*inner, *self.parts)
            or not self.leaf.fits(inner)
        ):
            dtype = (field.metadata or {}).get(b"dtype", b"?").decode(errors="replace")
            raise WorkError(
                f"column '{self.path}' of a stored record is not what the element_spec says",
                seen=f"{field.type} holding {dtype}",
                valid=str(self.leaf),
                next_step="the topic holds another dataset than the catalog says: upload it again",
            )
        flat: Array = column.to_numpy(zero_copy_only=not (self.string or self._bits))
        flat = (flat if self.string else flat.view(self.dtype)).reshape(count, *inner)
        return Ragged(flat, tuple(offsets)) if offsets else flat

    def _values(self, flat: Array) -> pa.Array:
        """All values in one row, as an Arrow array over the same memory where that is possible."""
        flat = np.ascontiguousarray(flat).reshape(-1)
        if not self.string:
            return pa.array(flat.view(self.stored), type=self.type)
        for text in flat:
            if not isinstance(text, bytes):
                raise WorkError(
                    f"leaf '{self.path}' holds something else than bytes", seen=repr(text)
                )
        return pa.array(flat, type=self.type)

    def _list(self, values: pa.Array, row_splits: Array) -> pa.Array:
        if self._mapped:
            splits = pa.array(row_splits.astype(np.int64, copy=False))
            return pa.LargeListArray.from_arrays(splits, values)
        if len(values) > _LONGEST_LIST:
            raise WorkError(
                f"leaf '{self.path}' has too many values for one record", seen=len(values)
            )
        return pa.ListArray.from_arrays(pa.array(row_splits.astype(np.int32, copy=False)), values)


def _inner_shape(kind: pa.DataType) -> tuple[int, ...]:
    """The uniform shape that a column's type says."""
    if isinstance(kind, pa.FixedShapeTensorType):
        return tuple(kind.shape)
    sizes = []
    while isinstance(kind, pa.FixedSizeListType):
        sizes.append(kind.list_size)
        kind = kind.value_type
    return tuple(sizes)


def _flat(lists: pa.Array) -> pa.Array:
    """The values of fixed-size lists, of which none is null.

    Not by `flatten`, which imports pyarrow.compute: 0.4 s before the first batch.
    """
    size = lists.type.list_size
    return lists.values.slice(lists.offset * size, len(lists) * size)


def _fixed_lists(values: pa.Array, shape: tuple[int, ...], count: int) -> pa.Array:
    """`count` rows of nested fixed-size lists of `values`; built from buffers for sizes of 0."""
    lengths = [count]
    for size in shape[:-1]:
        lengths.append(lengths[-1] * size)
    for size, length in zip(reversed(shape), reversed(lengths), strict=False):
        nested = pa.list_(values.type, size)
        values = pa.Array.from_buffers(nested, length, [None], children=[values])
    return values

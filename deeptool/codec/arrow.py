"""Codec ``arrow``: the value of a Kafka record is one Arrow IPC stream with one record batch.

One column per leaf, in the order of `Spec.leaves`, named as in `Spec.paths`, never null, with
TensorFlow's name of the dtype as the field's metadata ``dtype``. One row per sample.

========================  ====================================================================
leaf                      column
========================  ====================================================================
dense, one value per row   the plain type (strings: binary)
dense, more dimensions    ``arrow.fixed_shape_tensor`` of the sample's shape; where the spec
                          leaves dimensions open, of this record's shape: it can be another in
                          the next record. Strings: nested fixed-size lists of binary
ragged                    a list per ragged dimension; what is uniform inside, as nested
                          fixed-size lists
========================  ====================================================================

Where leaves are very many, those of one dtype and shape are one column (see
`deeptool.codec.leaf_groups`): a tensor whose first dimension counts them. A column of 4 bytes a row
would otherwise take some 150 bytes of its own in each record.

Dtypes that Arrow lacks come back as themselves too: bfloat16 travels as its bits (uint16), complex
numbers as a last dimension of 2 (real, imaginary).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from deeptool.codec.leaf_groups import LeafGroup, joined, leaf_groups, parted
from deeptool.codec.spec import Spec
from deeptool.codec.structure import Leaf
from deeptool.codec.values import Array, Leaves, Ragged, Value, numpy_dtype, rows
from deeptool.errors import WorkError

# NumPy's view of the bytes, for the dtypes that Arrow lacks.
_STORED: dict[str, np.dtype[Any]] = {
    "bfloat16": np.dtype(np.uint16),
    "complex64": np.dtype(np.float32),
    "complex128": np.dtype(np.float64),
}
# Offsets of Arrow's lists are int32; the larger kind would double them in every record.
_LONGEST_LIST = 2**31 - 1


class ArrowCodec:
    """Batches of samples <-> Arrow IPC streams. Imports no TensorFlow.

    Parameters
    ----------
    spec : Spec
        Of the dataset; what is decoded is compared with it.
    """

    name = "arrow"
    samples_per_record: int | None = None
    # Python decodes a record of thousands of samples faster than a graph of TensorFlow could.
    graph_parser = None

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        self._groups = leaf_groups(spec)
        self.columns = len(self._groups)
        self._joined = [
            _ArrowColumn(_column_name(group, spec.paths), group.leaf) for group in self._groups
        ]
        self._single = self._joined
        if self.columns < len(spec.leaves):
            # As uploads of earlier releases have them.
            self._single = [
                _ArrowColumn(path, leaf) for path, leaf in zip(spec.paths, spec.leaves, strict=True)
            ]

    def encode(self, leaves: Leaves) -> bytes:
        """One stream of all samples of a batch.

        Parameters
        ----------
        leaves : tuple of ndarray or Ragged
            One per leaf of the spec, all of the same number of samples.

        Raises
        ------
        WorkError
            A leaf is not what the spec says.
        """
        if len(leaves) != len(self._single):
            raise WorkError(
                "a batch has another number of leaves than the element_spec",
                seen=len(leaves),
                valid=str(len(self._single)),
            )
        count = rows(leaves)
        if self._joined is not self._single:
            for column, leaf in zip(self._single, leaves, strict=True):
                column.check(leaf, count)
            leaves = joined(self._groups, leaves)
        arrays = [
            column.to_arrow(value, count)
            for column, value in zip(self._joined, leaves, strict=True)
        ]
        fields = [
            pa.field(column.path, array.type, nullable=False, metadata=column.metadata)
            for column, array in zip(self._joined, arrays, strict=True)
        ]
        batch = pa.RecordBatch.from_arrays(arrays, schema=pa.schema(fields))
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, batch.schema) as writer:
            writer.write_batch(batch)
        value: bytes = sink.getvalue().to_pybytes()
        return value

    def to_record(self, leaves: Leaves) -> tuple[bytes | None, bytes]:
        """Key and value of the record that holds `leaves`."""
        return None, self.encode(leaves)

    def decode(self, value: bytes, key: bytes | None = None) -> Leaves:
        """The batch that `encode` was given; numbers are views of `value`, not copies of it.

        Raises
        ------
        WorkError
            The bytes are no Arrow stream of one batch, or a column is not what the spec says.
        """
        try:
            with pa.ipc.open_stream(pa.py_buffer(value)) as reader:
                names = reader.schema.names
                columns = self._single if len(names) == len(self._single) else self._joined
                if names != [column.path for column in columns]:
                    raise WorkError(
                        "a stored record has other columns than its dataset's element_spec",
                        seen=", ".join(map(repr, names)),
                        valid=", ".join(map(repr, self.spec.paths)),
                    )
                fields = list(reader.schema)
                batch = reader.read_next_batch()
            # Or a damaged record could send the views below out of its memory.
            batch.validate(full=True)
            arrays = tuple(
                column.from_arrow(field, array)
                for column, field, array in zip(columns, fields, batch.columns, strict=True)
            )
            return arrays if columns is self._single else parted(self._groups, arrays)
        except (pa.ArrowException, ValueError, OSError, StopIteration) as error:
            raise WorkError(
                "a stored record is not a readable Arrow stream",
                seen=f"{len(value)} bytes: {error}",
                next_step="deeptool check names the damaged records of a dataset",
            ) from error


def _column_name(group: LeafGroup, paths: tuple[str, ...]) -> str:
    """Of a group: its first and its last leaf, which no other has."""
    first, last = paths[group.members[0]], paths[group.members[-1]]
    return first if first == last else f"{first}..{last}"


class _ArrowColumn:
    """One leaf of the spec as a column."""

    def __init__(self, path: str, leaf: Leaf) -> None:
        self.path, self.leaf = path, leaf
        self.metadata = {b"dtype": leaf.dtype.encode()}
        self.dtype = numpy_dtype(leaf.dtype)
        self.string, self.boolean = leaf.dtype == "string", leaf.dtype == "bool"
        self.parts = (2,) if leaf.dtype.startswith("complex") else ()
        self.stored = _STORED.get(leaf.dtype, self.dtype)
        self.type = pa.binary() if self.string else pa.from_numpy_dtype(self.stored)

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
        column = self._values(flat)
        # Arrow's tensor type needs fixed-width values, and rows of at least one dimension.
        if splits or self.string or flat.ndim == 1:
            column = _fixed_lists(column, inner, len(flat))
        else:
            tensor = pa.fixed_shape_tensor(self.type, inner)
            storage = _fixed_lists(column, (tensor.storage_type.list_size,), len(flat))
            column = pa.ExtensionArray.from_storage(tensor, storage)
        for row_splits in reversed(splits):
            column = self._list(column, row_splits)
        return column

    def from_arrow(self, field: pa.Field, column: pa.Array) -> Value:
        offsets: list[Array] = []
        while len(offsets) < self.leaf.ragged_rank and pa.types.is_list(column.type):
            offsets.append(column.offsets.to_numpy().astype(self.leaf.row_splits_dtype))
            column = column.values
        count, shape = len(column), _inner_shape(column.type)
        while isinstance(column.type, (pa.FixedSizeListType, pa.FixedShapeTensorType)):
            column = column.storage if isinstance(column, pa.ExtensionArray) else column.flatten()
        inner = shape[: len(shape) - len(self.parts)]
        if (
            (field.metadata or {}).get(b"dtype") != self.metadata[b"dtype"]
            or len(offsets) != self.leaf.ragged_rank
            or column.type != self.type
            or column.null_count
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
        flat: Array = column.to_numpy(zero_copy_only=not (self.string or self.boolean))
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


def _fixed_lists(values: pa.Array, shape: tuple[int, ...], count: int) -> pa.Array:
    """`count` rows of nested fixed-size lists of `values`; built from buffers for sizes of 0."""
    lengths = [count]
    for size in shape[:-1]:
        lengths.append(lengths[-1] * size)
    for size, length in zip(reversed(shape), reversed(lengths), strict=False):
        nested = pa.list_(values.type, size)
        values = pa.Array.from_buffers(nested, length, [None], children=[values])
    return values

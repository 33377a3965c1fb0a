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

import pyarrow as pa

from deeptool.codec.arrow_column import ArrowColumn, column_name
from deeptool.codec.leaf_groups import joined, leaf_groups, parted
from deeptool.codec.spec import Spec
from deeptool.codec.values import Leaves, rows
from deeptool.errors import WorkError


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
            ArrowColumn(column_name(group, spec.paths), group.leaf) for group in self._groups
        ]
        self._single = self._joined
        if self.columns < len(spec.leaves):
            # As uploads of earlier releases have them.
            self._single = [
                ArrowColumn(path, leaf) for path, leaf in zip(spec.paths, spec.leaves, strict=True)
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
            column.field(array.type) for column, array in zip(self._joined, arrays, strict=True)
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

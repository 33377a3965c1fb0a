"""Rows of one known size as one Arrow record batch in a file that is laid out before it is filled.

The file is in the Arrow IPC format (Feather version 2): other programs read it, and NumPy reads its
columns in place. Each column is one contiguous buffer, so row i has one known place in it: rows are
written in any order, and any rows are read by one call for each column.
"""

from __future__ import annotations

import json
import mmap
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import crc32c
import numpy as np
import pyarrow as pa

from deeptool.codec.array_blocks import empty_array
from deeptool.codec.arrow_column import ArrowColumn, column_name
from deeptool.codec.leaf_groups import joined, leaf_groups, parted
from deeptool.codec.spec import Spec
from deeptool.codec.values import Array, Leaves, rows
from deeptool.columns.columns import Rows
from deeptool.columns.file_memory import FileMemory, write_at
from deeptool.columns.piece_journal import Piece
from deeptool.errors import WorkError

# What readers of Arrow files like buffers to begin at a multiple of.
_ALIGNMENT = 64


def is_fixed(spec: Spec) -> bool:
    """Whether every row of such a dataset takes the same known number of bytes."""
    return all(leaf.fixed and leaf.dtype != "string" for leaf in spec.leaves)


def schema_metadata(spec: Spec, padding: int = 0) -> dict[str, str]:
    """What the file says of its dataset."""
    return {"element_spec": json.dumps(spec.to_json()), "padding": " " * padding}


def file_columns(spec: Spec) -> list[ArrowColumn]:
    """The columns that rows of a dataset have in a file; very many leaves share some."""
    return [
        ArrowColumn(column_name(group, spec.paths), group.leaf, mapped=True)
        for group in leaf_groups(spec)
    ]


@dataclass(frozen=True)
class FilePlan:
    """A file but for its rows.

    Attributes
    ----------
    size : int
        Bytes of the whole file.
    parts : tuple of (int, bytes)
        What is in it besides the rows: where, and what.
    """

    size: int
    parts: tuple[tuple[int, bytes], ...]


def plan_file(spec: Spec, samples: int) -> FilePlan:
    """Where everything is in the file of that many rows. Takes no memory for the rows.

    Parameters
    ----------
    spec : Spec
        All leaves have one known shape each (see `is_fixed`).
    samples : int
    """
    columns = file_columns(spec)
    bytes_per_row = [_row_bytes(column) for column in columns]
    # Pages that nobody touches take no memory; all columns can stand for the same ones.
    longest = max(bytes_per_row) * samples
    unused = mmap.mmap(-1, longest, mmap.MAP_PRIVATE, mmap.PROT_READ) if longest else b""
    arrays = [
        column.over(pa.py_buffer(unused).slice(0, size * samples), samples)
        for column, size in zip(columns, bytes_per_row, strict=True)
    ]
    fields = [column.field(array.type) for column, array in zip(columns, arrays, strict=True)]
    for padding in range(0, _ALIGNMENT, 8):
        schema = pa.schema(fields, metadata=schema_metadata(spec, padding))
        sink = _Outline()
        # Children of a column may be longer than 2^31 - 1, which the first version forbade.
        options = pa.ipc.IpcWriteOptions(allow_64bit=True)
        with pa.ipc.new_file(pa.PythonFile(sink, "w"), schema, options=options) as writer:
            writer.write_batch(pa.RecordBatch.from_arrays(arrays, schema=schema))
        if not sink.first_rows % _ALIGNMENT:
            break
    return FilePlan(sink.size, tuple(sink.parts))


class FixedColumns:
    """The rows of such a file, read and written in place.

    Parameters
    ----------
    descriptor : int
        The open file, as `lay_out` made it; becomes these columns' own.
    spec : Spec
        Of its rows.

    Attributes
    ----------
    samples : int
        How many rows it has place for.

    Raises
    ------
    WorkError
        It is no such file, or not one of this spec.
    """

    def __init__(self, descriptor: int, spec: Spec) -> None:
        self.spec, self._descriptor = spec, descriptor
        self._groups, self._file_columns = leaf_groups(spec), file_columns(spec)
        self._memory = FileMemory(descriptor)
        try:
            with pa.ipc.open_file(self._memory.buffer) as reader:
                schema, batch = reader.schema, reader.get_batch(0)
        except (pa.ArrowException, ValueError, OSError) as error:
            raise WorkError("the file of a local copy is no Arrow file", seen=str(error)) from error
        if schema.names != [column.path for column in self._file_columns]:
            raise WorkError("the file of a local copy has other columns than its dataset")
        self.samples = batch.num_rows
        self._columns: list[Array] = [
            np.asarray(column.from_arrow(field, array))
            for column, field, array in zip(self._file_columns, schema, batch.columns, strict=True)
        ]

        self._places = [self._memory.offset_of(inside) for inside in self._columns]

    @classmethod
    def lay_out(cls, descriptor: int, spec: Spec, samples: int) -> FixedColumns:
        """Make an open, empty file one that has place for `samples` rows, all of them zeros.

        Raises
        ------
        OSError
            The disk has no space for the whole (ENOSPC): found now, not when rows are written.
        """
        plan = plan_file(spec, samples)
        os.posix_fallocate(descriptor, 0, plan.size)
        for place, part in plan.parts:
            write_at(descriptor, place, part)
        return cls(descriptor, spec)

    def write(self, first: int, leaves: Leaves) -> Piece:
        """Fill rows first, first + 1, ...

        Raises
        ------
        WorkError
            The leaves are not what the spec says.
        IndexError
            There are fewer rows.
        """
        count = rows(leaves)
        self._check_range(first, first + count)
        values = joined(self._groups, leaves)
        # All of them, before any is written.
        for column, value in zip(self._file_columns, values, strict=True):
            column.check(value, count)
        contents = [_bytes_of(np.asarray(value)) for value in values]
        for column, content, place in zip(self._file_columns, contents, self._places, strict=True):
            write_at(self._descriptor, place + first * _row_bytes(column), content.data)
        return Piece(first, first + count, 0, 0, _crc(contents))

    def add(self, pieces: Sequence[Piece]) -> None:
        """Nothing to do: where each row is does not depend on when it was written."""

    def crc(self, piece: Piece) -> int:
        """CRC-32C of what the file holds for the rows of a piece."""
        self._memory.expect_random(False)
        return _crc(_bytes_of(inside[piece.first : piece.stop]) for inside in self._columns)

    def outline_crc(self) -> int:
        """CRC-32C of what the file holds besides the rows."""
        spans = zip(self._places, (inside.nbytes for inside in self._columns), strict=True)
        crc, start, content = 0, 0, self._memory.buffer
        for place, size in [*sorted(span for span in spans if span[1]), (content.size, 0)]:
            crc = crc32c.crc32c(content[start:place], crc)
            start = place + size
        return crc

    def finish(self) -> None:
        """Return when the rows are on the disk."""
        os.fsync(self._descriptor)

    def close(self) -> None:
        """Close the file; arrays that were given out stay valid."""
        os.close(self._descriptor)

    def take(self, rows: Rows) -> Leaves:
        """See `deeptool.columns.columns.Columns`; rows that were never filled are zeros."""
        self._memory.expect_random(True)
        if len(rows) and not 0 <= rows.min() <= rows.max() < self.samples:
            raise IndexError(f"rows {rows.min()} to {rows.max()} of {self.samples}")
        taken = tuple(_taken(inside, rows) for inside in self._columns)
        return parted(self._groups, taken)

    def slice(self, start: int, stop: int) -> Leaves:
        """See `deeptool.columns.columns.Columns`: all of it are views."""
        self._check_range(start, stop)
        self._memory.expect_random(False)
        return parted(self._groups, tuple(inside[start:stop] for inside in self._columns))

    def _check_range(self, start: int, stop: int) -> None:
        if not 0 <= start <= stop <= self.samples:
            raise IndexError(f"rows {start} to {stop} of {self.samples}")


class _Outline:
    """A file to write to that keeps everything but the rows."""

    closed = False

    def __init__(self) -> None:
        self.parts: list[tuple[int, bytes]] = []
        self.size = self.first_rows = 0

    def write(self, data: bytes | pa.Buffer) -> int:
        # Arrow hands over columns as they are, and what it makes itself as bytes.
        if not isinstance(data, pa.Buffer):
            self.parts.append((self.size, data))
        elif not self.first_rows:
            self.first_rows = self.size
        self.size += len(data)
        return len(data)

    def tell(self) -> int:
        return self.size

    def flush(self) -> None:
        """Nothing is held back."""

    def close(self) -> None:
        self.closed = True


def _taken(inside: Array, rows: Rows) -> Array:
    out = empty_array((len(rows), *inside.shape[1:]), inside.dtype)
    # NumPy's check of the rows would take a copy of what it fills.
    return np.take(inside, rows, axis=0, out=out, mode="clip")


def _row_bytes(column: ArrowColumn) -> int:
    inner = [size or 0 for size in column.leaf.inner]
    return int(np.prod([*inner, *column.parts], dtype=np.int64)) * column.stored.itemsize


def _bytes_of(values: Array) -> Array:
    return np.ascontiguousarray(values).reshape(-1).view(np.uint8)


def _crc(contents: Iterable[Array]) -> int:
    crc = 0
    for content in contents:
        crc = crc32c.crc32c(content, crc)
    return crc

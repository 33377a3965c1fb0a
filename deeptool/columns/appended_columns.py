"""Rows of many sizes as one Arrow record batch after the other, in the order in which they come.

The file is in the Arrow IPC streaming format; strings and ragged dimensions have offsets of int64.
Where a row is, a reader finds in the offsets that the batch itself holds: of each batch it only
keeps where its buffers are.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import crc32c
import numpy as np
import pyarrow as pa

from deeptool.codec.arrow_column import ArrowColumn, column_name
from deeptool.codec.leaf_groups import joined, leaf_groups, parted
from deeptool.codec.spec import Spec
from deeptool.codec.values import Array, Leaves, Ragged, Value
from deeptool.codec.values import rows as rows_of
from deeptool.columns.columns import Rows
from deeptool.columns.file_memory import FileMemory, write_at
from deeptool.columns.fixed_columns import schema_metadata
from deeptool.columns.gather import (
    Int64,
    copied_runs,
    copied_texts,
    indices_of,
    splits_of,
)
from deeptool.columns.open_shapes import StoredLeaf, from_stored, to_stored
from deeptool.columns.piece_journal import Piece
from deeptool.errors import WorkError

# Ends a stream: a message of no length.
_END = b"\xff\xff\xff\xff\0\0\0\0"
# The file is made longer by at least and at most this, ahead of what is written: mapped memory is
# as long as the file was. It takes no space.
_LEAST_AHEAD, _MOST_AHEAD = 2**20, 2**30


class AppendedColumns:
    """The rows of such a file.

    Parameters
    ----------
    descriptor : int
        The open file, as `lay_out` made it; becomes these columns' own.
    spec : Spec
        Of its rows.
    samples : int
        How many there will be.

    Raises
    ------
    WorkError
        It is no such file, or not one of this spec.
    """

    def __init__(self, descriptor: int, spec: Spec, samples: int) -> None:
        self.samples, self._descriptor = samples, descriptor
        self._groups = leaf_groups(spec)
        self._stored = [StoredLeaf(column_name(g, spec.paths), g.leaf) for g in self._groups]
        self._columns = _columns(self._stored)
        self._schema = _schema(self._columns, spec)
        self._head = self._schema.serialize().size
        self._memory = FileMemory(descriptor)
        try:
            found = pa.ipc.read_schema(self._memory.buffer)
        except (pa.ArrowException, ValueError, OSError) as error:
            raise WorkError("the file of a local copy is no Arrow file", seen=str(error)) from error
        if not found.equals(self._schema, check_metadata=True):
            raise WorkError("the file of a local copy has other columns than its dataset")
        self._end = self._head
        # Of each batch: where its buffers begin in the file, in the order in which it was added.
        self._places: Int64 = np.zeros((16, sum(c.buffers for c in self._columns)), np.int64)
        # Of the batches in the order of their rows: the first row, how many, and which batch.
        none: Int64 = np.zeros(0, np.int64)
        self._batches = (none, none, none)

    @classmethod
    def lay_out(cls, descriptor: int, spec: Spec, samples: int) -> AppendedColumns:
        """Make an open, empty file one that batches can be appended to.

        Raises
        ------
        OSError
            The disk has no space.
        """
        stored = [StoredLeaf(column_name(g, spec.paths), g.leaf) for g in leaf_groups(spec)]
        write_at(descriptor, 0, memoryview(_schema(_columns(stored), spec).serialize()))
        return cls(descriptor, spec, samples)

    def write(self, first: int, leaves: Leaves) -> Piece:
        """Append rows first, first + 1, ...

        Raises
        ------
        WorkError
            The leaves are not what the spec says.
        OSError
            The disk is full, for example.
        """
        count = rows_of(leaves)
        values = to_stored(self._stored, joined(self._groups, leaves), count)
        arrays = [
            column.arrow.to_arrow(value, count)
            for column, value in zip(self._columns, values, strict=True)
        ]
        content = memoryview(pa.RecordBatch.from_arrays(arrays, schema=self._schema).serialize())
        place, end = self._end, self._end + len(content)
        size = os.fstat(self._descriptor).st_size
        if end > size:
            os.truncate(self._descriptor, end + min(_MOST_AHEAD, max(_LEAST_AHEAD, end)))
        write_at(self._descriptor, place, content)
        self._end = end
        return Piece(first, first + count, place, len(content), crc32c.crc32c(content))

    def add(self, pieces: Sequence[Piece]) -> None:
        """Take note of rows that were written, perhaps by another process.

        Raises
        ------
        WorkError
            They are not there.
        """
        firsts, counts, numbers = self._batches
        known = len(numbers)
        if known + len(pieces) > len(self._places):
            more = np.zeros((known + len(pieces), self._places.shape[1]), np.int64)
            self._places = np.concatenate([self._places, more])
        for number, piece in enumerate(pieces, known):
            self._places[number] = self._places_of(piece)
            self._end = max(self._end, piece.place + piece.length)
        new = np.array([(one.first, one.stop - one.first) for one in pieces], np.int64)
        firsts = np.concatenate([firsts, new[:, 0]])
        order = np.argsort(firsts, kind="stable")
        counts = np.concatenate([counts, new[:, 1]])[order]
        numbers = np.concatenate([numbers, np.arange(known, known + len(pieces))])[order]
        # At once, for whoever reads in another thread.
        self._batches = (firsts[order], counts, numbers)

    def _places_of(self, piece: Piece) -> list[int]:
        """Where the buffers of a batch begin."""
        if piece.place + piece.length > self._memory.buffer.size:
            self._memory = FileMemory(self._descriptor)
        try:
            message = self._memory.buffer.slice(piece.place, piece.length)
            batch = pa.ipc.read_record_batch(message, self._schema)
            if len(message) < piece.length or batch.num_rows != piece.stop - piece.first:
                raise ValueError(f"{len(message)} bytes, {batch.num_rows} rows")
        except (pa.ArrowException, ValueError, OSError) as error:
            raise WorkError(
                "the file of a local copy lacks rows that its journal has", seen=str(error)
            ) from error
        start = int(self._memory.buffer.address)
        return [
            buffer.address - start if buffer is not None and buffer.size else 0
            for column, array in zip(self._columns, batch.columns, strict=True)
            for buffer in column.buffers_of(array)
        ]

    def take(self, rows: Rows) -> Leaves:
        """See `deeptool.columns.columns.Columns`.

        Raises
        ------
        WorkError
            The rows have open dimensions, and several shapes.
        """
        self._memory.expect_random(True)
        return self._gather(rows)

    def _gather(self, rows: Rows) -> Leaves:
        firsts, counts, numbers = self._batches
        if not len(firsts):
            raise IndexError("no row is there")
        batch = np.searchsorted(firsts, rows, side="right") - 1
        inside = rows - firsts[batch]
        if len(rows) and ((batch < 0) | (inside >= counts[batch])).any():
            raise IndexError(f"rows {rows.min()} to {rows.max()} are not all there")
        places = self._places[numbers[batch]]
        content = np.frombuffer(self._memory.buffer, np.uint8)
        values, at = [], 0
        for column in self._columns:
            values.append(column.gather(content, places[:, at : at + column.buffers], inside))
            at += column.buffers
        return parted(self._groups, from_stored(self._stored, tuple(values)))

    def slice(self, start: int, stop: int) -> Leaves:
        """See `deeptool.columns.columns.Columns`: always copies."""
        self._memory.expect_random(False)
        return self._gather(np.arange(start, stop))

    def crc(self, piece: Piece) -> int:
        """CRC-32C of what the file holds for a piece."""
        crc: int = crc32c.crc32c(self._memory.buffer.slice(piece.place, piece.length))
        return crc

    def outline_crc(self) -> int:
        """CRC-32C of what the file holds besides the batches."""
        crc = crc32c.crc32c(self._memory.buffer.slice(0, self._head))
        crc = crc32c.crc32c(os.pread(self._descriptor, len(_END) + 1, self._end), crc)
        return int(crc)

    def finish(self) -> None:
        """End the stream, and return when all of it is on the disk."""
        write_at(self._descriptor, self._end, _END)
        os.truncate(self._descriptor, self._end + len(_END))
        os.fsync(self._descriptor)

    def close(self) -> None:
        """Close the file; arrays that were given out stay valid."""
        os.close(self._descriptor)


class _AppendedColumn:
    """One stored leaf: its column, and how its values are found in a file of such columns.

    Attributes
    ----------
    arrow : ArrowColumn
    buffers : int
        How many of its buffers count: the offsets of each list, of strings, and the values.
    """

    def __init__(self, arrow: ArrowColumn) -> None:
        self.arrow, self._leaf = arrow, arrow.leaf
        self.buffers = self._leaf.ragged_rank + (2 if arrow.string else 1)
        self._inner = tuple(size or 0 for size in self._leaf.inner)
        # Values (or strings) in one flat row.
        self._width = int(np.prod([*self._inner, *arrow.parts], dtype=np.int64))

    def empty(self) -> Value:
        """No rows."""
        flat = np.zeros((0, *self._inner), self.arrow.dtype)
        splits = np.zeros(1, self._leaf.row_splits_dtype)
        return Ragged(flat, (splits,) * self._leaf.ragged_rank) if self._leaf.ragged_rank else flat

    def buffers_of(self, array: pa.Array) -> list[pa.Buffer | None]:
        """The buffers of an array of this column."""
        found = []
        for _ in range(self._leaf.ragged_rank):
            found.append(array.buffers()[1])
            array = array.values
        # Neither tensors nor lists of one size have buffers of their own but for the values'.
        return [*found, *array.buffers()[-2 if self.arrow.string else -1 :]]

    def gather(self, content: Array, places: Int64, inside: Int64) -> Value:
        """Rows, each of its own batch.

        Parameters
        ----------
        content : ndarray of uint8
            The file.
        places : ndarray of int64, shape (count, buffers)
            For each row, where the buffers of its batch begin.
        inside : ndarray of int64, shape (count,)
            Its number in its batch.
        """
        words = content[: len(content) // 8 * 8].view(np.int64)
        start, length = inside, np.ones_like(inside)
        splits = []
        for level in range(self._leaf.ragged_rank):
            offsets = places[:, level] >> 3
            splits.append(splits_of(_lengths(words, offsets, start, length)))
            start, length = _inner_runs(words, offsets, start, length)
        flat = self._flat(content, words, places, start * self._width, length * self._width)
        flat = flat.reshape(int(length.sum()), *self._inner)
        if not splits:
            return flat
        return Ragged(flat, tuple(s.astype(self._leaf.row_splits_dtype) for s in splits))

    def _flat(
        self, content: Array, words: Array, places: Int64, start: Int64, length: Int64
    ) -> Array:
        if not self.arrow.string:
            size = self.arrow.stored.itemsize
            starts, lengths = places[:, -1] + start * size, length * size
            return copied_runs(content, starts, lengths, size).view(self.arrow.dtype)
        offsets = np.repeat(places[:, -2] >> 3, length) + indices_of(start, length)
        data = np.repeat(places[:, -1], length)
        return copied_texts(content, data + words[offsets], data + words[offsets + 1])


def _lengths(words: Array, offsets: Int64, start: Int64, length: Int64) -> Int64:
    """Of each element of all runs: how many elements of the next level it has."""
    where = np.repeat(offsets, length) + indices_of(start, length)
    lengths: Int64 = words[where + 1] - words[where]
    return lengths


def _inner_runs(words: Array, offsets: Int64, start: Int64, length: Int64) -> tuple[Int64, Int64]:
    """The runs of the next level. An array of no elements may have no offsets at all."""
    where = np.where(length > 0, offsets + start, 0)
    first = words[where]
    return first, words[where + length] - first


def _columns(stored: list[StoredLeaf]) -> list[_AppendedColumn]:
    return [
        _AppendedColumn(ArrowColumn(name, leaf, mapped=True))
        for one in stored
        for name, leaf in one.leaves()
    ]


def _schema(columns: list[_AppendedColumn], spec: Spec) -> pa.Schema:
    fields = [c.arrow.field(c.arrow.to_arrow(c.empty(), 0).type) for c in columns]
    return pa.schema(fields, metadata=schema_metadata(spec))

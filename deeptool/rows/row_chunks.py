"""From records to the arrays that TensorFlow batches: decode, shuffle, gather. No TensorFlow."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from deeptool.codec.chosen_columns import ChosenColumns
from deeptool.codec.leaf_groups import LeafGroup, joined
from deeptool.codec.protocol import Codec
from deeptool.codec.records import TARGET_BYTES
from deeptool.codec.row_sizes import stored_row_bytes
from deeptool.codec.spec import Spec
from deeptool.codec.structure import Leaf, as_ragged_leaf
from deeptool.codec.values import (
    Array,
    Leaves,
    Ragged,
    Value,
    concat_rows,
    rows,
    slice_rows,
    take_rows,
    uniform_shape,
)
from deeptool.rows.record_order import Samples

# About what is handed to TensorFlow at once; it cuts batches of the asked size from that.
CHUNK_BYTES = TARGET_BYTES


@dataclass(frozen=True)
class Chunk:
    """Neighbouring samples.

    Attributes
    ----------
    leaves : Leaves
    first : int
        The index of row 0 in its shard's stored epoch.
    size : int
        Bytes that they take in their records.
    ends : tuple of int or None
        Before which rows a batch ended, where that was kept.
    """

    leaves: Leaves
    first: int
    size: int
    ends: tuple[int, ...] | None = None


class Decoder(Protocol):
    """What makes rows of records.

    Attributes
    ----------
    spec : Spec
        Of the rows.
    """

    spec: Spec

    def rows(self, records: list[Samples]) -> Leaves: ...


class DecodedRows:
    """Rows that the codec decodes.

    Parameters
    ----------
    codec : Codec
    ragged : bool
        Give dense leaves with open dimensions as ragged ones, whose rows can stand in one batch.
    columns : ChosenColumns, optional
        The leaves that are wanted.
    """

    def __init__(self, codec: Codec, ragged: bool, columns: ChosenColumns | None = None) -> None:
        self._codec, self._columns = codec, columns
        spec = codec.spec if columns is None else columns.spec
        leaves = [as_ragged_leaf(leaf) if ragged else leaf for leaf in spec.leaves]
        self.spec = Spec(spec.nest(leaves), spec.batched).with_rows(None)

    def rows(self, records: list[Samples]) -> Leaves:
        parts = [self._decode(record) for record in records]
        return concat_rows(parts)

    def _decode(self, record: Samples) -> Leaves:
        leaves = self._codec.decode(record.value, record.key)
        if self._columns is not None:
            leaves = self._columns.of(leaves)
        if record.chosen is not None:
            # Copies: views would keep the whole record.
            leaves = take_rows(leaves, record.chosen[record.low : record.high])
        elif record.low > 0 or record.high < rows(leaves):
            leaves = slice_rows(leaves, record.low, record.high)
        return tuple(
            as_ragged(value, leaf) if leaf.ragged_rank and isinstance(value, np.ndarray) else value
            for value, leaf in zip(leaves, self.spec.leaves, strict=True)
        )


class JoinedRows:
    """Decoded rows of very many leaves, those of one dtype and shape as one array."""

    def __init__(
        self, codec: Codec, groups: tuple[LeafGroup, ...], columns: ChosenColumns | None = None
    ) -> None:
        self._decoded, self._groups = DecodedRows(codec, ragged=False, columns=columns), groups
        self.spec = Spec(tuple(group.leaf for group in groups)).with_rows(None)

    def rows(self, records: list[Samples]) -> Leaves:
        return concat_rows([joined(self._groups, self._decoded.rows([one])) for one in records])


class SerializedRows:
    """Values and keys of records, as they are stored: for codecs that TensorFlow parses itself."""

    spec = Spec((Leaf("string", (None,)), Leaf("string", (None,))))

    def rows(self, records: list[Samples]) -> Leaves:
        values = np.array([record.value for record in records], dtype=object)
        keys = np.array([record.key or b"" for record in records], dtype=object)
        return values, keys


def as_ragged(value: Array, leaf: Leaf) -> Ragged:
    """Dense rows as `leaf` has them, without copying."""
    splits = []
    count = len(value)
    for size in value.shape[1 : leaf.ragged_rank + 1]:
        splits.append(np.arange(count + 1, dtype=leaf.row_splits_dtype) * size)
        count *= size
    return Ragged(value.reshape(count, *value.shape[leaf.ragged_rank + 1 :]), tuple(splits))


def gathered(records: Iterable[Samples], decoder: Decoder, most: int) -> Iterator[Chunk]:
    """Chunks of neighbouring records, joined up to `most` bytes; 0 joins none."""
    waiting: list[Samples] = []
    size = 0
    for record in records:
        length = len(record.value) + len(record.key or b"")
        if waiting and size + length > most:
            yield _chunk(waiting, decoder, size)
            waiting, size = [], 0
        waiting.append(record)
        size += length
    if waiting:
        yield _chunk(waiting, decoder, size)


def _chunk(records: list[Samples], decoder: Decoder, size: int) -> Chunk:
    first = records[0].first + records[0].low
    return Chunk(decoder.rows(records), first, size, _ends(records))


def _ends(records: list[Samples]) -> tuple[int, ...] | None:
    """Before which of the records' rows, one after the other, a batch ended."""
    ends: list[int] = []
    count = 0
    for record in records:
        if record.ends is None:
            return None
        kept = (end for end in record.ends if record.low < end <= record.high)
        ends.extend(count + end - record.low for end in kept)
        count += record.high - record.low
    return tuple(ends)


def stored_batches(chunks: Iterable[Chunk], batch_size: int) -> Iterator[Leaves]:
    """The batches that were uploaded, cut and joined again where records cut them otherwise.

    Where uploads of earlier releases kept no ends, batches are taken to end at multiples of
    `batch_size`; one that does not, or that changes its shape in between, comes in several parts.
    """
    part: Leaves | None = None
    expected = 0
    for chunk in chunks:
        count = rows(chunk.leaves)
        ends = chunk.ends
        if ends is None:
            ends = tuple(range(batch_size - chunk.first % batch_size, count + 1, batch_size))
        start = 0
        for stop in ends if count in ends[-1:] else (*ends, count):
            piece = slice_rows(chunk.leaves, start, stop)
            apart = chunk.first + start != expected
            if part is not None and (apart or _shapes(part) != _shapes(piece)):
                yield part
                part = None
            part = piece if part is None else concat_rows([part, piece])
            expected = chunk.first + stop
            if stop != count or stop in ends[-1:]:
                yield part
                part = None
            start = stop
    if part is not None:
        yield part


def shuffled_batches(
    batches: Iterable[Leaves], memory: int, rng: np.random.Generator
) -> Iterator[Leaves]:
    """Whole batches in random order, as far as a buffer of `memory` bytes reaches."""
    held: list[Leaves] = []
    size = 0
    for batch in batches:
        held.append(tuple(map(_copied, batch)))
        size += int(stored_row_bytes(batch).sum())
        while size > memory and len(held) > 1:
            chosen = int(rng.integers(len(held)))
            held[chosen], held[-1] = held[-1], held[chosen]
            size -= int(stored_row_bytes(held[-1]).sum())
            yield held.pop()
    for chosen in rng.permutation(len(held)):
        yield held[chosen]


def _shapes(leaves: Leaves) -> list[tuple[int, ...]]:
    return [uniform_shape(value) for value in leaves]


def _copied(value: Value) -> Value:
    """A copy: a view would keep the whole record."""
    if isinstance(value, Ragged):
        return Ragged(value.flat_values.copy(), value.row_splits)
    return value.copy()

"""Where the records of a stored dataset come from: the seam between readers and places.

The catalog says what is stored (`deeptool.catalog.stored.Stored`: uploads, and where their records
lie). A `RecordStore` delivers these records, and knows nothing of samples, orders or frameworks.
Readers know nothing of Kafka. To add a place that samples come from, implement `RecordStore` in one
module beside `deeptool.store.kafka_store`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from deeptool.catalog.stored import Stored
from deeptool.codec.records import RecordHeader
from deeptool.codec.spec import Spec
from deeptool.columns.columns import Columns
from deeptool.errors import WorkError
from deeptool.store.read_meter import ReadMeter


class Lane(NamedTuple):
    """A sequence of records that is read forward, by offset: one partition of one topic."""

    topic: str
    partition: int

    def __str__(self) -> str:
        return f"partition {self.partition} of topic {self.topic}"


@dataclass(frozen=True)
class Block:
    """Records start, ..., stop - 1 of a lane: neighbours, read with one seek.

    Attributes
    ----------
    shard : int
        Which shard of the dataset it belongs to, counted from 0.
    place : float
        How far into its lane's records of the pass it begins, from 0 to 1; as records are dealt out
        to the partitions in turn, about the place of its samples in the shard.
    """

    shard: int
    lane: Lane
    start: int
    stop: int
    place: float

    def __len__(self) -> int:
        return self.stop - self.start


class StoredRecord(NamedTuple):
    """One record as it is stored; `header` is None where deeptool did not write it."""

    offset: int
    key: bytes | None
    value: bytes
    header: RecordHeader | None


class PassRecords(Protocol):
    """The records of one pass."""

    def take_record(self, lane: Lane) -> StoredRecord:
        """The next record of a lane: block by block, in the order of the pass.

        Raises
        ------
        WorkError
            It cannot be read: the place does not answer, or does not hold what the catalog says.
        """
        ...


class SampleIndex(Protocol):
    """Looks up which sample a record begins with."""

    def first_sample(self, lane: Lane, offset: int) -> int:
        """The index of the record's first sample in its stored epoch.

        Raises
        ------
        WorkError
            The record cannot be read, or belongs to another upload.
        """
        ...


class ArrivingRecords(Protocol):
    """The first stored epoch of uploads that are still under way."""

    @property
    def stored(self) -> Stored:
        """The same uploads as the catalog describes them now; complete if all of them are."""
        ...

    def arriving(self) -> Iterator[StoredRecord | None]:
        """Records in the order of arrival, until the epoch is complete; None while none waits.

        Raises
        ------
        WorkError
            An upload failed, was deleted or has gone silent, or records of it are missing.
        """
        ...


class PlacedColumns(NamedTuple):
    """All rows of a stored pass, where a place holds them as columns.

    Attributes
    ----------
    columns : Columns
    near : bool
        Whether they are on this node: then they are read where they are. Else a copy on the node's
        disk is filled, and they are read where they are only if there can be none.
    """

    columns: Columns
    near: bool


class RecordStore(Protocol):
    """A place that holds the records of stored datasets."""

    def columns(self, stored: Stored, epoch: int, spec: Spec) -> PlacedColumns | None:
        """The rows of stored pass `epoch`, shard after shard; None: only as records.

        Parameters
        ----------
        spec : Spec
            Of the rows that are wanted.

        Raises
        ------
        DeeptoolError
            They cannot be read.
        """
        ...

    def open_pass(
        self, order: Sequence[Block], *, window: int, queue_bytes: int, meter: ReadMeter
    ) -> AbstractContextManager[PassRecords]:
        """Read blocks of records, each once.

        Parameters
        ----------
        order : sequence of Block
            In about the order in which they will be taken; the order within a lane is exact.
        window : int
            How many records may be fetched ahead of those taken.
        queue_bytes : int
            How much the client may hold beyond that.
        meter : ReadMeter
            Counts what is read.
        """
        ...

    def open_index(self, upload: str) -> AbstractContextManager[SampleIndex]:
        """Look up records of the upload with this id."""
        ...

    def open_arrivals(
        self, stored: Stored, *, queue_bytes: int, meter: ReadMeter
    ) -> AbstractContextManager[ArrivingRecords]:
        """Follow uploads that were under way when they were found, and no others.

        Raises
        ------
        WorkError
            As `ArrivingRecords.arriving`.
        """
        ...


def replaced_while_read(topic: str, seen: str) -> WorkError:
    """The error where the records of an upload are gone, or another upload's lie in their place."""
    return WorkError(
        f"the dataset in topic {topic} was deleted or replaced while it was read",
        seen=seen,
        next_step="deeptool inspect lists what is stored now; start again to read that",
    )

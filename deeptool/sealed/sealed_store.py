"""A sealed dataset as a place that records come from: its rows as columns, or as records again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field

import numpy as np

from deeptool.catalog.stored import Stored
from deeptool.codec import DEFAULT_CODEC, make_codec
from deeptool.codec.protocol import Codec
from deeptool.codec.records import RecordHeader
from deeptool.codec.spec import Spec
from deeptool.columns.cache_folder import network_file_system
from deeptool.errors import WorkError
from deeptool.fork_lock import ForkLock
from deeptool.sealed.pass_columns import PassColumns
from deeptool.sealed.record_list import Column
from deeptool.sealed.sealed_folder import SealedFolder
from deeptool.sealed.sealed_rows import rows_spec
from deeptool.store.read_meter import ReadMeter
from deeptool.store.record_store import (
    ArrivingRecords,
    Block,
    Lane,
    PlacedColumns,
    StoredRecord,
)


@dataclass(frozen=True)
class SealedStore:
    """A sealed dataset as a `deeptool.store.record_store.RecordStore`.

    Attributes
    ----------
    folder : SealedFolder
    """

    folder: SealedFolder
    _indices: dict[str, _Index] = field(default_factory=dict, compare=False)
    _lock: ForkLock = field(default_factory=ForkLock, compare=False)

    def __reduce__(self) -> tuple[type[SealedStore], tuple[SealedFolder]]:
        return SealedStore, (self.folder,)

    def columns(self, stored: Stored, epoch: int, spec: Spec) -> PlacedColumns | None:
        """See `RecordStore.columns`."""
        for shard in stored.shards:
            if rows_spec(shard.upload.begun.element_spec).to_json() != spec.to_json():
                return None
        rows = [self.folder.rows(shard.topic, epoch).store for shard in stored.shards]
        return PlacedColumns(PassColumns(rows), near=not network_file_system(self.folder.path))

    @contextmanager
    def open_pass(
        self, order: Sequence[Block], *, window: int, queue_bytes: int, meter: ReadMeter
    ) -> Iterator[SealedRecords]:
        """See `RecordStore.open_pass`: nothing is fetched ahead."""
        yield SealedRecords(self, order, meter)

    @contextmanager
    def open_index(self, upload: str) -> Iterator[SealedStore]:
        """See `RecordStore.open_index`."""
        yield self

    def first_sample(self, lane: Lane, offset: int) -> int:
        """See `SampleIndex.first_sample`."""
        epoch, number = self.index(lane.topic).lookup(lane, offset)
        return int(self.folder.rows(lane.topic, epoch).records.firsts[number])

    def open_arrivals(
        self, stored: Stored, *, queue_bytes: int, meter: ReadMeter
    ) -> AbstractContextManager[ArrivingRecords]:
        """See `RecordStore.open_arrivals`: never, as all of it is complete."""
        raise WorkError("a sealed dataset is complete: nothing arrives")

    def index(self, topic: str) -> _Index:
        """Where the records of a topic are."""
        with self._lock:
            if topic not in self._indices:
                epochs = range(len(self.folder.upload(topic).passes))
                lists = [self.folder.rows(topic, epoch).records for epoch in epochs]
                self._indices[topic] = _Index(
                    np.concatenate([one.partitions for one in lists]),
                    np.concatenate([one.offsets for one in lists]),
                    np.cumsum([len(one) for one in lists], dtype=np.int64),
                )
            return self._indices[topic]


class SealedRecords:
    """The records of one pass, made of the rows that they held; see `PassRecords`."""

    def __init__(self, store: SealedStore, order: Sequence[Block], meter: ReadMeter) -> None:
        self._store, self._meter = store, meter
        self._codecs: dict[str, Codec] = {}
        blocks: dict[Lane, list[Block]] = {}
        for block in order:
            blocks.setdefault(block.lane, []).append(block)
        self._offsets = {lane: _offsets(of_lane) for lane, of_lane in blocks.items()}

    def take_record(self, lane: Lane) -> StoredRecord:
        """See `PassRecords.take_record`.

        Raises
        ------
        WorkError
            The rows are not what was sealed.
        """
        offset, folder = next(self._offsets[lane]), self._store.folder
        epoch, number = self._store.index(lane.topic).lookup(lane, offset)
        rows = folder.rows(lane.topic, epoch)
        records = rows.records
        first, count = int(records.firsts[number]), int(records.counts[number])
        begun = folder.upload(lane.topic).begun
        if lane.topic not in self._codecs:
            self._codecs[lane.topic] = make_codec(DEFAULT_CODEC, begun.element_spec)
        leaves = rows.verified(first, first + count)
        key, value = self._codecs[lane.topic].to_record(leaves)
        ends, crc = records.ends[number], int(records.crcs[number])
        header = RecordHeader(begun.upload, epoch, first, count, crc, ends)
        self._meter.count(records=1, samples=count, size=len(value))
        return StoredRecord(offset, key, value, header)


def _offsets(blocks: Sequence[Block]) -> Iterator[int]:
    for block in blocks:
        yield from range(block.start, block.stop)


class _Index:
    """The records of all stored passes of a topic, by partition and offset."""

    def __init__(self, partitions: Column, offsets: Column, ends: Column) -> None:
        self._order = np.lexsort((offsets, partitions))
        self._partitions, self._offsets = partitions[self._order], offsets[self._order]
        self._ends = ends

    def lookup(self, lane: Lane, offset: int) -> tuple[int, int]:
        """The stored epoch of a record, and its number in it."""
        low, high = np.searchsorted(self._partitions, [lane.partition, lane.partition + 1])
        place = low + int(np.searchsorted(self._offsets[low:high], offset))
        if place >= high or self._offsets[place] != offset:
            raise WorkError(f"{lane} has no record at offset {offset} in this sealed dataset")
        number = int(self._order[place])
        epoch = int(np.searchsorted(self._ends, number, side="right"))
        return epoch, number - (int(self._ends[epoch - 1]) if epoch else 0)

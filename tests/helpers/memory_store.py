"""Stored datasets in this process: a second implementation of `RecordStore`, and of a catalog."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from catalog_builders import SPEC, begun

from deeptool.catalog.events import Begun, Completed, Event
from deeptool.catalog.fold import TopicState, fold
from deeptool.catalog.stored import Shard, Stored
from deeptool.codec import make_codec
from deeptool.codec.records import pack, parse_headers
from deeptool.codec.spec import Spec
from deeptool.codec.values import Leaves
from deeptool.producer.ledger import Ledger, RecordFacts
from deeptool.store.read_meter import ReadMeter
from deeptool.store.record_store import Block, Lane, StoredRecord, replaced_while_read

PARTITIONS = 3


class MemoryStore:
    """Topics are lists of records of about `target_bytes`; one that was deleted is None."""

    def __init__(self, target_bytes: int = 1024) -> None:
        self.target_bytes = target_bytes
        self.lanes: dict[Lane, list[StoredRecord | None]] = {}
        self.events: list[Event] = []
        self.passes = 0

    def catalog(self) -> dict[str, TopicState]:
        return fold(self.events)

    def begin(self, upload: str, spec: Any = SPEC, **facts: Any) -> Begun:
        event = begun(upload, element_spec=spec, **facts)
        for number in range(PARTITIONS):
            self.lanes.setdefault(Lane(event.topic, number), [])
        self.events.append(event)
        return event

    def send(self, event: Begun, batches: Sequence[Leaves], ledger: Ledger, epoch: int = 0) -> None:
        codec = make_codec(event.codec, event.element_spec)
        for number, record in enumerate(
            pack(
                codec,
                batches,
                upload=event.upload,
                epoch=epoch,
                target_bytes=self.target_bytes,
            )
        ):
            lane = Lane(event.topic, number % PARTITIONS)
            records = self.lanes[lane]
            ledger.acknowledge(epoch, lane.partition, len(records), RecordFacts.of(record))
            header = parse_headers(record.headers)
            records.append(StoredRecord(len(records), record.key, record.value, header))

    def complete(self, event: Begun, ledger: Ledger, **data_hparams: Any) -> None:
        self.events.append(
            Completed(event.topic, event.upload, ledger.epochs(), data_hparams, 1.0, 1.0, 1.0, 1.0)
        )

    def upload(
        self, upload: str, *epochs: Sequence[Leaves], spec: Any = SPEC, **facts: Any
    ) -> Stored:
        """Store a dataset as a producer would; several shards are several calls."""
        event, ledger = self.begin(upload, spec, **facts), Ledger()
        for epoch, batches in enumerate(epochs):
            self.send(event, batches, ledger, epoch)
        self.complete(event, ledger, **facts.get("data_hparams", {}))
        return self.found(event)

    def found(self, event: Begun) -> Stored:
        state = self.catalog()[event.topic]
        upload = state.pending or state.current
        assert upload is not None
        return Stored(event.session, event.split, (Shard(event.topic, upload),))

    def delete_records(self, upload: str) -> None:
        for records in self.lanes.values():
            for offset, record in enumerate(records):
                if record is not None and record.header and record.header.upload == upload:
                    records[offset] = None

    # ---- RecordStore ----

    def columns(self, stored: Stored, epoch: int, spec: Spec) -> None:
        """It has records only."""

    @contextmanager
    def open_pass(
        self, order: Sequence[Block], *, window: int, queue_bytes: int, meter: ReadMeter
    ) -> Iterator[MemoryPass]:
        self.passes += 1
        yield MemoryPass(self, order, meter)

    @contextmanager
    def open_index(self, upload: str) -> Iterator[MemoryStore]:
        yield self

    @contextmanager
    def open_arrivals(
        self, stored: Stored, *, queue_bytes: int, meter: ReadMeter
    ) -> Iterator[MemoryArrivals]:
        yield MemoryArrivals(self, stored)

    def first_sample(self, lane: Lane, offset: int) -> int:
        header = self.record(lane, offset).header
        assert header is not None
        return header.first

    def record(self, lane: Lane, offset: int) -> StoredRecord:
        record = self.lanes[lane][offset]
        if record is None:
            raise replaced_while_read(lane.topic, f"nothing at offset {offset}")
        return record


class MemoryPass:
    def __init__(self, store: MemoryStore, order: Sequence[Block], meter: ReadMeter) -> None:
        self._store, self._meter = store, meter
        self._offsets: dict[Lane, list[int]] = {}
        for block in order:
            self._offsets.setdefault(block.lane, []).extend(range(block.start, block.stop))

    def take_record(self, lane: Lane) -> StoredRecord:
        record = self._store.record(lane, self._offsets[lane].pop(0))
        count = record.header.count if record.header else 0
        self._meter.count(records=1, samples=count, size=len(record.value))
        return record


class MemoryArrivals:
    """What is there already, with a pause after each record."""

    def __init__(self, store: MemoryStore, stored: Stored) -> None:
        self._store = store
        (shard,) = stored.shards
        state = store.catalog()[shard.topic]
        upload = next(u for u in (state.current, state.pending) if u and u.id == shard.upload.id)
        self.stored = Stored(stored.session, stored.split, (Shard(shard.topic, upload),))

    def arriving(self) -> Iterator[StoredRecord | None]:
        (shard,) = self.stored.shards
        for lane, records in self._store.lanes.items():
            for record in records if lane.topic == shard.topic else ():
                if record and record.header and record.header.upload == shard.upload.id:
                    yield record
                    yield None

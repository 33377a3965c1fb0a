"""The records of uploads that are still under way on Kafka, as they arrive."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import TracebackType

from confluent_kafka import Consumer, Message, TopicPartition

from deeptool.catalog.catalog_log import CatalogLog
from deeptool.catalog.stored import Stored
from deeptool.client import admin
from deeptool.client.connection import Connection
from deeptool.client.consume import SILENT_SECONDS, consumer_config
from deeptool.client.kafka_errors import PARTITION_END
from deeptool.client.unreadable import STALL_SECONDS, unreadable
from deeptool.errors import WorkError
from deeptool.store import read_shutdown
from deeptool.store.fetch_clock import FetchClock
from deeptool.store.read_errors import damaged, damaged_at, header_of, raise_unless_passing
from deeptool.store.read_meter import ReadMeter
from deeptool.store.record_store import Lane, StoredRecord, replaced_while_read
from deeptool.store.sample_coverage import SampleCoverage
from deeptool.store.upload_watch import UploadWatch

_LOOK_SECONDS = 1.0
_POLL_SECONDS = 0.1
# A catalog that takes longer to read was not there for its writers either.
_AWAY_SECONDS = 2.0
# The stored epoch that is read while the upload may have no other.
_EPOCH = 0


@dataclass
class _LanePosition:
    """How far one partition has been read.

    Attributes
    ----------
    position : int
        The offset expected next.
    beyond : bool
        Whether a record of a later epoch was there.
    waiting : float or None
        Since when the broker has a record there that does not come.
    """

    position: int
    beyond: bool = False
    waiting: float | None = None


@dataclass
class _TopicProgress:
    """What was read of one upload: all of it, once no sample before the last one is missing."""

    lanes: dict[int, _LanePosition] = field(default_factory=dict)
    covered: SampleCoverage = field(default_factory=SampleCoverage)


class KafkaArrivals:
    """The first stored epoch of uploads in the order of arrival (see `ArrivingRecords`).

    A context manager. It follows the uploads that `stored` names, by their ids: never another one
    that begins in the same topic.

    Parameters
    ----------
    stored : Stored
        As it was found; some of its uploads are under way.
    queue_bytes : int
        How much librdkafka may have queued.
    meter : ReadMeter

    Raises
    ------
    WorkError
        An upload is lost: see `UploadWatch.look`.
    """

    def __init__(
        self, connection: Connection, stored: Stored, *, queue_bytes: int, meter: ReadMeter
    ) -> None:
        self._connection, self._meter = connection, meter
        self._queue_bytes = queue_bytes
        self._log, self._watch = CatalogLog(connection), UploadWatch(stored)
        self._uploads = {shard.topic: shard.upload.id for shard in stored.shards}
        self._read: dict[str, _TopicProgress] = {}
        self._consumer: Consumer | None = None
        self._clock: FetchClock | None = None
        try:
            self._look()
        except BaseException:
            self._log.close()
            raise

    @property
    def stored(self) -> Stored:
        return self._watch.stored

    def __enter__(self) -> KafkaArrivals:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._clock is not None:
            self._meter.count(cpu=self._clock.seconds_more(at_once=True))
            self._clock.stop()
        if self._consumer is not None:
            self._consumer.close()
        self._log.close()

    def _look(self) -> Stored:
        began = time.monotonic()
        catalog = self._log.read()
        # A producer could tell nobody that it lives while the broker was away.
        away = time.monotonic() - began > _AWAY_SECONDS
        return self._watch.look(catalog, count_from_now=away)

    def _open(self) -> tuple[Consumer, FetchClock]:
        """A consumer of every partition of every topic, from where its upload began."""
        for shard in self.stored.shards:
            numbers = admin.partitions(self._connection, shard.topic)
            if not numbers and admin.is_gone(self._connection, shard.topic):
                raise replaced_while_read(shard.topic, "the topic does not exist")
            numbers = numbers or admin.partitions(self._connection, shard.topic)
            lanes = {number: _LanePosition(shard.upload.first_offset(number)) for number in numbers}
            self._read[shard.topic] = _TopicProgress(lanes)
        # The clock counts the threads that begin after it.
        self._clock = FetchClock()
        self._consumer = Consumer(consumer_config(self._connection, ahead_bytes=self._queue_bytes))
        self._consumer.assign(
            [
                TopicPartition(topic, number, lane.position)
                for topic, progress in self._read.items()
                for number, lane in progress.lanes.items()
            ]
        )
        return self._consumer, self._clock

    def arriving(self) -> Iterator[StoredRecord | None]:
        """See `ArrivingRecords.arriving`."""
        consumer, clock = self._open()
        looked = 0.0
        while True:
            read_shutdown.check()
            if time.monotonic() - looked > _LOOK_SECONDS:
                stored = self._look()
                looked = time.monotonic()
                if self._finished(stored):
                    return
            message = consumer.poll(_POLL_SECONDS)
            if message is None:
                self._look_at_stalled(consumer)
                yield None
                continue
            error = message.error()
            if error is None:
                yield from self._accept(message, consumer, clock)
            elif error.code() != PARTITION_END:
                raise_unless_passing(error, message.topic() or "", self._connection)

    def _look_at_stalled(self, consumer: Consumer) -> None:
        """Raise `WorkError` where a broker cannot read what it says that a partition holds."""
        now = time.monotonic()
        for topic, progress in self._read.items():
            for number, lane in progress.lanes.items():
                _, end = consumer.get_watermark_offsets(TopicPartition(topic, number), cached=True)
                if lane.beyond or end <= lane.position:
                    lane.waiting = None
                elif lane.waiting is None:
                    lane.waiting = now
                elif now - lane.waiting > STALL_SECONDS:
                    lane.waiting = now + SILENT_SECONDS
                    place = (topic, number, lane.position)
                    if reason := unreadable(self._connection, *place, read_shutdown.check):
                        raise damaged_at(Lane(topic, number), lane.position, reason)

    def _accept(
        self, message: Message, consumer: Consumer, clock: FetchClock
    ) -> Iterator[StoredRecord]:
        topic, number = message.topic() or "", message.partition() or 0
        progress = self._read[topic]
        lane = progress.lanes[number]
        offset = int(message.offset())
        if offset < lane.position or lane.beyond:
            return
        lane.position, lane.waiting = offset + 1, None
        place = Lane(topic, number)
        header = header_of(place, message, self._uploads[topic])
        if header is None or header.upload != self._uploads[topic]:
            return
        if header.epoch > _EPOCH:
            lane.beyond = True
            consumer.incremental_unassign([TopicPartition(topic, number)])
            return
        value, key = message.value() or b"", message.key()
        self._meter.count(
            samples=header.count,
            records=1,
            size=len(value) + len(key or b""),
            cpu=clock.seconds_more(),
        )
        if not header.count or not progress.covered.add(header.first, header.count):
            raise damaged(
                topic,
                f"offset {offset} of {place}: it says that it holds samples {header.first} to"
                f" {header.first + header.count - 1}, which came before",
            )
        yield StoredRecord(offset, key, value, header)

    def _finished(self, stored: Stored) -> bool:
        """Whether all of the epoch was read, compared with what the catalog says of it."""
        for shard in stored.shards:
            progress, completed = self._read[shard.topic], shard.upload.completed
            if completed is None:
                if not all(lane.beyond for lane in progress.lanes.values()):
                    return False
                wanted = progress.covered.stop
            else:
                epoch = completed.epochs[_EPOCH]
                for number, runs in epoch.runs.items():
                    lane = progress.lanes[number]
                    if runs and lane.position < runs[-1][1] and not lane.beyond:
                        return False
                wanted = epoch.samples
            if progress.covered.samples != wanted:
                raise WorkError(
                    f"topic {shard.topic} does not hold all samples that were uploaded to it",
                    seen=f"{progress.covered.samples} samples",
                    valid=str(wanted),
                    next_step="deeptool check lists what is damaged",
                )
        return True

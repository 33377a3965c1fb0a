"""Rows of a dataset that is still being uploaded, as they arrive."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from confluent_kafka import Consumer, Message, TopicPartition

from deeptool.catalog.log import CatalogLog
from deeptool.catalog.stored import Stored
from deeptool.client import admin
from deeptool.client.kafka_errors import PARTITION_END
from deeptool.codec.records import parse_headers
from deeptool.codec.values import Leaves, rows
from deeptool.errors import WorkError
from deeptool.reader import batches
from deeptool.reader.graph import Form
from deeptool.reader.rowbuffer import RowBuffer
from deeptool.reader.source import Source, as_tensors, decoder_for
from deeptool.store import shutdown
from deeptool.store.librdkafka import consumer_config, raise_unless_passing
from deeptool.store.read_meter import FetchClock, ReadMeter
from deeptool.store.reading import Reading
from deeptool.store.record_order import Samples
from deeptool.store.watch import Watch

LOOK_SECONDS = 1.0
_POLL_SECONDS = 0.1
# The stored epoch that is read while there may be no other.
_EPOCH = 0


class FollowSource(Source):
    """As `Source` once the upload is complete; until then, its first stored epoch as it arrives."""

    def generate(self, k: int) -> Generator[Any, None, None]:
        with CatalogLog(self.reading.connection) as log:
            watch = Watch(self.reading.stored)
            stored = watch.look(log.read())
            reading = replace(self.reading, stored=stored)
            if not stored.complete:
                rng = np.random.default_rng([(reading.seed or 0) % 2**64, k])
                with Follower(reading, log, watch, self.meter) as follower:
                    leaves = arriving(follower.records(), self.form, reading, rng)
                    yield from as_tensors(leaves, decoder_for(self.form).spec)
                return
        yield from Source(reading, self.form, self.meter).generate(k)


def arriving(
    records: Iterable[Samples | None], form: Form, reading: Reading, rng: np.random.Generator
) -> Iterator[Leaves]:
    """Rows of records in the order of their arrival; None among them says that none is waiting.

    Where rows are shuffled, a full buffer gives out as many as come in. While none comes, it gives
    out half of what it holds, and half of that: what is there is never kept back for long. Batches
    that come as they were uploaded are not shuffled.
    """
    decoder = decoder_for(form)
    if form.whole_batches and form.batch_size:
        arrived = (record for record in records if record is not None)
        yield from batches.stored_batches(batches.gathered(arrived, decoder, 0), form.batch_size)
        return
    buffer: RowBuffer | None = None
    for record in records:
        if record is None:
            if buffer is not None and len(buffer):
                yield buffer.draw(-(-len(buffer) // 2))
            continue
        leaves, size = decoder.rows([record]), len(record.value) + len(record.key or b"")
        if reading.seed is None:
            yield leaves
            continue
        if buffer is None:
            each = size / rows(leaves)
            most = int(reading.memory.buffer / max(each, 1)) + 1
            buffer = RowBuffer(decoder.spec.leaves, reading.memory.buffer, each, most, rng)
        yield from buffer.exchange(leaves, size)
    if buffer is not None:
        yield from buffer.drain(max(1, len(buffer) // 16))


@dataclass
class _Lane:
    """How far one partition has been read.

    Attributes
    ----------
    position : int
        The offset expected next.
    beyond : bool
        Whether a record of a later epoch was there.
    """

    position: int
    beyond: bool = False


@dataclass
class _Progress:
    """What was read of one upload: all of it, if its samples are as many as `stop`."""

    lanes: dict[int, _Lane] = field(default_factory=dict)
    samples: int = 0
    stop: int = 0


class Follower:
    """The records of the first stored epoch of uploads, in the order of their arrival.

    A context manager.

    Parameters
    ----------
    reading : Reading
    log : CatalogLog
        Says whether the uploads still live, and where they end.
    watch : Watch
    meter : ReadMeter
    """

    def __init__(self, reading: Reading, log: CatalogLog, watch: Watch, meter: ReadMeter) -> None:
        self._log, self._watch, self._meter = log, watch, meter
        connection = reading.connection
        self._clock = FetchClock()
        self._consumer = Consumer(consumer_config(connection, reading.memory.queue))
        self._read: dict[str, _Progress] = {}
        self._uploads = {shard.topic: shard.upload.id for shard in watch.stored.shards}
        for shard in watch.stored.shards:
            numbers = admin.partitions(connection, shard.topic)
            lanes = {number: _Lane(shard.upload.first_offset(number)) for number in numbers}
            self._read[shard.topic] = _Progress(lanes)
        self._consumer.assign(
            [
                TopicPartition(topic, number, lane.position)
                for topic, progress in self._read.items()
                for number, lane in progress.lanes.items()
            ]
        )

    def __enter__(self) -> Follower:
        return self

    def __exit__(self, *error: object) -> None:
        self._meter.count(cpu=self._clock.seconds_more(at_once=True))
        self._clock.stop()
        self._consumer.close()

    def records(self) -> Iterator[Samples | None]:
        """Until the epoch is complete; None each time that none is waiting.

        Raises
        ------
        WorkError
            An upload is lost (see `Watch.look`), or its records are not what it said.
        """
        looked = 0.0
        while True:
            shutdown.check()
            if time.monotonic() - looked > LOOK_SECONDS:
                stored = self._watch.look(self._log.read())
                looked = time.monotonic()
                if self._finished(stored):
                    return
            message = self._consumer.poll(_POLL_SECONDS)
            if message is None:
                yield None
                continue
            error = message.error()
            if error is None:
                yield from self._accept(message)
            elif error.code() != PARTITION_END:
                raise_unless_passing(error, message.topic() or "")

    def _accept(self, message: Message) -> Iterator[Samples]:
        topic, number = message.topic() or "", message.partition() or 0
        progress = self._read[topic]
        lane = progress.lanes[number]
        header, offset = parse_headers(message.headers()), int(message.offset())
        if offset < lane.position or lane.beyond:
            return
        lane.position = offset + 1
        if header is None or header.upload != self._uploads[topic]:
            return
        if header.epoch > _EPOCH:
            lane.beyond = True
            self._consumer.incremental_unassign([TopicPartition(topic, number)])
            return
        value, key = message.value() or b"", message.key()
        self._meter.count(
            samples=header.count,
            records=1,
            size=len(value) + len(key or b""),
            cpu=self._clock.seconds_more(),
        )
        progress.samples += header.count
        progress.stop = max(progress.stop, header.first + header.count)
        yield Samples(key, value, header.first, 0, header.count)

    def _finished(self, stored: Stored) -> bool:
        """Whether all of the epoch was read; held against what the catalog says of it."""
        for shard in stored.shards:
            progress, completed = self._read[shard.topic], shard.upload.completed
            if completed is None:
                if not all(lane.beyond for lane in progress.lanes.values()):
                    return False
                wanted = progress.stop
            else:
                epoch = completed.epochs[_EPOCH]
                for number, runs in epoch.runs.items():
                    lane = progress.lanes[number]
                    if runs and lane.position < runs[-1][1] and not lane.beyond:
                        return False
                wanted = epoch.samples
            if progress.samples != wanted:
                raise WorkError(
                    f"topic {shard.topic} did not hold all that was uploaded to it",
                    seen=f"{progress.samples} samples",
                    valid=str(wanted),
                    next_step="deeptool check says what is damaged",
                )
        return True

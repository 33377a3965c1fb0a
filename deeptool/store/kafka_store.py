"""Records of stored datasets on Kafka brokers, read with librdkafka."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from confluent_kafka import Consumer, KafkaError, TopicPartition

from deeptool.catalog.stored import Stored
from deeptool.client.connection import Connection
from deeptool.client.kafka_errors import PARTITION_END
from deeptool.codec.records import parse_headers
from deeptool.store import read_shutdown
from deeptool.store.kafka_arrivals import KafkaArrivals
from deeptool.store.kafka_consumer import (
    FETCH_BYTES,
    POLL_SECONDS,
    consumer_config,
    missing,
    raise_unless_passing,
    silence,
)
from deeptool.store.kafka_fetcher import KafkaFetcher
from deeptool.store.read_meter import ReadMeter
from deeptool.store.record_store import Block, Lane


@dataclass(frozen=True)
class KafkaStore:
    """One Kafka cluster as a `deeptool.store.record_store.RecordStore`.

    Attributes
    ----------
    connection : Connection
    silence_seconds : float
        A broker that is restarted within this time is waited for.
    """

    connection: Connection
    silence_seconds: float = 120.0

    def open_pass(
        self, order: Sequence[Block], *, window: int, queue_bytes: int, meter: ReadMeter
    ) -> KafkaFetcher:
        """See `RecordStore.open_pass`."""
        return KafkaFetcher(
            self.connection,
            order,
            window=window,
            queue_bytes=queue_bytes,
            silence_seconds=self.silence_seconds,
            meter=meter,
        )

    @contextmanager
    def open_index(self, upload: str) -> Iterator[KafkaSampleIndex]:
        """See `RecordStore.open_index`."""
        consumer = Consumer(consumer_config(self.connection, FETCH_BYTES))
        try:
            yield KafkaSampleIndex(consumer, upload, self.silence_seconds)
        finally:
            consumer.close()

    def open_arrivals(self, stored: Stored, *, queue_bytes: int, meter: ReadMeter) -> KafkaArrivals:
        """See `RecordStore.open_arrivals`."""
        return KafkaArrivals(self.connection, stored, queue_bytes=queue_bytes, meter=meter)


class KafkaSampleIndex:
    """Looks up which sample a record begins with, by reading the record's headers.

    Parameters
    ----------
    consumer : Consumer
    upload : str
        The id of the upload that the records must belong to.
    silence_seconds : float
        How long to wait for a record.
    """

    def __init__(self, consumer: Consumer, upload: str, silence_seconds: float) -> None:
        self._consumer, self._upload = consumer, upload
        self._silence_seconds = silence_seconds

    def first_sample(self, lane: Lane, offset: int) -> int:
        """See `SampleIndex.first_sample`."""
        self._consumer.assign([TopicPartition(*lane, offset)])
        began = time.monotonic()
        trouble: KafkaError | None = None
        while time.monotonic() - began < self._silence_seconds:
            read_shutdown.check()
            message = self._consumer.poll(POLL_SECONDS)
            if message is None:
                continue
            trouble = message.error()
            if trouble is None:
                header = parse_headers(message.headers())
                if int(message.offset()) == offset and header and header.upload == self._upload:
                    return header.first
                raise missing(lane, offset, offset + 1)
            if trouble.code() != PARTITION_END:
                raise_unless_passing(trouble, lane.topic)
        raise silence(self._silence_seconds, lane, offset, trouble)

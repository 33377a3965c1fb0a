"""Records of stored datasets on Kafka brokers, read with librdkafka."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from deeptool.catalog.stored import Stored
from deeptool.client.connection import Connection
from deeptool.client.consume import FETCH_BYTES, NoRecord, Patience, RecordReader
from deeptool.codec.records import parse_headers
from deeptool.codec.spec import Spec
from deeptool.store import read_shutdown
from deeptool.store.kafka_arrivals import KafkaArrivals
from deeptool.store.kafka_fetcher import SHORT_SECONDS, KafkaFetcher
from deeptool.store.read_errors import damaged_at, dataset_error, missing, silence
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

    def columns(self, stored: Stored, epoch: int, spec: Spec) -> None:
        """See `RecordStore.columns`."""

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

    def open_index(self, upload: str) -> KafkaSampleIndex:
        """See `RecordStore.open_index`."""
        return KafkaSampleIndex(self.connection, upload, self.silence_seconds)

    def open_arrivals(self, stored: Stored, *, queue_bytes: int, meter: ReadMeter) -> KafkaArrivals:
        """See `RecordStore.open_arrivals`."""
        return KafkaArrivals(self.connection, stored, queue_bytes=queue_bytes, meter=meter)


class KafkaSampleIndex:
    """Looks up which sample a record begins with, by reading the record's headers.

    A context manager, which connects when it is asked first: most passes begin where an upload
    begins, and ask nothing.

    Parameters
    ----------
    connection : Connection
    upload : str
        The id of the upload that the records must belong to.
    silence_seconds : float
        How long to wait for a record.
    """

    def __init__(self, connection: Connection, upload: str, silence_seconds: float) -> None:
        self._connection, self._upload = connection, upload
        self._silence_seconds = silence_seconds
        self._readers: dict[str, RecordReader] = {}

    def __enter__(self) -> KafkaSampleIndex:
        return self

    def __exit__(self, *error: object) -> None:
        for reader in self._readers.values():
            reader.close()

    def first_sample(self, lane: Lane, offset: int) -> int:
        """See `SampleIndex.first_sample`."""
        if lane.topic not in self._readers:
            self._readers[lane.topic] = RecordReader(
                self._connection, lane.topic, ahead_bytes=FETCH_BYTES, on_poll=read_shutdown.check
            )
        patience = Patience(self._silence_seconds, self._silence_seconds, SHORT_SECONDS)
        found = self._readers[lane.topic].read(lane.partition, offset, patience)
        if not isinstance(found, NoRecord):
            header = parse_headers(found.headers())
            if header is not None and header.upload == self._upload:
                return header.first
        elif found.damaged:
            raise damaged_at(lane, offset, found.reason)
        elif found.silent:
            raise silence(self._silence_seconds, lane, offset, found.error)
        elif found.error is not None:
            raise dataset_error(found.error, lane.topic)
        raise missing(lane, offset, offset + 1)

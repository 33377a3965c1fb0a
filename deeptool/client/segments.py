"""Gives back the space of deleted records: Kafka frees whole segments only, and never the last."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from deeptool.client import admin
from deeptool.client.connection import Connection

_log = logging.getLogger(__name__)

_SECONDS = 10.0
# Kafka's clocks and ours differ.
_SLACK_MS = 3_600_000
_LARGEST_MS = 1 << 50


def free_last_segments(connection: Connection, topic: str, ends: Mapping[int, int]) -> None:
    """Free the last segments of partitions whose records are all deleted, where Kafka allows it.

    A record of no bytes, dated later than a segment may grow old, makes Kafka begin a new segment.
    It is deleted at once, so that nobody reads it. Where others write to a partition meanwhile
    nothing of it is deleted. Where Kafka does not take such a record (some do not, since 4.0), the
    space comes back when the next upload to the topic has filled the segment.

    Parameters
    ----------
    ends : mapping of int to int
        Per partition, the offset behind its last record.
    """
    if not ends:
        return
    config = admin.topic_config(connection, topic)
    age = int(config.get("segment.ms", 0)) + int(config.get("segment.jitter.ms", 0))
    if age > _LARGEST_MS:
        return
    written = _write(connection, topic, ends, int(time.time() * 1000) + age + _SLACK_MS)
    alone = {number: offset + 1 for number, offset in written.items() if offset == ends[number]}
    admin.delete_records(connection, topic, alone)


def _write(
    connection: Connection, topic: str, partitions: Mapping[int, int], timestamp: int
) -> dict[int, int]:
    """Write an empty record to each partition; the offsets of those that were taken."""
    offsets: dict[int, int] = {}

    def delivered(error: KafkaError | None, message: Message) -> None:
        if error is None:
            offsets[int(message.partition() or 0)] = int(message.offset())
        else:
            _log.info("the last segment of %s could not be freed: %s", topic, error.str())

    producer = Producer(connection.config({"acks": "all", "message.timeout.ms": _SECONDS * 1000}))
    try:
        for number in partitions:
            producer.produce(
                topic, b"", partition=number, timestamp=timestamp, on_delivery=delivered
            )
        producer.flush(_SECONDS)
    except KafkaException as error:
        _log.info("the last segments of %s could not be freed: %s", topic, error)
    return offsets

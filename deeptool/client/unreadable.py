"""Whether a broker that sends nothing cannot read what it keeps: damage that it does not report.

Where the length of a batch is damaged in its log, a broker answers every fetch without an error,
with no bytes or with bytes that hold no whole record, and librdkafka asks again for ever.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable

from confluent_kafka import Consumer, TopicPartition

from deeptool.client.connection import Connection
from deeptool.client.kafka_errors import DAMAGED, PARTITION_END

# So long a silence is worth a look.
STALL_SECONDS = 3.0
# A look at a broker that answers takes less than a second.
_PROBE_SECONDS = 3.0
_STATISTICS_MS = 100
_POLL_SECONDS = 0.1
# So many answers without a record: librdkafka enlarges its fetches ten times, up to 1 GiB.
_ANSWERS = 12


def unreadable(
    connection: Connection,
    topic: str,
    partition: int,
    offset: int,
    on_poll: Callable[[], None] | None = None,
) -> str | None:
    """What is wrong with a record that a broker does not send; None where it may still come.

    A client of its own asks for nothing but this record: a broker sends at least one whole batch,
    however large it is, so that answers without any are no matter of time.

    Parameters
    ----------
    on_poll : callable, optional
        Called several times a second; may raise to end the look.
    """
    fetches = _Fetches(topic, partition)
    consumer = Consumer(
        connection.config(
            {
                "group.id": "deeptool",
                "enable.auto.commit": False,
                "auto.offset.reset": "error",
                "enable.partition.eof": True,
                "check.crcs": False,
                "fetch.wait.max.ms": 10,
                "fetch.error.backoff.ms": 10,
                # An answer holds no more than this, or one batch.
                "fetch.max.bytes": 1 << 20,
                "message.max.bytes": 1 << 20,
                "statistics.interval.ms": _STATISTICS_MS,
                "stats_cb": fetches.note,
            }
        )
    )
    try:
        consumer.assign([TopicPartition(topic, partition, offset)])
        deadline = time.monotonic() + _PROBE_SECONDS
        while time.monotonic() < deadline:
            if on_poll is not None:
                on_poll()
            message = consumer.poll(_POLL_SECONDS)
            error = message.error() if message is not None else None
            if error is not None and error.code() in DAMAGED:
                return str(error.str())
            if message is not None and (error is None or error.code() == PARTITION_END):
                return None
            if fetches.answered >= _ANSWERS and fetches.end > offset and not fetches.throttled:
                return (
                    f"the broker answers without a record, although the partition continues to"
                    f" offset {fetches.end - 1}: its log is damaged there"
                )
        return None
    finally:
        consumer.close()


class _Fetches:
    """What librdkafka's statistics say of the fetches of one partition.

    Attributes
    ----------
    answered : int
        How many were answered.
    end : int
        The offset behind the last record, by the newest answer; -1 while none has said so.
    throttled : bool
        Whether a broker has held back an answer for a quota: it may then be empty.
    """

    def __init__(self, topic: str, partition: int) -> None:
        self._topic, self._partition = topic, str(partition)
        self.answered, self.end, self.throttled = 0, -1, False

    def note(self, statistics: str) -> None:
        found = json.loads(statistics)
        brokers = found.get("brokers", {}).values()
        # The last one may be under way.
        self.answered = sum(each.get("req", {}).get("Fetch", 0) for each in brokers) - 1
        self.throttled |= any(each.get("throttle", {}).get("max", 0) > 0 for each in brokers)
        partitions = found.get("topics", {}).get(self._topic, {}).get("partitions", {})
        self.end = int(partitions.get(self._partition, {}).get("hi_offset", -1))

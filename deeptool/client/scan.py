"""All records in ranges of offsets of one partition, past those that cannot be read."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from confluent_kafka import Consumer, Message, TopicPartition

from deeptool.client.connection import Connection
from deeptool.client.kafka_errors import (
    HANDSHAKE_FAILED,
    NO_SUCH_TOPIC,
    NOT_ALLOWED,
    PARTITION_END,
    UNREACHABLE,
    explain,
)
from deeptool.errors import WorkError

_POLL_SECONDS = 0.5
# A broker that has sent nothing for so long cannot read what is there.
PATIENCE_SECONDS = 10.0
# One that does not answer at all is waited for, as at the upload.
AWAY_SECONDS = 120.0
_REJECTED = NOT_ALLOWED | HANDSHAKE_FAILED | NO_SUCH_TOPIC


@dataclass(frozen=True)
class Unreadable:
    """Offsets start, ..., stop - 1 of a range gave no record."""

    start: int
    stop: int
    reason: str


def scan(
    connection: Connection, topic: str, partition: int, ranges: Sequence[tuple[int, int, int]]
) -> Iterator[tuple[int, Message | Unreadable]]:
    """Every record of `ranges`, in the order of offsets, and what cannot be read in between.

    Kafka's own checksums are not asked for: behind a batch whose checksum is wrong, librdkafka
    (2.16, check.crcs) reads on at a wrong place or aborts the process. The records' own, in their
    headers, tell more: which record of a batch it is.

    Parameters
    ----------
    ranges : sequence of (int, int, int)
        A number to come with what is found there, the first offset, the one behind the last;
        ascending.

    Raises
    ------
    WorkError
        The broker is gone, or refuses.
    """
    reader = _Reader(connection, topic, partition)
    try:
        for number, position, stop in ranges:
            while position < stop:
                found = reader.at(position)
                if isinstance(found, str):
                    resumed = _next_readable(reader, position, stop)
                    yield number, Unreadable(position, resumed, found)
                    position = resumed
                else:
                    yield number, found
                    position += 1
    finally:
        reader.close()


def _next_readable(reader: _Reader, bad: int, stop: int) -> int:
    """The first offset behind `bad` that gives a record; `stop` where none does.

    A batch that cannot be read does not say where it ends, so that it is searched for: in growing
    steps, then by halves.
    """
    step, good = 1, stop
    while bad + step < stop:
        if isinstance(reader.at(bad + step), str):
            bad, step = bad + step, 2 * step
        else:
            good = bad + step
            break
    while good - bad > 1:
        middle = (bad + good) // 2
        if isinstance(reader.at(middle), str):
            bad = middle
        else:
            good = middle
    return good


class _Reader:
    """Records from a position on."""

    def __init__(self, connection: Connection, topic: str, partition: int) -> None:
        self._topic, self._partition = topic, partition
        # The offset behind the last record read; None where the consumer has to be told anew.
        self._next: int | None = None
        self._consumer = Consumer(
            connection.config(
                {
                    # Needed by the client, but never joined: partitions are assigned.
                    "group.id": "deeptool",
                    "enable.auto.commit": False,
                    "enable.partition.eof": True,
                    "auto.offset.reset": "error",
                    "check.crcs": False,
                    "fetch.queue.backoff.ms": 2,
                    "fetch.message.max.bytes": 8 << 20,
                }
            )
        )

    def close(self) -> None:
        self._consumer.close()

    def at(self, position: int) -> Message | str:
        """The record at `position`, or why there is none."""
        if self._next != position:
            self._consumer.assign([TopicPartition(self._topic, self._partition, position)])
        found = self._read(position)
        self._next = None if isinstance(found, str) else position + 1
        return found

    def _read(self, position: int) -> Message | str:
        began = time.monotonic()
        away = False
        while True:
            message = self._consumer.poll(_POLL_SECONDS)
            error = message.error() if message is not None else None
            if message is not None and error is None:
                if message.offset() == position:
                    return message
                if message.offset() > position:
                    return "no record is there"
            elif error is not None and error.code() in _REJECTED:
                raise explain(f"topic {self._topic} cannot be read", error)
            elif error is not None and error.code() in UNREACHABLE:
                away = True
            elif error is not None and error.code() == PARTITION_END:
                return "no record is there"
            elif error is not None:
                return str(error.str())
            seconds = time.monotonic() - began
            if away and seconds > AWAY_SECONDS:
                raise WorkError(
                    "the broker does not answer any more",
                    seen=f"nothing for {seconds:.0f} s",
                    next_step="see that the broker is up, then check again",
                )
            if not away and seconds > PATIENCE_SECONDS:
                return f"the broker sent nothing for {seconds:.0f} s: its log cannot be read there"

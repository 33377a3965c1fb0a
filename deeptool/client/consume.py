"""Reading records by their offsets: the settings of every consumer, and the one loop that waits."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from confluent_kafka import Consumer, KafkaError, Message, TopicPartition

from deeptool.client.connection import Connection
from deeptool.client.kafka_errors import PARTITION_END, PASSING, UNREACHABLE
from deeptool.client.unreadable import STALL_SECONDS, unreadable

# A broker that is up but has sent nothing for so long cannot read what is there.
SILENT_SECONDS = 10.0
POLL_SECONDS = 0.25
# Room for one record of about 1 MiB with its framing. Smaller, and a broker would send nothing of a
# partition whose next record does not fit beside those of the others.
FETCH_BYTES = 2 << 20
# librdkafka's own bound.
_AHEAD_BYTES = 64 << 20


def consumer_config(
    connection: Connection, *, ahead_bytes: int, fetch_bytes: int = FETCH_BYTES
) -> dict[str, object]:
    """The settings of a consumer that reads what it is assigned and nothing else.

    Parameters
    ----------
    connection : Connection
    ahead_bytes : int
        What librdkafka may fetch ahead, of all partitions together.
    fetch_bytes : int
        What one answer of a broker may hold of one partition; a larger record still arrives.
    """
    config = {
        # Needed by the client, but never joined: partitions are assigned.
        "group.id": "deeptool",
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        # Never jump to where records are when those asked for were deleted.
        "auto.offset.reset": "error",
        "enable.partition.eof": True,
        # Off: behind a batch whose checksum is wrong, librdkafka 2.16 reads on at a wrong place or
        # aborts the process. Each record of ours has a checksum of its own in its headers.
        "check.crcs": False,
        # The default of a second stalls a slow reader by whole seconds.
        "fetch.queue.backoff.ms": 2,
        # A fetch that waits for new records holds up whatever is asked next.
        "fetch.wait.max.ms": 10,
        "fetch.message.max.bytes": fetch_bytes,
        "fetch.max.bytes": max(ahead_bytes, fetch_bytes),
        "queued.max.messages.kbytes": max(1, ahead_bytes >> 10),
    }
    return connection.config(config)


@dataclass(frozen=True)
class Patience:
    """How long to wait for a record, in seconds.

    Attributes
    ----------
    silent : float
        For a broker that can be reached.
    away : float
        Where none can be: one may be starting again, and is waited for as at the upload.
    end : float
        Where the partition seems to end before the record: a new leader may not know yet how much
        of it there is.
    """

    silent: float = SILENT_SECONDS
    away: float = 120.0
    end: float = 0.0


@dataclass(frozen=True)
class NoRecord:
    """Why reading an offset gave no record.

    Attributes
    ----------
    reason : str
    error : KafkaError or None
        What librdkafka said; where the broker was silent, the last it said.
    end : int or None
        The offset at which the partition ends, where its end was reached.
    silent : bool
        Nothing came in time.
    away : bool
        Nor could any broker be reached.
    damaged : bool
        The broker answers, but cannot read what it keeps there.
    """

    reason: str
    error: KafkaError | None = None
    end: int | None = None
    silent: bool = False
    away: bool = False
    damaged: bool = False


class RecordReader:
    """Reads records of one topic by partition and offset; a context manager.

    Offsets that follow each other are read as a stream. What it means that there is no record is
    the caller's to say: nothing is raised for it.

    Parameters
    ----------
    connection : Connection
    topic : str
    ahead_bytes : int
        What may be fetched ahead: little where single records are read here and there.
    on_poll : callable, optional
        Called several times a second while it waits; may raise to end the wait.
    """

    def __init__(
        self,
        connection: Connection,
        topic: str,
        *,
        ahead_bytes: int = _AHEAD_BYTES,
        on_poll: Callable[[], None] | None = None,
    ) -> None:
        self._connection, self._topic, self._on_poll = connection, topic, on_poll
        # Where one record is damaged, its neighbours are soon asked for.
        self._stall_seconds = STALL_SECONDS
        # Partition and offset of what the consumer delivers next; None: it must be assigned again.
        self._position: tuple[int, int] | None = None
        # One partition at a time: an answer may hold much of it.
        fetch_bytes = min(ahead_bytes, 8 << 20)
        config = consumer_config(connection, ahead_bytes=ahead_bytes, fetch_bytes=fetch_bytes)
        self._consumer = Consumer(config)

    def __enter__(self) -> RecordReader:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Release the connection. Safe to call repeatedly."""
        self._consumer.close()

    def rest(self) -> None:
        """Stop fetching: an idle consumer keeps its connection busy with fetches."""
        self._consumer.unassign()
        self._position = None

    def end_offset(self, partition: int, seconds: float) -> int:
        """The offset that the next record of a partition will get.

        Raises
        ------
        KafkaException
            The broker did not say so within `seconds`.
        """
        place = TopicPartition(self._topic, partition)
        _, end = self._consumer.get_watermark_offsets(place, timeout=seconds, cached=False)
        return int(end)

    def read(
        self, partition: int, offset: int, patience: Patience = Patience()
    ) -> Message | NoRecord:
        """The record at `offset`, or why there is none."""
        found = self.read_from(partition, offset, patience)
        if isinstance(found, NoRecord) or found.offset() == offset:
            return found
        self._position = None
        return NoRecord("no record is there")

    def read_from(
        self, partition: int, offset: int, patience: Patience = Patience()
    ) -> Message | NoRecord:
        """The first record at or after `offset` (compaction leaves gaps), or why there is none."""
        if self._position != (partition, offset):
            self._consumer.assign([TopicPartition(self._topic, partition, offset)])
        self._position = None
        found = self._poll(partition, offset, patience)
        if not isinstance(found, NoRecord):
            self._position = (partition, int(found.offset()) + 1)
        return found

    def _poll(self, partition: int, offset: int, patience: Patience) -> Message | NoRecord:
        began = time.monotonic()
        look = self._stall_seconds
        trouble: KafkaError | None = None
        end: int | None = None
        away = False
        while True:
            if self._on_poll is not None:
                self._on_poll()
            message = self._consumer.poll(POLL_SECONDS)
            error = message.error() if message is not None else None
            if message is not None and error is None:
                if message.offset() >= offset:
                    return message
            elif message is not None and error is not None:
                if error.code() == PARTITION_END:
                    end = int(message.offset())
                elif error.code() in PASSING:
                    trouble, away = error, away or error.code() in UNREACHABLE
                else:
                    return NoRecord(str(error.str()), error)
            seconds = time.monotonic() - began
            if end is not None and seconds >= patience.end:
                return NoRecord("no record is there", end=end)
            if seconds > look and end is None and not away:
                look = seconds + SILENT_SECONDS
                place = (self._topic, partition, offset)
                if reason := unreadable(self._connection, *place, self._on_poll):
                    self._stall_seconds = POLL_SECONDS
                    return NoRecord(reason, trouble, damaged=True)
            if seconds > (patience.away if away else patience.silent):
                reason = f"the broker sent nothing for {seconds:.0f} s"
                return NoRecord(reason, trouble, silent=True, away=away)

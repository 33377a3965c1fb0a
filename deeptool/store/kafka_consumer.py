"""How records are read from Kafka: a consumer's settings, and what its errors mean here."""

from __future__ import annotations

from confluent_kafka import KafkaError, KafkaException

from deeptool.client.connection import Connection
from deeptool.client.kafka_errors import (
    DAMAGED,
    NO_SUCH_OFFSET,
    NO_SUCH_TOPIC,
    PASSING,
    explain,
)
from deeptool.errors import DeeptoolError, WorkError
from deeptool.store.record_store import Lane, replaced_while_read

POLL_SECONDS = 0.25
# Room for one record of about 1 MiB with its framing. Smaller, and a broker would send nothing of a
# partition whose next record does not fit beside those of the others.
FETCH_BYTES = 2 << 20


def consumer_config(connection: Connection, queue_bytes: int) -> dict[str, object]:
    """A consumer that reads what it is assigned and nothing else.

    Parameters
    ----------
    queue_bytes : int
        What librdkafka may fetch ahead.
    """
    return connection.config(
        {
            # Needed by the client, but never joined: partitions are assigned.
            "group.id": "deeptool",
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            # Never jump to where records are when those asked for were deleted.
            "auto.offset.reset": "error",
            "enable.partition.eof": True,
            # Off: behind a damaged batch librdkafka 2.16 aborts the process. `_accept` looks at the
            # CRC that each record has of its own.
            "check.crcs": False,
            # The default of a second stalls a slow reader by whole seconds.
            "fetch.queue.backoff.ms": 2,
            # A fetch that finds nothing new holds up the blocks that are assigned meanwhile.
            "fetch.wait.max.ms": 10,
            "fetch.message.max.bytes": FETCH_BYTES,
            "fetch.max.bytes": max(queue_bytes, FETCH_BYTES),
            "queued.max.messages.kbytes": max(1, queue_bytes >> 10),
        }
    )


def raise_unless_passing(error: KafkaError, topic: str) -> None:
    """Raise what an error of a consumer means for the dataset that it reads."""
    if error.code() not in PASSING:
        raise dataset_error(error, topic)


def dataset_error(error: KafkaError, topic: str) -> DeeptoolError:
    """An error of a consumer, as the error to raise for it."""
    seen = f"{error.str()} ({error.name()})"
    if error.code() in NO_SUCH_TOPIC | NO_SUCH_OFFSET:
        return replaced_while_read(topic, seen)
    if error.code() in DAMAGED:
        return damaged(topic, seen)
    return explain(f"topic {topic} cannot be read", KafkaException(error))


def damaged(topic: str, seen: str) -> WorkError:
    return WorkError(
        f"a record of topic {topic} is damaged",
        seen=seen,
        next_step="deeptool check lists all that are; upload the dataset again with --replace",
    )


def missing(lane: Lane, start: int, stop: int) -> WorkError:
    """The error for records that the catalog lists and the broker does not have."""
    return WorkError(
        "records of a dataset are missing on the broker",
        seen=f"no offset {start} to {stop - 1} in {lane}",
        next_step="deeptool check lists what is damaged; upload it again with --replace",
    )


def silence(
    seconds: float, lane: Lane, offset: int | None, trouble: KafkaError | None
) -> WorkError:
    """The error for a broker that sent nothing for so many seconds."""
    return WorkError(
        f"the broker sent nothing for {seconds:.0f} s",
        seen=f"waiting for offset {offset} of {lane}" + (f"; {trouble.str()}" if trouble else ""),
        next_step="check that the broker runs, then run this again",
    )

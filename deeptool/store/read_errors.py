"""What the errors of a consumer mean for the dataset that is read."""

from __future__ import annotations

from confluent_kafka import KafkaError, KafkaException

from deeptool.client.kafka_errors import (
    DAMAGED,
    NO_SUCH_OFFSET,
    NO_SUCH_TOPIC,
    PASSING,
    explain,
)
from deeptool.errors import DeeptoolError, WorkError
from deeptool.store.record_store import Lane, replaced_while_read


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

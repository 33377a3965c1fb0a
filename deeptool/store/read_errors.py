"""What the errors of a consumer mean for the dataset that is read."""

from __future__ import annotations

from confluent_kafka import KafkaError, KafkaException, Message

from deeptool.client import admin
from deeptool.client.connection import Connection
from deeptool.client.kafka_errors import (
    DAMAGED,
    NO_SUCH_OFFSET,
    NO_SUCH_TOPIC,
    PASSING,
    explain,
)
from deeptool.codec.records import RecordHeader, checksum, headers_damaged, parse_headers
from deeptool.errors import DeeptoolError, WorkError
from deeptool.store.record_store import Lane, replaced_while_read


def raise_unless_passing(error: KafkaError, topic: str, connection: Connection) -> None:
    """Raise what an error of a consumer means for the dataset that it reads.

    A broker that starts again may not know of its own topics for a moment: such an error counts
    once the cluster has been asked for a while.
    """
    if error.code() in NO_SUCH_TOPIC and not admin.is_gone(connection, topic):
        return
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


def header_of(lane: Lane, message: Message, upload: str | None = None) -> RecordHeader | None:
    """The headers of a record that is as it was sent, as far as its two CRCs say.

    Parameters
    ----------
    upload : str, optional
        Whose records are wanted: what another one wrote does not matter.

    Returns
    -------
    RecordHeader or None
        None for a record that deeptool did not write, or another upload in another format.

    Raises
    ------
    WorkError
        It is damaged, or written in another format; names the place.
    """
    place = f"offset {message.offset()} of {lane}"
    try:
        header = parse_headers(message.headers(), upload)
    except WorkError as error:
        raise WorkError(
            error.what,
            seen=f"version {error.seen}, {place}",
            valid=error.valid,
            next_step=error.next_step,
        ) from error
    if header is None:
        if headers_damaged(message.headers(), upload):
            raise damaged(lane.topic, f"{place}: its headers are not as they were written")
        return None
    wanted = upload in (None, header.upload)
    if wanted and checksum(message.value() or b"", message.key()) != header.crc:
        raise damaged(lane.topic, f"{place}: its checksum is wrong")
    return header


def damaged(topic: str, seen: str) -> WorkError:
    return WorkError(
        f"a record of topic {topic} is damaged",
        seen=seen,
        next_step="deeptool check lists all that are; upload the dataset again with --replace",
    )


def damaged_at(lane: Lane, offset: int, reason: str) -> WorkError:
    return damaged(lane.topic, f"offset {offset} of {lane}: {reason}")


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

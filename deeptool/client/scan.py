"""All records in ranges of offsets of one partition, past those that cannot be read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from confluent_kafka import Message

from deeptool.client.connection import Connection
from deeptool.client.consume import SILENT_SECONDS, NoRecord, Patience, RecordReader
from deeptool.client.kafka_errors import NO_SUCH_TOPIC, NOT_ALLOWED, WRONG_CREDENTIALS, explain
from deeptool.errors import WorkError

_REJECTED = NOT_ALLOWED | WRONG_CREDENTIALS | NO_SUCH_TOPIC


@dataclass(frozen=True)
class Unreadable:
    """Offsets start, ..., stop - 1 of a range gave no record."""

    start: int
    stop: int
    reason: str


def scan(
    connection: Connection,
    topic: str,
    partition: int,
    ranges: Sequence[tuple[int, int, int]],
    silent_seconds: float = SILENT_SECONDS,
) -> Iterator[tuple[int, Message | Unreadable]]:
    """Every record of `ranges`, in the order of offsets, and what cannot be read in between.

    Parameters
    ----------
    ranges : sequence of (int, int, int)
        A number to come with what is found there, the first offset, the one behind the last;
        ascending.
    silent_seconds : float
        A broker that sends nothing for so long cannot read its log at that place.

    Raises
    ------
    WorkError
        The broker is gone, or rejects this client.
    """
    with RecordReader(connection, topic) as reader:

        def read(offset: int) -> Message | str:
            found = reader.read(partition, offset, Patience(silent=silent_seconds))
            return _reason(topic, found) if isinstance(found, NoRecord) else found

        for number, position, stop in ranges:
            while position < stop:
                found = read(position)
                # Everything behind a damaged batch is still wanted: which records are lost is the
                # answer that a check is for.
                if isinstance(found, str):
                    resumed = _next_readable(
                        lambda offset: not isinstance(read(offset), str), position, stop
                    )
                    yield number, Unreadable(position, resumed, found)
                    position = resumed
                else:
                    yield number, found
                    position += 1


def _reason(topic: str, found: NoRecord) -> str:
    """What is wrong with one place in the log; an error where nothing more can be read at all."""
    if found.error is not None and found.error.code() in _REJECTED:
        raise explain(f"topic {topic} cannot be read", found.error)
    if found.away:
        raise WorkError(
            "the broker no longer answers",
            seen=found.reason,
            next_step="check that the broker runs, then check the dataset again",
        )
    return f"{found.reason}: its log cannot be read there" if found.silent else found.reason


def _next_readable(readable: Callable[[int], bool], bad: int, stop: int) -> int:
    """The first offset behind `bad` that gives a record; `stop` where none does.

    A batch that cannot be read does not say where it ends, so that it is searched for: in growing
    steps, then by halves.
    """
    step, good = 1, stop
    while bad + step < stop:
        if readable(bad + step):
            good = bad + step
            break
        bad, step = bad + step, 2 * step
    while good - bad > 1:
        middle = (bad + good) // 2
        if readable(middle):
            good = middle
        else:
            bad = middle
    return good

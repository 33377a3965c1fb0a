"""The catalog's log on a broker: read it, append to it."""

from __future__ import annotations

import threading
import time

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from deeptool.catalog import events
from deeptool.catalog.bad_record import BadRecord
from deeptool.catalog.damage import unreadable_catalog
from deeptool.catalog.event_frame import MAX_EVENT_BYTES
from deeptool.catalog.events import Event
from deeptool.catalog.fold import TopicState, fold
from deeptool.client import admin
from deeptool.client.connection import Connection
from deeptool.client.consume import NoRecord, Patience, RecordReader
from deeptool.client.kafka_errors import (
    DAMAGED,
    NO_SUCH_OFFSET,
    NO_SUCH_TOPIC,
    NOT_ALLOWED,
    explain,
)
from deeptool.client.topic_names import CATALOG_TOPIC
from deeptool.errors import WorkError

_CATALOG_CONFIG = {"cleanup.policy": "compact", "max.message.bytes": str(MAX_EVENT_BYTES)}
# Waiting does not help: the log is shorter, or this user may not read it.
_FATAL = NO_SUCH_OFFSET | NOT_ALLOWED
_MOST_BAD = 1000
# How long the log may seem shorter than it was.
_SHORT_SECONDS = 5.0
# Between attempts after any other error.
_PAUSE_SECONDS = 0.5


class CatalogLog:
    """The topic `deeptool.catalog` of one cluster: a log that is read incrementally.

    Usable by several threads; a context manager.

    Attributes
    ----------
    connection : Connection
    read_seconds : float
        How long a broker may take to deliver the log: one that restarts is waited for.
    append_seconds : float
        How long it may take to acknowledge an event: no event is lost while a broker restarts.
    bad_records : tuple of BadRecord
        What was read and is no event, the latest last; not more than a thousand of them.
    """

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.read_seconds = self.append_seconds = 120.0
        self.bad_records: tuple[BadRecord, ...] = ()
        self._catalog: dict[str, TopicState] = {}
        self._next = 0
        self._created = False
        self._reader: RecordReader | None = None
        self._producer: Producer | None = None
        self._lock = threading.RLock()

    def __enter__(self) -> CatalogLog:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        with self._lock:
            if self._reader is not None:
                self._reader.close()
            self._reader = self._producer = None

    def read(self, *, create: bool = False) -> dict[str, TopicState]:
        """What is stored, by all events up to the end of the log as it is now.

        A missing catalog is an empty one; with `create` it is created.

        Raises
        ------
        WorkError
            The broker did not deliver the log in `read_seconds`.
        """
        with self._lock:
            return self._read(0) if self._open(create) else {}

    def append(self, event: Event) -> dict[str, TopicState]:
        """Append one event, then read at least up to it.

        Raises
        ------
        WorkError
            The broker did not acknowledge it in `append_seconds`: it may be in the log or not.
        """
        with self._lock:
            self._open(create=True)
            return self._read(self._deliver(event) + 1)

    def _open(self, create: bool) -> bool:
        if create and not self._created:
            admin.create_topic(self.connection, CATALOG_TOPIC, partitions=1, config=_CATALOG_CONFIG)
            self._created = True
        if self._reader is not None:
            return True
        # deeptool never deletes records of the catalog, but somebody else may.
        known = (0,) if self._created else ()
        starts = admin.start_offsets(self.connection, CATALOG_TOPIC, known)
        if not starts:
            return False
        self._next = starts[0]
        self._reader = RecordReader(self.connection, CATALOG_TOPIC)
        return True

    def _read(self, at_least: int) -> dict[str, TopicState]:
        reader = self._reader
        if reader is None:
            raise WorkError("the catalog is not open")
        deadline = time.monotonic() + self.read_seconds
        end = max(at_least, self._end(reader, deadline))
        settled = time.monotonic() + _SHORT_SECONDS
        while end < self._next and time.monotonic() < settled:
            # A broker that leads the log anew may not know yet how much of it there is.
            time.sleep(_PAUSE_SECONDS)
            end = max(at_least, self._end(reader, deadline))
        if end < self._next:
            raise WorkError(
                "the catalog was deleted and created again while it was read",
                seen=f"it ends at offset {end}, but {self._next} events were read",
                next_step="start again; what it said before is lost",
            )
        found: list[Event | BadRecord] = []
        try:
            while self._next < end:
                event = self._next_event(reader, deadline)
                if event is not None:
                    found.append(event)
        finally:
            # Also where the rest does not come: what was read is not read again.
            self._catalog = fold(found, self._catalog)
            bad = (record for record in found if isinstance(record, BadRecord))
            self.bad_records = (*self.bad_records, *bad)[-_MOST_BAD:]
        reader.rest()
        return dict(self._catalog)

    def _next_event(self, reader: RecordReader, deadline: float) -> Event | BadRecord | None:
        """The next record, if one could be read; `_next` is the offset behind it."""
        remaining = max(0.0, deadline - time.monotonic())
        found = reader.read_from(0, self._next, Patience(silent=remaining, away=remaining))
        if not isinstance(found, NoRecord):
            self._next = int(found.offset()) + 1
            return events.read_record(int(found.offset()), found.key(), found.value())
        if found.damaged or (found.error is not None and found.error.code() in DAMAGED):
            raise unreadable_catalog(self._next, found.reason)
        if found.end is not None:
            # Compaction leaves gaps: the end can be reached without a record there.
            self._next = max(self._next, found.end)
        elif found.error is not None and not found.silent:
            self._pause("the catalog can no longer be read", found.error, deadline)
            return None
        if time.monotonic() > deadline:
            what = f"the broker did not deliver the catalog within {self.read_seconds:.0f} s"
            raise explain(what, found.error) if found.error else WorkError(what)
        if found.error is not None:
            time.sleep(_PAUSE_SECONDS)
        return None

    def _end(self, reader: RecordReader, deadline: float) -> int:
        failed = "the end of the catalog could not be read"
        while True:
            try:
                return reader.end_offset(0, max(1.0, deadline - time.monotonic()))
            except KafkaException as error:
                self._pause(failed, error.args[0], deadline)

    def _pause(self, failed: str, error: KafkaError, deadline: float) -> None:
        """Return after a while if an error may pass, as those of a broker that starts again do."""
        fatal = error.code() in _FATAL
        if error.code() in NO_SUCH_TOPIC:
            fatal = admin.is_gone(self.connection, CATALOG_TOPIC)
        if fatal or time.monotonic() > deadline:
            raise explain(failed, error)
        time.sleep(_PAUSE_SECONDS)

    def _deliver(self, event: Event) -> int:
        """The offset of `event`."""
        if self._producer is None:
            self._producer = Producer(
                self.connection.config(
                    {
                        "enable.idempotence": True,
                        "acks": "all",
                        "linger.ms": 0,
                        "message.max.bytes": MAX_EVENT_BYTES,
                        "message.timeout.ms": int(self.append_seconds * 1000),
                    }
                )
            )
        reports: list[tuple[KafkaError | None, Message]] = []
        failed = f"event '{event.event}' of topic {event.topic} was not appended to the catalog"
        try:
            self._producer.produce(
                CATALOG_TOPIC,
                events.to_json(event),
                events.record_key(event),
                partition=0,
                on_delivery=lambda *report: reports.append(report),
            )
            deadline = time.monotonic() + self.append_seconds + 5
            while not reports and time.monotonic() < deadline:
                self._producer.poll(0.5)
        except KafkaException as error:
            self._producer = None
            raise explain(failed, error) from error
        if not reports or reports[0][0] is not None:
            self._producer = None
            if reports and reports[0][0] is not None:
                raise explain(failed, reports[0][0])
            raise WorkError(failed, seen=f"no answer in {self.append_seconds:.0f} s")
        return int(reports[0][1].offset())

"""The catalog's log on a broker: read it, append to it."""

from __future__ import annotations

import threading
import time
from types import TracebackType

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition

from deeptool.catalog import events
from deeptool.catalog.events import Event
from deeptool.catalog.fold import TopicState, apply
from deeptool.client import admin
from deeptool.client.connection import Connection
from deeptool.client.kafka_errors import (
    NO_SUCH_OFFSET,
    NO_SUCH_TOPIC,
    NOT_ALLOWED,
    PARTITION_END,
    explain,
)
from deeptool.client.topic_names import CATALOG_TOPIC
from deeptool.errors import WorkError

MAX_EVENT_BYTES = 64 << 20
_CATALOG_CONFIG = {"cleanup.policy": "compact", "max.message.bytes": str(MAX_EVENT_BYTES)}
# A broker's restart within a minute must lose no event.
APPEND_SECONDS = 120.0
READ_SECONDS = 60.0
# What no waiting heals: the topic is gone, or not for this user.
_FATAL = NO_SUCH_TOPIC | NO_SUCH_OFFSET | NOT_ALLOWED


class CatalogLog:
    """The topic `deeptool.catalog` of one cluster: a log that is read incrementally.

    Usable by several threads; a context manager.
    """

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self._catalog: dict[str, TopicState] = {}
        self._next = 0
        self._made = False
        self._consumer: Consumer | None = None
        self._producer: Producer | None = None
        self._lock = threading.RLock()

    def __enter__(self) -> CatalogLog:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        with self._lock:
            if self._consumer is not None:
                self._consumer.close()
            self._consumer = self._producer = None

    def read(self, *, create: bool = False) -> dict[str, TopicState]:
        """What is stored, by all events up to the end of the log as it is now.

        A missing catalog is an empty one; with `create` it is made.

        Raises
        ------
        WorkError
            The broker did not deliver the log in `READ_SECONDS`.
        """
        with self._lock:
            return self._read(0) if self._open(create) else {}

    def append(self, event: Event) -> dict[str, TopicState]:
        """Append one event, then read at least up to it.

        Raises
        ------
        WorkError
            The broker did not acknowledge it in `APPEND_SECONDS`: it may be in the log or not.
        """
        with self._lock:
            self._open(create=True)
            return self._read(self._deliver(event) + 1)

    def _open(self, create: bool) -> bool:
        if create and not self._made:
            admin.create_topic(self.connection, CATALOG_TOPIC, partitions=1, config=_CATALOG_CONFIG)
            self._made = True
        if self._consumer is not None:
            return True
        if not admin.partitions(self.connection, CATALOG_TOPIC):
            return False
        # Records of the catalog are never deleted by deeptool, but may be by somebody else.
        self._next = admin.start_offsets(self.connection, CATALOG_TOPIC)[0]
        self._consumer = Consumer(
            self.connection.config(
                {
                    # Needed by the client, but never joined: partitions are assigned.
                    "group.id": "deeptool",
                    "enable.auto.commit": False,
                    "auto.offset.reset": "error",
                    "enable.partition.eof": True,
                    "fetch.queue.backoff.ms": 2,
                    # A fetch at the end of the log holds up whatever is asked next.
                    "fetch.wait.max.ms": 10,
                }
            )
        )
        return True

    def _read(self, at_least: int) -> dict[str, TopicState]:
        consumer = self._consumer
        if consumer is None:
            raise WorkError("the catalog is not open")
        deadline = time.monotonic() + READ_SECONDS
        end = max(at_least, self._end(consumer))
        if end < self._next:
            raise WorkError(
                "the catalog was deleted and made anew while it was read",
                seen=f"it ends at offset {end}, but {self._next} events were read",
                next_step="start again; what it said before is lost",
            )
        trouble: KafkaError | None = None
        if self._next < end:
            consumer.assign([TopicPartition(CATALOG_TOPIC, 0, self._next)])
        while self._next < end:
            message = consumer.poll(0.5)
            error = message.error() if message is not None else None
            if message is not None and error is None:
                self._apply(message)
            elif message is not None and error is not None:
                if error.code() == PARTITION_END:
                    # Compaction leaves gaps: the end can be reached without a record there.
                    self._next = max(self._next, int(message.offset()))
                elif error.code() in _FATAL:
                    raise explain("the catalog cannot be read any more", error)
                else:
                    trouble = error
            if self._next < end and time.monotonic() > deadline:
                what = f"the broker did not deliver the catalog within {READ_SECONDS:.0f} s"
                raise explain(what, trouble) if trouble else WorkError(what)
        # An idle consumer would keep its connection busy with fetches that wait for more.
        consumer.unassign()
        return dict(self._catalog)

    def _apply(self, message: Message) -> None:
        event = events.from_json(message.value() or b"")
        if event is not None:
            state = self._catalog.get(event.topic, TopicState())
            self._catalog[event.topic] = apply(state, event)
        self._next = int(message.offset()) + 1

    def _end(self, consumer: Consumer) -> int:
        try:
            _, end = consumer.get_watermark_offsets(
                TopicPartition(CATALOG_TOPIC, 0), timeout=READ_SECONDS, cached=False
            )
        except KafkaException as error:
            raise explain("the end of the catalog could not be read", error) from error
        return int(end)

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
                        "message.timeout.ms": int(APPEND_SECONDS * 1000),
                    }
                )
            )
        reports: list[tuple[KafkaError | None, Message]] = []
        failed = f"the catalog did not take the event '{event.event}' of topic {event.topic}"
        try:
            self._producer.produce(
                CATALOG_TOPIC,
                events.to_json(event),
                events.key(event),
                partition=0,
                on_delivery=lambda *report: reports.append(report),
            )
            deadline = time.monotonic() + APPEND_SECONDS + 5
            while not reports and time.monotonic() < deadline:
                self._producer.poll(0.5)
        except KafkaException as error:
            self._producer = None
            raise explain(failed, error) from error
        if not reports or reports[0][0] is not None:
            self._producer = None
            if reports and reports[0][0] is not None:
                raise explain(failed, reports[0][0])
            raise WorkError(failed, seen=f"no answer in {APPEND_SECONDS:.0f} s")
        return int(reports[0][1].offset())

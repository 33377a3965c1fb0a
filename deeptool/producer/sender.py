"""Records on their way to the broker, and what it acknowledged of them."""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Callable, Sequence

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from deeptool.client.connection import Connection
from deeptool.client.kafka_errors import TOO_LARGE, UNREACHABLE
from deeptool.codec.records import Record
from deeptool.errors import WorkError
from deeptool.producer.ledger import Ledger, RecordFacts

_log = logging.getLogger(__name__)

# Long enough for a broker that is killed and started again within a minute or two.
DELIVERY_SECONDS = 300
# The largest message, and what librdkafka may hold: memory stays bounded at any record size.
QUEUE_BYTES = 64 << 20

_POLL_SECONDS = 0.2


class Sender:
    """An idempotent producer without transactions, that counts what was acknowledged.

    Only delivery callbacks count: ``flush`` returns 0 even when messages timed out. Memory is
    bounded by librdkafka's queue.

    Parameters
    ----------
    connection : Connection
    topic : str
    partitions : sequence of int
        Records are dealt out to them in turn.
    compression : str
        One of `deeptool.codec.COMPRESSIONS`.
    max_message_bytes : int
        The topic's limit.
    delivery_seconds : int
        How long a record is tried before the upload fails.
    """

    def __init__(
        self,
        connection: Connection,
        topic: str,
        partitions: Sequence[int],
        *,
        compression: str,
        max_message_bytes: int,
        delivery_seconds: int = DELIVERY_SECONDS,
    ) -> None:
        self.ledger = Ledger()
        self._topic, self._max_message_bytes = topic, max_message_bytes
        self._turns = itertools.cycle(partitions)
        self._failure: WorkError | None = None
        self._sent = self._rejected = 0
        self._warned = 0.0
        self._producer = Producer(
            connection.config(
                {
                    # A retry is stored once, and in order. No transaction: its markers would take
                    # offsets of the topic, and an open one holds up every reader.
                    "enable.idempotence": True,
                    "acks": "all",
                    "compression.type": compression,
                    "message.max.bytes": QUEUE_BYTES,
                    "queue.buffering.max.kbytes": QUEUE_BYTES >> 10,
                    "linger.ms": 5,
                    "delivery.timeout.ms": delivery_seconds * 1000,
                    "retry.backoff.ms": 100,
                    "reconnect.backoff.max.ms": 1000,
                    # A broker that has just started may not know its topics yet.
                    "topic.metadata.propagation.max.ms": delivery_seconds * 1000,
                    "error_cb": self._on_error,
                }
            )
        )

    def send(self, epoch: int, record: Record, partition: int | None = None) -> None:
        """Hand over one record; waits while librdkafka's queue is full.

        Parameters
        ----------
        partition : int, optional
            Where it has to lie; by default the next in turn.

        Raises
        ------
        WorkError
            A record was rejected or not acknowledged in time, or the sender was stopped.
        """
        partition = next(self._turns) if partition is None else partition
        facts = RecordFacts.of(record)
        on_delivery = self._accounting(epoch, partition, facts)
        while True:
            self.serve()
            try:
                self._producer.produce(
                    self._topic,
                    record.value,
                    record.key,
                    partition,
                    headers=record.headers,
                    on_delivery=on_delivery,
                )
                self._sent += 1
                return
            except BufferError:
                # Bounded: what is in the queue is delivered or times out.
                self.serve(_POLL_SECONDS)
            except KafkaException as error:
                self._rejected += 1
                raise self._explain(error.args[0], facts.size) from error

    def wait(self) -> None:
        """Return once everything sent is acknowledged.

        Raises
        ------
        WorkError
            Something was not.
        """
        while len(self._producer):
            self.serve(_POLL_SECONDS)
        self.serve()
        if self.ledger.records != self._sent:
            raise WorkError(
                "not every record was acknowledged",
                seen=f"{self.ledger.records} of {self._sent}",
                next_step="upload again",
            )

    def stop(self, reason: WorkError | None = None) -> None:
        """Write nothing more: drop what is queued. `send` and `wait` raise `reason` from now on.

        May be called from any thread.
        """
        if self._failure is None:
            self._failure = reason or WorkError("the upload was stopped")
        self._producer.purge()

    def serve(self, seconds: float = 0.0) -> None:
        """Take in acknowledgements, waiting up to `seconds` for one.

        Raises
        ------
        WorkError
            A record was not acknowledged, or the sender was stopped.
        """
        if self._failure is not None:
            raise self._failure
        self._producer.poll(seconds)
        if self._failure is not None:
            raise self._failure

    def _accounting(
        self, epoch: int, partition: int, facts: RecordFacts
    ) -> Callable[[KafkaError | None, Message], None]:
        def on_delivery(error: KafkaError | None, message: Message) -> None:
            if self._failure is not None:
                return
            if error is not None:
                self._rejected += 1
                self._failure = self._explain(error, facts.size)
                return
            try:
                self.ledger.acknowledge(epoch, partition, message.offset(), facts)
            except WorkError as lost:
                self._failure = lost

        return on_delivery

    def _explain(self, error: KafkaError, size: int) -> WorkError:
        if error.code() in TOO_LARGE:
            return WorkError(
                "the broker rejects a record as too large",
                seen=f"a record of {size:,} bytes; topic {self._topic} takes "
                f"{self._max_message_bytes:,} (max.message.bytes)",
                next_step="make samples smaller in get_input_pipeline, or have the topic's "
                "max.message.bytes raised",
            )
        return WorkError(
            f"{self._rejected} of {self._sent} records sent were not acknowledged",
            seen=f"first: {error.str()} ({error.name()})",
            next_step="check that the broker is up and its disk is not full (deeptool-hpc broker"
            " status --dir DIR says why an embedded one stopped), then upload again",
        )

    def _on_error(self, error: KafkaError) -> None:
        now = time.monotonic()
        if error.code() in UNREACHABLE and now - self._warned > 30:
            self._warned = now
            _log.warning(
                "the broker does not answer (%s); the upload resumes if it is back within %d s",
                error.str(),
                DELIVERY_SECONDS,
            )

"""Records by way of librdkafka: one consumer a pass, partitions assigned as they are needed."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import TracebackType

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from deeptool.client.connection import Connection
from deeptool.client.kafka_errors import (
    DAMAGED,
    NO_SUCH_OFFSET,
    NO_SUCH_TOPIC,
    PARTITION_END,
    PASSING,
    explain,
)
from deeptool.codec.records import checksum, parse_headers
from deeptool.errors import DeeptoolError, WorkError
from deeptool.store import shutdown
from deeptool.store.pass_plan import Block, Lane
from deeptool.store.read_meter import FetchClock, ReadMeter
from deeptool.store.record_order import Stored

# A broker that is restarted within that time is waited for.
SILENCE_SECONDS = 120.0
# So long a partition may seem to end too early, as after a change of its leader.
SHORT_SECONDS = 15.0
_POLL_SECONDS = 0.25
# Room for one record of about 1 MiB with its framing: of further partitions, a broker sends no
# record that does not fit, and so nothing.
_FETCH_BYTES = 2 << 20


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
            "fetch.message.max.bytes": _FETCH_BYTES,
            "fetch.max.bytes": max(queue_bytes, _FETCH_BYTES),
            "queued.max.messages.kbytes": max(1, queue_bytes >> 10),
        }
    )


@dataclass
class _LaneState:
    """Where a lane is: fetching a block, with others opened behind it and records arrived."""

    blocks: list[Block] = field(default_factory=list)
    # How many of `blocks` are done, and how many were opened.
    done: int = 0
    opened: int = 0
    # The offset expected next; None while nothing is assigned.
    position: int | None = None
    arrived: deque[Stored] = field(default_factory=deque)
    # Where the partition goes on or ends, if that leaves out some of the block.
    gap: int | None = None

    @property
    def block(self) -> Block:
        return self.blocks[self.done]


class Fetcher:
    """The records of a pass, fetched ahead of their use within bounds; a context manager.

    Parameters
    ----------
    order : sequence of Block
        In the order in which they will be taken, about.
    window : int
        How many records may be fetched ahead of those taken, beyond what librdkafka has queued.
    queue_bytes : int
        How much librdkafka may have queued.
    meter : ReadMeter
    """

    def __init__(
        self,
        connection: Connection,
        order: Sequence[Block],
        *,
        window: int,
        queue_bytes: int,
        meter: ReadMeter,
    ) -> None:
        self._order, self._window, self._meter = order, window, meter
        self._lanes: dict[Lane, _LaneState] = {}
        self._numbers: list[int] = []
        for block in order:
            state = self._lanes.setdefault(block.lane, _LaneState())
            self._numbers.append(len(state.blocks))
            state.blocks.append(block)
        # The next of `order` to open, and how many records were opened and not taken yet.
        self._next, self._ahead = 0, 0
        self._trouble: KafkaError | None = None
        self._clock = FetchClock()
        config = consumer_config(connection, queue_bytes)
        self._consumer = Consumer({**config, "error_cb": self._note})
        self._open_ahead()

    def __enter__(self) -> Fetcher:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._meter.count(cpu=self._clock.seconds_more(at_once=True))
        self._clock.stop()
        self._consumer.close()

    def take(self, lane: Lane) -> Stored:
        """The next record of a lane, whoever wrote it.

        Raises
        ------
        WorkError
            The broker is gone, or has not what the catalog says.
        """
        state = self._lanes[lane]
        if not state.arrived:
            self._await(lane, state)
        record = state.arrived.popleft()
        self._ahead -= 1
        self._open_ahead()
        return record

    def _await(self, lane: Lane, state: _LaneState) -> None:
        began = time.monotonic()
        while not state.arrived:
            shutdown.check()
            while state.done == state.opened:
                self._open_next()
            message = self._consumer.poll(_POLL_SECONDS)
            if message is not None and self._receive(message):
                began = time.monotonic()
                continue
            silent = time.monotonic() - began
            if silent > (SILENCE_SECONDS if state.gap is None else SHORT_SECONDS):
                raise self._silence(lane, state)

    def _open_ahead(self) -> None:
        while self._next < len(self._order):
            if self._ahead and self._ahead + len(self._order[self._next]) > self._window:
                return
            self._open_next()

    def _open_next(self) -> None:
        """Let the next block in order be fetched, if it is not already."""
        block, number = self._order[self._next], self._numbers[self._next]
        self._next += 1
        state = self._lanes[block.lane]
        if number == state.opened:
            self._open(state)

    def _open(self, state: _LaneState) -> None:
        state.opened += 1
        self._ahead += len(state.blocks[state.opened - 1])
        if state.position is None:
            self._assign(state)

    def _receive(self, message: Message) -> bool:
        """Whether it is a record that was waited for."""
        lane = Lane(message.topic() or "", message.partition() or 0)
        error = message.error()
        state = self._lanes.get(lane)
        if error is not None and error.code() != PARTITION_END:
            self._note(error)
            raise_unless_passing(error, lane.topic)
            return False
        if state is None or state.position is None:
            return False  # Fetched before librdkafka heard that it is no longer wanted.
        offset = int(message.offset())
        if error is None and offset == state.position:
            self._accept(lane, state, message)
            return True
        if error is None and state.position < offset < state.block.stop:
            raise _missing(lane, state.position, offset)
        if error is None or offset < state.block.stop:
            state.gap = offset
        return False

    def _accept(self, lane: Lane, state: _LaneState, message: Message) -> None:
        value, key = message.value() or b"", message.key()
        header = parse_headers(message.headers())
        offset = int(message.offset())
        if header is not None and checksum(value, key) != header.crc:
            raise _damaged(lane.topic, f"offset {offset} of {_place(lane)}: its checksum is wrong")
        state.arrived.append(Stored(offset, key, value, header))
        state.position, state.gap = offset + 1, None
        self._meter.count(
            samples=header.count if header else 0,
            records=1,
            size=len(value) + len(key or b""),
            cpu=self._clock.seconds_more(),
        )
        if offset + 1 < state.block.stop:
            return
        state.done += 1
        neighbour = state.done < len(state.blocks) and state.block.start == offset + 1
        if neighbour and state.done == state.opened and self._ahead < 2 * self._window:
            # Rather go on in the same place than pay for coming back to it.
            self._open(state)
        if neighbour and state.done < state.opened:
            return
        self._consumer.incremental_unassign([TopicPartition(*lane)])
        state.position = None
        if state.done < state.opened:
            self._assign(state)

    def _assign(self, state: _LaneState) -> None:
        block = state.block
        self._consumer.incremental_assign([TopicPartition(*block.lane, block.start)])
        state.position, state.gap = block.start, None

    def _note(self, error: KafkaError) -> None:
        self._trouble = error

    def _silence(self, lane: Lane, state: _LaneState) -> WorkError:
        if state.gap is not None and state.position is not None:
            return _missing(lane, state.position, state.block.stop)
        return silence(f"offset {state.position} of {_place(lane)}", self._trouble)


def _place(lane: Lane) -> str:
    return f"partition {lane.partition} of topic {lane.topic}"


def _missing(lane: Lane, start: int, stop: int) -> WorkError:
    return WorkError(
        "records of a dataset are missing on the broker",
        seen=f"no offset {start} to {stop - 1} in {_place(lane)}",
        next_step="deeptool check says what is damaged; upload it again with --replace",
    )


def silence(waiting_for: str, trouble: KafkaError | None) -> WorkError:
    """The error for a broker that has been silent for too long."""
    return WorkError(
        f"the broker sent nothing for {SILENCE_SECONDS:.0f} s",
        seen=f"waiting for {waiting_for}" + (f"; {trouble.str()}" if trouble else ""),
        next_step="see whether the broker runs, then run it again",
    )


class FirstSamples:
    """Looks up which sample a record begins with; a context manager.

    Parameters
    ----------
    topic : str
    upload : str
        Whose records they are.
    """

    def __init__(self, connection: Connection, topic: str, upload: str) -> None:
        self._connection, self._topic, self._upload = connection, topic, upload
        self._consumer: Consumer | None = None

    def __enter__(self) -> FirstSamples:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._consumer is not None:
            self._consumer.close()

    def __call__(self, partition: int, offset: int) -> int:
        """The index of the first sample of a record.

        Raises
        ------
        WorkError
            The record cannot be read, or is not of that upload.
        """
        lane = Lane(self._topic, partition)
        if self._consumer is None:
            self._consumer = Consumer(consumer_config(self._connection, _FETCH_BYTES))
        self._consumer.assign([TopicPartition(*lane, offset)])
        began = time.monotonic()
        trouble: KafkaError | None = None
        while time.monotonic() - began < SILENCE_SECONDS:
            shutdown.check()
            message = self._consumer.poll(_POLL_SECONDS)
            if message is None:
                continue
            trouble = message.error()
            if trouble is None:
                header = parse_headers(message.headers())
                if int(message.offset()) == offset and header and header.upload == self._upload:
                    return header.first
                raise _missing(lane, offset, offset + 1)
            if trouble.code() != PARTITION_END:
                raise_unless_passing(trouble, self._topic)
        raise silence(f"offset {offset} of {_place(lane)}", trouble)


def raise_unless_passing(error: KafkaError, topic: str) -> None:
    """Raise what an error of a consumer means for the dataset that it reads."""
    if error.code() not in PASSING:
        raise meaning(error, topic)


def meaning(error: KafkaError, topic: str) -> DeeptoolError:
    """An error of a consumer, as the error to raise for it."""
    seen = f"{error.str()} ({error.name()})"
    if error.code() in NO_SUCH_TOPIC | NO_SUCH_OFFSET:
        return WorkError(
            f"the dataset in topic {topic} was deleted or replaced while it was read",
            seen=seen,
            next_step="deeptool inspect lists what is stored now; start again to read that",
        )
    if error.code() in DAMAGED:
        return _damaged(topic, seen)
    return explain(f"topic {topic} cannot be read", KafkaException(error))


def _damaged(topic: str, seen: str) -> WorkError:
    return WorkError(
        f"a record of topic {topic} is damaged",
        seen=seen,
        next_step="deeptool check lists all that are; upload the dataset again with --replace",
    )

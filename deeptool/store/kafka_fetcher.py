"""The records of one pass by librdkafka: one consumer, partitions assigned as they are needed."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import TracebackType

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from deeptool.client.connection import Connection
from deeptool.client.consume import POLL_SECONDS, SILENT_SECONDS, consumer_config
from deeptool.client.kafka_errors import PARTITION_END
from deeptool.client.unreadable import STALL_SECONDS, unreadable
from deeptool.codec.records import TARGET_BYTES
from deeptool.errors import WorkError
from deeptool.store import read_shutdown
from deeptool.store.fetch_clock import FetchClock
from deeptool.store.read_errors import (
    damaged_at,
    header_of,
    missing,
    raise_unless_passing,
    silence,
)
from deeptool.store.read_meter import ReadMeter
from deeptool.store.record_store import Block, Lane, StoredRecord

# How long a partition may seem to end too early, as after a change of its leader.
SHORT_SECONDS = 15.0
# Where a lane is read in runs of fewer records than this, what was fetched behind a run is lost.
_SHORT_RUN = 8
_SHORT_RUNS = {
    # Room for one record of the usual size, with its framing.
    "fetch.message.max.bytes": TARGET_BYTES + (16 << 10),
    # Nothing more of a lane before its records were taken: by then it may be wanted elsewhere.
    # Measured with runs of one record of 1 MiB: half the traffic, and 1.4 times as fast.
    "queued.min.messages": 1,
    # So long that a lane is elsewhere before it is fetched again: with 1 ms, 14% more traffic.
    "fetch.queue.backoff.ms": 2,
}


@dataclass
class _LaneState:
    """Where a lane is: fetching a block, with others opened behind it and records arrived."""

    blocks: list[Block] = field(default_factory=list)
    # How many of `blocks` are done, and how many were opened.
    done: int = 0
    opened: int = 0
    # The offset expected next; None while nothing is assigned.
    position: int | None = None
    arrived: deque[StoredRecord] = field(default_factory=deque)
    # The offset at which the partition continues or ends, where that skips some of the block.
    gap: int | None = None

    @property
    def block(self) -> Block:
        return self.blocks[self.done]


class KafkaFetcher:
    """The records of a pass, fetched ahead of their use within bounds; a context manager.

    Every lane that has an open block is assigned to the one consumer. A block is opened when the
    window has room for it, in the order of the pass, and its lane is unassigned at its end: so
    librdkafka fetches from many partitions at once, and never past what will be used.

    Parameters
    ----------
    order : sequence of Block
        In the order in which they will be taken, about.
    window : int
        How many records may be fetched ahead of those taken, beyond what librdkafka has queued.
    queue_bytes : int
        How much librdkafka may have queued.
    silence_seconds : float
        A broker that is restarted within this time is waited for.
    meter : ReadMeter
    """

    def __init__(
        self,
        connection: Connection,
        order: Sequence[Block],
        *,
        window: int,
        queue_bytes: int,
        silence_seconds: float,
        meter: ReadMeter,
    ) -> None:
        self._connection = connection
        self._order, self._window, self._meter = order, window, meter
        self._silence_seconds = silence_seconds
        self._lanes: dict[Lane, _LaneState] = {}
        self._numbers: list[int] = []
        runs = 0
        for block in order:
            state = self._lanes.setdefault(block.lane, _LaneState())
            self._numbers.append(len(state.blocks))
            runs += not state.blocks or state.blocks[-1].stop != block.start
            state.blocks.append(block)
        # The next of `order` to open, and how many records were opened and not taken yet, and of
        # these, how many have arrived.
        self._next, self._ahead, self._arrived = 0, 0, 0
        self._trouble: KafkaError | None = None
        self._clock = FetchClock()
        config = consumer_config(connection, ahead_bytes=queue_bytes)
        if sum(map(len, order)) < _SHORT_RUN * runs:
            config.update(_SHORT_RUNS)
        self._consumer = Consumer({**config, "error_cb": self._note})
        self._open_ahead()

    def __enter__(self) -> KafkaFetcher:
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

    def take_record(self, lane: Lane) -> StoredRecord:
        """The next record of a lane, whoever wrote it (see `PassRecords`).

        Raises
        ------
        WorkError
            The broker is silent, or does not hold what the catalog says.
        """
        state = self._lanes[lane]
        if not state.arrived:
            self._await(lane, state)
        record = state.arrived.popleft()
        self._ahead, self._arrived = self._ahead - 1, self._arrived - 1
        self._open_ahead()
        self._take_in()
        return record

    def _take_in(self) -> None:
        """Receive what is there, so that lanes that are done with a block begin the next one.

        No more than the window: the rest waits in librdkafka's queue, which stops fetching. A lane
        that is unassigned because too much has arrived loses what was fetched of it.
        """
        while self._arrived < self._window and (message := self._consumer.poll(0)) is not None:
            self._receive(message)

    def _await(self, lane: Lane, state: _LaneState) -> None:
        began = time.monotonic()
        look = STALL_SECONDS
        while not state.arrived:
            read_shutdown.check()
            while state.done == state.opened:
                self._open_next()
            message = self._consumer.poll(POLL_SECONDS)
            if message is not None and self._receive(message):
                began, look = time.monotonic(), STALL_SECONDS
                continue
            silent = time.monotonic() - began
            if silent > look and state.gap is None and state.position is not None:
                look = silent + SILENT_SECONDS
                self._look_at(lane, state.position)
            if silent > (self._silence_seconds if state.gap is None else SHORT_SECONDS):
                raise self._silence(lane, state)

    def _look_at(self, lane: Lane, offset: int) -> None:
        """Raise `WorkError` where the broker cannot read a record that is waited for."""
        if reason := unreadable(self._connection, *lane, offset, read_shutdown.check):
            raise damaged_at(lane, offset, reason)

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
            raise_unless_passing(error, lane.topic, self._connection)
            return False
        if state is None or state.position is None:
            return False  # Fetched before librdkafka heard that it is no longer wanted.
        offset = int(message.offset())
        if error is None and offset == state.position:
            self._accept(lane, state, message)
            return True
        if error is None and state.position < offset < state.block.stop:
            raise missing(lane, state.position, offset)
        if error is None or offset < state.block.stop:
            state.gap = offset
        return False

    def _accept(self, lane: Lane, state: _LaneState, message: Message) -> None:
        value, key = message.value() or b"", message.key()
        header, offset = header_of(lane, message), int(message.offset())
        state.arrived.append(StoredRecord(offset, key, value, header))
        state.position, state.gap = offset + 1, None
        self._arrived += 1
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
        if neighbour and state.done == state.opened and self._arrived < 2 * self._window:
            # The next block begins here: reading on costs less than seeking back later.
            self._open(state)
        if neighbour and state.done < state.opened:
            return
        if state.done < state.opened:
            self._seek(state)
            return
        self._consumer.incremental_unassign([TopicPartition(*lane)])
        state.position = None

    def _seek(self, state: _LaneState) -> None:
        """Go on with the next block: one question to librdkafka's thread instead of two."""
        block = state.block
        try:
            self._consumer.seek(TopicPartition(*block.lane, block.start))
        except KafkaException:
            self._consumer.incremental_unassign([TopicPartition(*block.lane)])
            self._assign(state)
        state.position, state.gap = block.start, None

    def _assign(self, state: _LaneState) -> None:
        block = state.block
        self._consumer.incremental_assign([TopicPartition(*block.lane, block.start)])
        state.position, state.gap = block.start, None

    def _note(self, error: KafkaError) -> None:
        self._trouble = error

    def _silence(self, lane: Lane, state: _LaneState) -> WorkError:
        if state.gap is not None and state.position is not None:
            return missing(lane, state.position, state.block.stop)
        return silence(self._silence_seconds, lane, state.position, self._trouble)

"""The loop that waits for a record: what it passes over, what ends it, and after how long."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import pytest
from confluent_kafka import KafkaError, TopicPartition

from deeptool.client import consume
from deeptool.client.connection import Connection
from deeptool.client.consume import NoRecord, Patience, RecordReader, consumer_config

CONNECTION = Connection(("127.0.0.1:1",), {"sasl.username": "u"})


@dataclass
class Event:
    """A record at an offset, or an error there."""

    at: int
    code: int | None = None

    def error(self) -> KafkaError | None:
        return None if self.code is None else KafkaError(self.code)

    def offset(self) -> int:
        return self.at


class Scripted:
    """A consumer that delivers `events` one by one, and None whenever they are used up."""

    def __init__(self, events: Iterable[Event | None]) -> None:
        self.events = iter(events)
        self.assigned: list[tuple[int, int]] = []

    def assign(self, places: list[TopicPartition]) -> None:
        self.assigned += [(place.partition, place.offset) for place in places]

    def poll(self, seconds: float) -> Event | None:
        return next(self.events, None)

    def unassign(self) -> None:
        pass

    def close(self) -> None:
        pass


def reader(
    monkeypatch: pytest.MonkeyPatch, *events: Event | None, endless: Event | None = None
) -> tuple[RecordReader, Scripted]:
    after: Iterable[Event | None] = itertools.repeat(endless)
    consumer = Scripted(itertools.chain(events, after))
    monkeypatch.setattr(consume, "Consumer", lambda config: consumer)
    return RecordReader(CONNECTION, "digits.0.train"), consumer


def outcome(found: Any) -> NoRecord:
    assert isinstance(found, NoRecord)
    return found


def test_neighbours_are_read_as_a_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    records, consumer = reader(monkeypatch, *map(Event, (3, 4, 5, 9)))
    assert [records.read(1, offset).offset() for offset in (3, 4, 5)] == [3, 4, 5]
    assert consumer.assigned == [(1, 3)]
    assert records.read(1, 9).offset() == 9
    assert consumer.assigned == [(1, 3), (1, 9)]


def test_what_was_fetched_before_a_jump_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    records, _ = reader(monkeypatch, Event(4), None, Event(5), Event(8))
    assert records.read(0, 8).offset() == 8


def test_a_gap_is_no_record_or_what_follows_it(monkeypatch: pytest.MonkeyPatch) -> None:
    records, consumer = reader(monkeypatch, Event(7), Event(7), Event(8))
    assert outcome(records.read(0, 5)).reason == "no record is there"
    # What came instead was taken from the consumer, so that it has to be assigned again.
    assert records.read_from(0, 5).offset() == 7
    assert records.read(0, 8).offset() == 8
    assert consumer.assigned == [(0, 5), (0, 5)]


def test_the_end_of_the_partition(monkeypatch: pytest.MonkeyPatch) -> None:
    records, consumer = reader(monkeypatch, Event(6, KafkaError._PARTITION_EOF), Event(6))
    assert outcome(records.read_from(0, 6)).end == 6
    assert records.read(0, 6).offset() == 6
    assert consumer.assigned == [(0, 6), (0, 6)]


def test_an_end_that_comes_too_early_is_disbelieved_for_a_while(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    records, consumer = reader(monkeypatch, Event(6, KafkaError._PARTITION_EOF), None, Event(8))
    assert records.read(0, 8, Patience(end=5)).offset() == 8
    assert consumer.assigned == [(0, 8)]
    records, _ = reader(monkeypatch, Event(6, KafkaError._PARTITION_EOF))
    found = outcome(records.read(0, 8, Patience(end=0.05)))
    assert (found.end, found.silent) == (6, False)


@pytest.mark.parametrize("code", sorted(consume.PASSING))
def test_what_passes_is_waited_for(monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    records, _ = reader(monkeypatch, Event(-1, code), None, Event(2))
    assert records.read(0, 2).offset() == 2


def test_any_other_error_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    records, _ = reader(monkeypatch, Event(-1, KafkaError._BAD_MSG), Event(2))
    found = outcome(records.read(0, 2))
    assert found.error is not None
    assert found.error.code() == KafkaError._BAD_MSG
    assert (found.silent, found.away, found.end) == (False, False, None)


def test_a_silent_broker_and_one_that_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    waits = Patience(silent=0.05, away=0.2)
    records, _ = reader(monkeypatch)
    found = outcome(records.read(0, 2, waits))
    assert (found.silent, found.away) == (True, False)
    timed_out, _ = reader(monkeypatch, endless=Event(-1, KafkaError._TIMED_OUT))
    assert outcome(timed_out.read(0, 2, waits)).away is False
    away, _ = reader(monkeypatch, Event(-1, KafkaError._TRANSPORT))
    found = outcome(away.read(0, 2, waits))
    assert (found.silent, found.away) == (True, True)
    assert found.error is not None
    assert found.error.code() == KafkaError._TRANSPORT


def test_a_wait_can_be_ended_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    consumer = Scripted([])
    monkeypatch.setattr(consume, "Consumer", lambda config: consumer)

    def stop() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        RecordReader(CONNECTION, "t", on_poll=stop).read(0, 0)


def test_settings_of_every_consumer() -> None:
    config = consumer_config(CONNECTION, ahead_bytes=1 << 20)
    assert config["bootstrap.servers"] == "127.0.0.1:1"
    assert config["sasl.username"] == "u"
    # Each of these was the cause of a fault: see the comments beside them.
    assert config["fetch.queue.backoff.ms"] == 2
    assert config["auto.offset.reset"] == "error"
    assert config["check.crcs"] is False
    assert config["queued.max.messages.kbytes"] == 1024
    # Less, and librdkafka would reject the settings.
    assert config["fetch.max.bytes"] == config["fetch.message.max.bytes"] == 2 << 20

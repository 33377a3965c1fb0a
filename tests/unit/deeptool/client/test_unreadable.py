"""What librdkafka's statistics say of a broker that sends no record."""

from __future__ import annotations

import json
from typing import Any

import pytest
from confluent_kafka import KafkaError

from deeptool.client import unreadable as module
from deeptool.client.connection import Connection
from deeptool.client.unreadable import unreadable

CONNECTION = Connection(("127.0.0.1:1",))


def statistics(fetches: int, end: int, throttle: int = 0) -> str:
    brokers = {"1": {"req": {"Fetch": fetches}, "throttle": {"max": throttle}}, "bootstrap": {}}
    return json.dumps(
        {"brokers": brokers, "topics": {"t": {"partitions": {"0": {"hi_offset": end}}}}}
    )


class Message:
    def __init__(self, code: int | None) -> None:
        self._error = None if code is None else KafkaError(code)

    def error(self) -> KafkaError | None:
        return self._error


class Consumer:
    """Emits statistics, and then what it was given."""

    said: tuple[str, ...] = ()
    found: Message | None = None
    closed = 0

    def __init__(self, config: dict[str, Any]) -> None:
        self._note = config["stats_cb"]

    def assign(self, places: object) -> None:
        pass

    def poll(self, seconds: float) -> Message | None:
        for line in self.said:
            self._note(line)
        return self.found

    def close(self) -> None:
        Consumer.closed += 1


def look(monkeypatch: pytest.MonkeyPatch, *said: str, found: Message | None = None) -> str | None:
    monkeypatch.setattr(module, "Consumer", Consumer)
    monkeypatch.setattr(module, "_PROBE_SECONDS", 0.05)
    monkeypatch.setattr(Consumer, "said", said)
    monkeypatch.setattr(Consumer, "found", found)
    before = Consumer.closed
    reason = unreadable(CONNECTION, "t", 0, 6)
    assert Consumer.closed == before + 1
    return reason


def test_many_answers_without_a_record_are_damage(monkeypatch: pytest.MonkeyPatch) -> None:
    reason = look(monkeypatch, statistics(13, 12))
    assert reason is not None
    assert "continues to offset 11" in reason


@pytest.mark.parametrize(
    "said",
    [
        statistics(12, 12),  # too few of them
        statistics(500, 6),  # nothing is there yet
        statistics(500, -1001),  # nobody has said how much is there
        json.dumps({}),
    ],
)
def test_what_proves_nothing(monkeypatch: pytest.MonkeyPatch, said: str) -> None:
    assert look(monkeypatch, said) is None


def test_a_quota_makes_answers_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    assert look(monkeypatch, statistics(20, 12, throttle=900), statistics(500, 12)) is None


def test_a_record_or_the_end_is_no_damage_and_kafkas_own_word_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    said = statistics(500, 12)
    assert look(monkeypatch, said, found=Message(None)) is None
    assert look(monkeypatch, said, found=Message(KafkaError._PARTITION_EOF)) is None
    reason = look(monkeypatch, found=Message(KafkaError.INVALID_MSG))
    assert reason is not None
    assert "Invalid message" in reason

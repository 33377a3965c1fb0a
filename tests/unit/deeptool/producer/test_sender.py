"""What the sender makes of librdkafka's callbacks; librdkafka itself is faked."""

from __future__ import annotations

from collections import deque
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from deeptool.client.connection import Connection
from deeptool.codec.records import Record
from deeptool.errors import WorkError
from deeptool.producer import sender as senders
from deeptool.producer.sender import Sender


class FakeMessage:
    def __init__(self, offset: int) -> None:
        self._offset = offset

    def offset(self) -> int:
        return self._offset


class FakeProducer:
    """Acknowledges one message a poll; `room` messages fit into its queue."""

    room = 3
    error: KafkaError | None = None
    raised: KafkaException | None = None

    def __init__(self, config: dict[str, Any]) -> None:
        self.config = config
        self.queue: deque[Any] = deque()
        self.sent: list[tuple[int, bytes]] = []
        self.purged = False
        self._offsets: dict[int, int] = {}

    def produce(
        self, topic: str, value: bytes, key: bytes | None, partition: int, **options: Any
    ) -> None:
        if self.raised:
            raise self.raised
        if len(self.queue) >= self.room:
            raise BufferError
        self.sent.append((partition, value))
        self.queue.append((partition, options["on_delivery"]))

    def poll(self, seconds: float) -> int:
        if seconds > 0 and self.queue:
            partition, callback = self.queue.popleft()
            offset = self._offsets.get(partition, 100)
            self._offsets[partition] = offset + 1
            callback(self.error, FakeMessage(offset))
        return 0

    def purge(self) -> None:
        self.purged = True
        self.queue.clear()

    def __len__(self) -> int:
        return len(self.queue)


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> tuple[Sender, FakeProducer]:
    monkeypatch.setattr(senders, "Producer", FakeProducer)
    connection = Connection(("server:1",), {"security.protocol": "ssl"})
    sender = Sender(connection, "t", [0, 1], compression="lz4", max_message_bytes=1000)
    return sender, sender._producer


def record(i: int) -> Record:
    return Record(None, b"v%d" % i, [], i, 1, i)


def test_the_settings(made: tuple[Sender, FakeProducer]) -> None:
    config = made[1].config
    assert config["enable.idempotence"] is True
    assert config["acks"] == "all"
    assert config["compression.type"] == "lz4"
    assert config["delivery.timeout.ms"] == 300_000
    assert config["queue.buffering.max.kbytes"] == 65_536
    assert config["message.max.bytes"] == 64 << 20
    assert config["security.protocol"] == "ssl"
    assert "transactional.id" not in config


def test_records_are_dealt_out_and_wait_for_room(made: tuple[Sender, FakeProducer]) -> None:
    sender, producer = made
    for i in range(7):
        sender.send(0, record(i))
    assert [partition for partition, _ in producer.sent] == [0, 1, 0, 1, 0, 1, 0]
    assert sender.ledger.records == 4
    sender.wait()
    (epoch,) = sender.ledger.epochs()
    assert epoch.runs == {0: ((100, 104),), 1: ((100, 103),)}


def test_the_first_delivery_error_is_fatal(made: tuple[Sender, FakeProducer]) -> None:
    sender, producer = made
    for i in range(3):
        sender.send(0, record(i))
    producer.error = KafkaError(KafkaError._MSG_TIMED_OUT)
    with pytest.raises(WorkError, match="1 of 3 records sent were not acknowledged") as caught:
        sender.send(0, record(3))
    assert "_MSG_TIMED_OUT" in str(caught.value)
    with pytest.raises(WorkError, match="not acknowledged"):
        sender.wait()


@pytest.mark.parametrize("where", ["callback", "produce"])
def test_a_record_refused_for_its_size(made: tuple[Sender, FakeProducer], where: str) -> None:
    sender, producer = made
    error = KafkaError(KafkaError.MSG_SIZE_TOO_LARGE)
    if where == "produce":
        producer.raised = KafkaException(error)
    else:
        producer.error = error

    def send_and_wait() -> None:
        sender.send(0, Record(b"k", bytes(5000), [], 0, 1, 0))
        sender.wait()

    with pytest.raises(WorkError, match="as too large") as caught:
        send_and_wait()
    assert "5,001 bytes" in str(caught.value)
    assert "1,000 (max.message.bytes)" in str(caught.value)


def test_a_stopped_sender_sends_nothing_more(made: tuple[Sender, FakeProducer]) -> None:
    sender, producer = made
    sender.send(0, record(0))
    sender.stop(WorkError("somebody took over"))
    assert producer.purged
    for call in (lambda: sender.send(0, record(1)), sender.wait, sender.serve):
        with pytest.raises(WorkError, match="somebody took over"):
            call()
    assert len(producer.sent) == 1
    sender.stop()
    with pytest.raises(WorkError, match="somebody took over"):
        sender.serve()


def test_an_answer_without_an_offset_is_fatal(made: tuple[Sender, FakeProducer]) -> None:
    sender, producer = made
    producer._offsets[0] = -1001
    sender.send(0, record(0))
    with pytest.raises(WorkError, match="impossible offset"):
        sender.wait()


def test_a_record_that_vanished(made: tuple[Sender, FakeProducer]) -> None:
    sender, producer = made
    sender.send(0, record(0))
    producer.queue.clear()
    with pytest.raises(WorkError, match="not every record") as caught:
        sender.wait()
    assert "0 of 1" in str(caught.value)


def test_a_broker_that_is_away_is_said_once(
    made: tuple[Sender, FakeProducer], caplog: pytest.LogCaptureFixture
) -> None:
    _, producer = made
    away = KafkaError(KafkaError._ALL_BROKERS_DOWN)
    for _ in range(3):
        producer.config["error_cb"](away)
    producer.config["error_cb"](KafkaError(KafkaError._TIMED_OUT))
    assert caplog.text.count("does not answer") == 1

"""What is asked of a partition's leader right after the partition was made or moved."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from deeptool.client import admin
from deeptool.client.connection import Connection
from deeptool.errors import WorkError


@dataclass
class Found:
    offset: int


class Admin:
    """Answers `list_offsets` with each of `answers` in turn, and with the last one from then on."""

    def __init__(self, *answers: int | Exception) -> None:
        self.answers = list(answers)
        self.asked = 0

    def list_offsets(self, asked: dict[TopicPartition, Any], **options: Any) -> dict[Any, Any]:
        answer = self.answers[min(self.asked, len(self.answers) - 1)]
        self.asked += 1
        futures = {}
        for partition in asked:
            future: Future[Found] = Future()
            if isinstance(answer, Exception):
                future.set_exception(answer)
            else:
                future.set_result(Found(answer))
            futures[partition] = future
        return futures


def offsets(monkeypatch: pytest.MonkeyPatch, client: Admin) -> dict[int, int]:
    monkeypatch.setattr(admin, "_admin", lambda connection: client)
    monkeypatch.setattr(admin, "partitions", lambda connection, topic: (0, 1))
    return admin.end_offsets(Connection(("127.0.0.1:1",)), "digits.0.train")


def failed(code: int) -> KafkaException:
    return KafkaException(KafkaError(code))


def test_one_that_does_not_lead_yet_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    client = Admin(failed(KafkaError.NOT_LEADER_FOR_PARTITION), failed(3), 7)
    assert offsets(monkeypatch, client) == {0: 7, 1: 7}
    assert client.asked == 3


@pytest.mark.parametrize("code", [3, KafkaError.UNKNOWN_LEADER_EPOCH])
def test_one_that_has_just_joined_is_asked_again(
    monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    client = Admin(failed(code), 7)
    monkeypatch.setattr(admin, "_admin", lambda connection: client)
    # It knows no partition of the topic that another broker has made.
    monkeypatch.setattr(admin, "partitions", lambda connection, topic: ())
    server = Connection(("127.0.0.1:1",))
    assert admin.end_offsets(server, "digits.0.train") == {}
    assert admin.end_offsets(server, "digits.0.train", (0, 1)) == {0: 7, 1: 7}
    assert client.asked == 2


def test_another_failure_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    client = Admin(failed(KafkaError._TRANSPORT), 7)
    with pytest.raises(WorkError, match="the offsets of topic") as told:
        offsets(monkeypatch, client)
    assert "_TRANSPORT" in str(told.value)
    assert client.asked == 1


def test_one_that_never_leads_is_told_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admin, "REQUEST_SECONDS", 0.3)
    client = Admin(failed(KafkaError.NOT_LEADER_FOR_PARTITION))
    with pytest.raises(WorkError, match="NOT_LEADER_FOR_PARTITION"):
        offsets(monkeypatch, client)
    assert client.asked > 1

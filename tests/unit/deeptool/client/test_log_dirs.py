"""The folders in which brokers keep their topics."""

from __future__ import annotations

from pathlib import Path

import kafka
import pytest
from kafka.errors import ClusterAuthorizationFailedError

from deeptool.client.connection import Connection
from deeptool.client.log_dirs import LogDir, LogDirs


class Admin:
    """A stand-in for kafka-python's client, of a broker with two folders."""

    DEFAULT_CONFIG = kafka.KafkaAdminClient.DEFAULT_CONFIG
    given: dict[str, object]
    usable = 123
    cluster_error: Exception | None = None

    def __init__(self, **settings: object) -> None:
        Admin.given = settings

    def describe_cluster(self) -> dict[str, object]:
        if self.cluster_error is not None:
            raise self.cluster_error
        return {"cluster_id": "abc"}

    def describe_log_dirs(self, topics: dict[str, list[int]]) -> list[dict[str, object]]:
        here = [{"name": name, "partitions": [{}] * len(each)} for name, each in topics.items()]
        return [
            {
                "broker": 0,
                "log_dirs": [
                    {"log_dir": "/a", "usable_bytes": self.usable, "topics": here},
                    {"log_dir": "/b", "usable_bytes": 7, "topics": []},
                ],
            }
        ]

    def close(self) -> None:
        Admin.given["closed"] = True


@pytest.fixture(autouse=True)
def admin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kafka, "KafkaAdminClient", Admin)


def test_what_the_brokers_say() -> None:
    with LogDirs(Connection(("s:1",))) as brokers:
        assert brokers.ask() == (LogDir(0, Path("/a"), 123), LogDir(0, Path("/b"), 7))
        assert brokers.ask("t", [0, 1])[0] == LogDir(0, Path("/a"), 123, used=True)
        assert brokers.cluster_id == "abc"
    assert Admin.given["closed"] is True


def test_a_folder_of_which_nothing_is_said_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Admin, "usable", -1)
    with LogDirs(Connection(("s:1",))) as brokers:
        assert brokers.ask() == (LogDir(0, Path("/b"), 7),)


def test_who_may_not_ask_for_the_cluster_learns_the_space_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Admin, "cluster_error", ClusterAuthorizationFailedError())
    with LogDirs(Connection(("s:1",))) as brokers:
        assert len(brokers.ask()) == 2
        assert brokers.cluster_id is None


@pytest.mark.parametrize(
    "error", [ClusterAuthorizationFailedError(), StopIteration(), RuntimeError("loop"), KeyError(1)]
)
def test_whatever_kafka_python_raises_means_that_nobody_knows(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*given: object) -> None:
        raise error

    monkeypatch.setattr(Admin, "describe_log_dirs", fail)
    monkeypatch.setattr(Admin, "close", fail)
    with (
        LogDirs(Connection(("s:1",))) as brokers,
        pytest.raises(OSError, match="do not say how much space"),
    ):
        brokers.ask()


def test_a_login_is_handed_on() -> None:
    properties = {
        "security.protocol": "sasl_ssl",
        "sasl.mechanism": "SCRAM-SHA-512",
        "sasl.username": "me",
        "sasl.password": "secret",
        "ssl.ca.location": "/ca.pem",
        "socket.keepalive.enable": "true",
    }
    with LogDirs(Connection(("s:1",), properties)) as brokers:
        brokers.ask()
    assert {k: v for k, v in Admin.given.items() if k.startswith(("sa", "se", "ssl"))} == {
        "security_protocol": "SASL_SSL",
        "sasl_mechanism": "SCRAM-SHA-512",
        "sasl_plain_username": "me",
        "sasl_plain_password": "secret",
        "ssl_cafile": "/ca.pem",
    }

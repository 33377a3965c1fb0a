"""Waiting for a broker that does not answer: bounded, and over at once when its server has died."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator

import pytest

from deeptool.errors import WorkError
from hpc.broker.ports import free_ports
from hpc.broker.readiness import round_trip, write_user
from hpc.broker.stale_node import node_was_stale

LOGIN = {
    "security.protocol": "SASL_PLAINTEXT",
    "sasl.mechanism": "SCRAM-SHA-512",
    "sasl.username": "deeptool",
    "sasl.password": "correct-horse-battery",
}


@pytest.fixture(params=["nobody listens", "it takes connections and says nothing"])
def bootstrap(request: pytest.FixtureRequest) -> Iterator[str]:
    if request.param == "nobody listens":
        yield f"127.0.0.1:{free_ports('127.0.0.1', 1)[0]}"
        return
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


def test_it_is_waited_for_so_long(bootstrap: str) -> None:
    began = time.monotonic()
    with pytest.raises(WorkError, match="not ready in time") as caught:
        round_trip({"bootstrap.servers": bootstrap}, lambda: None, 0.5)
    assert str(caught.value.seen).endswith(("no answer", f"Unable to bootstrap from {bootstrap}"))
    with pytest.raises(WorkError, match="not ready in time"):
        write_user({"bootstrap.servers": bootstrap} | LOGIN, "a-new-password", lambda: None, 0.5)
    assert time.monotonic() - began < 5


def test_a_server_that_died_ends_the_waiting_at_once(bootstrap: str) -> None:
    began = time.monotonic()

    def check() -> None:
        if time.monotonic() - began > 0.3:
            raise WorkError("broker has ended (exit code 1)")

    with pytest.raises(WorkError, match="broker has ended"):
        round_trip({"bootstrap.servers": bootstrap}, check, 60)
    assert time.monotonic() - began < 3


def test_the_node_of_a_killed_broker_is_told_from_other_failures() -> None:
    there = "KeeperErrorCode = NodeExists\norg.apache.zookeeper.KeeperException$NodeExistsException"
    vanished = (
        "Fatal error during startup. java.lang.NullPointerException: Cannot invoke"
        ' "org.apache.zookeeper.data.Stat.getEphemeralOwner()" because the return value of'
        ' "kafka.zookeeper.GetDataResponse.stat()" is null'
    )
    assert node_was_stale(there)
    assert node_was_stale(vanished)
    assert not node_was_stale("java.lang.NullPointerException: Cannot invoke String.length()")
    assert not node_was_stale("java.lang.OutOfMemoryError: Java heap space")

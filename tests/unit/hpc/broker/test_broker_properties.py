"""Kafka's and ZooKeeper's files, against golden files.

After a wanted change: UPDATE_GOLDEN=1 pytest tests/unit/hpc/broker, and read the diff.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from hpc.broker import passwords
from hpc.broker.limits import MAX_MESSAGE_BYTES, MAX_RECORD_BYTES, broker_limits
from hpc.broker.node import MODES, BrokerNode, Mode
from hpc.broker.properties import (
    broker_properties,
    format_arguments,
    java_properties,
    log4j_properties,
    zookeeper_properties,
)

GOLDEN = Path(__file__).with_name("golden")
LIMITS = broker_limits("512m")


def make(mode: Mode) -> BrokerNode:
    return BrokerNode(mode, "127.0.0.1", 20001, 20002, Path("/run/b/data"))


def check(name: str, text: str) -> None:
    path = GOLDEN / name
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8")


@pytest.mark.parametrize("mode", MODES)
def test_broker_properties(mode: Mode) -> None:
    check(f"broker-{mode}.properties", broker_properties(make(mode), LIMITS))


def test_zookeeper_properties() -> None:
    check("zookeeper.properties", zookeeper_properties(make("zookeeper")))


def joined(mode: Mode) -> BrokerNode:
    """The second node of a cluster that asks for a password."""
    return replace(
        make(mode),
        host="10.0.0.2",
        node=1,
        replication=2,
        metadata_host="10.0.0.1",
        jaas=Path("/run/b/private/jaas.conf"),
    )


@pytest.mark.parametrize("mode", MODES)
def test_the_second_broker_of_a_secured_cluster(mode: Mode) -> None:
    check(f"broker-{mode}-joined.properties", broker_properties(joined(mode), LIMITS))


def test_the_first_broker_of_a_secured_kraft_cluster() -> None:
    first = replace(joined("kraft"), node=0, host="10.0.0.1", metadata_host=None)
    check("broker-kraft-secured.properties", broker_properties(first, LIMITS))
    renewing = broker_properties(first, LIMITS, renew=True)
    assert set(renewing.splitlines()) - set(broker_properties(first, LIMITS).splitlines()) == {
        "sasl.enabled.mechanisms=SCRAM-SHA-512,PLAIN"
    }


def test_a_secured_zookeeper() -> None:
    secured = replace(make("zookeeper"), jaas=Path("/run/b/private/jaas.conf"))
    check("zookeeper-secured.properties", zookeeper_properties(secured))


def test_jaas() -> None:
    check("jaas.conf", passwords.jaas("correct-horse-battery"))


def test_format_arguments_have_the_user_only_where_the_metadata_is() -> None:
    file = Path("/run/b/broker.properties")
    plain = format_arguments(make("kraft"), "id", file, None)
    assert plain == "format\n--cluster-id=id\n--config=/run/b/broker.properties\n"
    user = "--add-scram=SCRAM-SHA-512=[name=deeptool,password=secret]\n"
    assert format_arguments(make("kraft"), "id", file, "secret") == plain + user
    assert format_arguments(joined("kraft"), "id", file, "secret") == plain


def test_log4j_properties() -> None:
    check("log4j.properties", log4j_properties())


def test_both_modes_promise_clients_the_same() -> None:
    """All that a client can see of a broker is the same, whoever keeps its metadata."""
    own = (
        "zookeeper.",
        "controlled.",
        "broker.",
        "node.id",
        "process.roles",
        "controller.",
        "listener",
    )

    def promises(mode: Mode) -> list[str]:
        lines = broker_properties(make(mode), LIMITS).splitlines()
        return [line for line in lines if not line.startswith(own)]

    assert promises("zookeeper") == promises("kraft")
    assert "advertised.listeners=PLAINTEXT://127.0.0.1:20001" in promises("kraft")


def test_a_record_of_the_largest_size_fits_with_its_framing() -> None:
    assert MAX_MESSAGE_BYTES > MAX_RECORD_BYTES == 64 * 1024 * 1024
    text = broker_properties(make("zookeeper"), LIMITS)
    for setting in ("message.max.bytes", "replica.fetch.max.bytes"):
        assert f"{setting}={MAX_MESSAGE_BYTES}\n" in text


def test_backslashes_survive_javas_properties_format() -> None:
    assert java_properties({"path": "a\\b", "n": 1}) == "path=a\\\\b\nn=1\n"

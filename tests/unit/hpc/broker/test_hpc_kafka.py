"""Kafka's and ZooKeeper's files and command lines, against golden files.

After a wanted change: UPDATE_GOLDEN=1 pytest tests/unit/hpc/broker, and read the diff.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from hpc.broker import kafka, passwords

GOLDEN = Path(__file__).with_name("golden")
RUNTIME = kafka.Runtime(Path("/jre/bin/java"), Path("/cache/kafka"))


def make(mode: kafka.Mode) -> kafka.Kafka:
    return kafka.Kafka(mode, "127.0.0.1", 20001, 20002, Path("/run/b/data"))


def check(name: str, text: str) -> None:
    path = GOLDEN / name
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8")


@pytest.mark.parametrize("mode", kafka.MODES)
def test_broker_properties(mode: kafka.Mode) -> None:
    check(f"broker-{mode}.properties", kafka.broker_properties(make(mode)))


def test_zookeeper_properties() -> None:
    check("zookeeper.properties", kafka.zookeeper_properties(make("zookeeper")))


def joined(mode: kafka.Mode) -> kafka.Kafka:
    """The second node of a cluster that asks for a password."""
    return replace(
        make(mode),
        host="10.0.0.2",
        node=1,
        replication=2,
        metadata_host="10.0.0.1",
        jaas=Path("/run/b/private/jaas.conf"),
    )


@pytest.mark.parametrize("mode", kafka.MODES)
def test_the_second_broker_of_a_secured_cluster(mode: kafka.Mode) -> None:
    check(f"broker-{mode}-joined.properties", kafka.broker_properties(joined(mode)))


def test_the_first_broker_of_a_secured_kraft_cluster() -> None:
    first = replace(joined("kraft"), node=0, host="10.0.0.1", metadata_host=None)
    check("broker-kraft-secured.properties", kafka.broker_properties(first))
    renewing = kafka.broker_properties(first, renew=True)
    assert set(renewing.splitlines()) - set(kafka.broker_properties(first).splitlines()) == {
        "sasl.enabled.mechanisms=SCRAM-SHA-512,PLAIN"
    }


def test_a_secured_zookeeper() -> None:
    secured = replace(make("zookeeper"), jaas=Path("/run/b/private/jaas.conf"))
    check("zookeeper-secured.properties", kafka.zookeeper_properties(secured))


def test_jaas() -> None:
    check("jaas.conf", passwords.jaas("correct-horse-battery"))


def test_format_arguments_have_the_user_only_where_the_metadata_is() -> None:
    file = Path("/run/b/broker.properties")
    plain = kafka.format_arguments(make("kraft"), "id", file, None)
    assert plain == "format\n--cluster-id=id\n--config=/run/b/broker.properties\n"
    user = "--add-scram=SCRAM-SHA-512=[name=deeptool,password=secret]\n"
    assert kafka.format_arguments(make("kraft"), "id", file, "secret") == plain + user
    assert kafka.format_arguments(joined("kraft"), "id", file, "secret") == plain


def test_log4j_properties() -> None:
    check("log4j.properties", kafka.log4j_properties())


def test_java_argv() -> None:
    argv = kafka.java_argv(
        RUNTIME,
        kafka.BROKER_MAIN,
        [Path("/run/b/broker.properties")],
        home=Path("/run/b"),
        heap="512m",
    )
    check("broker.argv", "\n".join(argv) + "\n")


def test_java_argv_names_the_class_archive_where_there_is_one() -> None:
    runtime = kafka.Runtime(RUNTIME.java, RUNTIME.jars, Path("/cache/kafka/classes.jsa"))
    plain = kafka.java_argv(RUNTIME, "Main", [], home=Path("/h"), heap="1g")
    quick = kafka.java_argv(runtime, "Main", [], home=Path("/h"), heap="1g")
    assert set(quick) - set(plain) == {"-XX:SharedArchiveFile=/cache/kafka/classes.jsa"}


def test_java_argv_names_the_jaas_file() -> None:
    jaas = Path("/h/private/jaas.conf")
    argv = kafka.java_argv(RUNTIME, "Main", [], home=Path("/h"), heap="1g", jaas=jaas)
    assert f"-Djava.security.auth.login.config={jaas}" in argv


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

    def promises(mode: kafka.Mode) -> list[str]:
        lines = kafka.broker_properties(make(mode)).splitlines()
        return [line for line in lines if not line.startswith(own)]

    assert promises("zookeeper") == promises("kraft")
    assert "advertised.listeners=PLAINTEXT://127.0.0.1:20001" in promises("kraft")


def test_a_record_of_the_largest_size_fits_with_its_framing() -> None:
    assert kafka.MAX_MESSAGE_BYTES > kafka.MAX_RECORD_BYTES == 64 * 1024 * 1024
    text = kafka.broker_properties(make("zookeeper"))
    for setting in ("message.max.bytes", "replica.fetch.max.bytes"):
        assert f"{setting}={kafka.MAX_MESSAGE_BYTES}\n" in text


def test_backslashes_survive_javas_properties_format() -> None:
    assert kafka.properties({"path": "a\\b", "n": 1}) == "path=a\\\\b\nn=1\n"

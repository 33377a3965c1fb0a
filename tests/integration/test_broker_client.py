"""What deeptool asks of a broker, asked of a real one."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from confluent_kafka import Producer
from kafka import KafkaConsumer
from kafka.admin import KafkaAdminClient, NewTopic

from deeptool.client import admin
from deeptool.client.connection import Connection, connect
from deeptool.errors import UserError
from deeptool.producer.data_topic import prepare_topic
from hpc.broker import ports, properties
from hpc.broker.embedded import BrokerOptions, EmbeddedBroker
from hpc.broker.limits import BrokerLimits
from hpc.broker.node import BrokerNode

pytestmark = pytest.mark.broker

LARGE = {"max.message.bytes": "2000000"}


@pytest.fixture
def connection(broker: str) -> Connection:
    return connect(broker)


def fill(connection: Connection, topic: str, counts: Mapping[int, int]) -> None:
    """So many small records in each partition."""
    producer = Producer(connection.config({"linger.ms": 1}))
    for partition, count in counts.items():
        for number in range(count):
            producer.produce(topic, str(number).encode(), partition=partition)
    assert producer.flush(30) == 0


def test_one_server_that_answers_is_enough(broker: str) -> None:
    connection = connect(f"127.0.0.1:1,{broker}")
    assert connection.servers == ("127.0.0.1:1", broker)
    assert admin.topics(connection) == admin.topics(connect([broker]))


def test_a_new_topic_is_as_it_was_asked_for(connection: Connection, session_name: str) -> None:
    topic = f"{session_name}.0.train"
    assert admin.partitions(connection, topic) == ()
    assert topic not in admin.topics(connection)
    assert admin.end_offsets(connection, topic) == {}
    admin.create_topic(connection, topic, partitions=3, config=LARGE)
    assert admin.partitions(connection, topic) == (0, 1, 2)
    assert admin.partitions_of(connection)[topic] == 3
    copies = admin.replicas(connection, topic)
    assert sorted(copies) == [0, 1, 2]
    assert all(len(brokers) == 1 for brokers in copies.values())
    assert admin.replicas(connection, f"{topic}.none") == {}
    assert topic in admin.topics(connection)
    settings = admin.topic_config(connection, topic)
    assert {name: settings[name] for name in {**admin.TOPIC_CONFIG, **LARGE}} == {
        "cleanup.policy": "delete",
        "retention.ms": "-1",
        "retention.bytes": "-1",
        "max.message.bytes": "2000000",
    }
    assert admin.end_offsets(connection, topic) == {0: 0, 1: 0, 2: 0}


def test_partitions_of_a_new_topic_are_not_asked_of_another_broker(
    connection: Connection, session_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic = f"{session_name}.0.train"
    # As a broker answers that has just joined the cluster.
    monkeypatch.setattr(admin, "partitions", lambda connection, topic: ())
    for _ in range(2):
        assert prepare_topic(connection, topic, 3)[0] == (0, 1, 2)


def test_looking_for_a_topic_does_not_make_it(connection: Connection, session_name: str) -> None:
    for _ in range(2):
        assert admin.partitions(connection, session_name) == ()
        assert admin.start_offsets(connection, session_name) == {}


def test_a_topic_that_is_there_is_kept(connection: Connection, session_name: str) -> None:
    topic = f"{session_name}.0.train"
    admin.create_topic(connection, topic, partitions=1, config=LARGE)
    fill(connection, topic, {0: 5})
    admin.create_topic(connection, topic, partitions=4, config={"max.message.bytes": "1000000"})
    assert admin.end_offsets(connection, topic) == {0: 5}
    assert admin.topic_config(connection, topic)["max.message.bytes"] == "2000000"
    admin.create_topic(connection, topic, partitions=1, config={"max.message.bytes": "3000000"})
    assert admin.topic_config(connection, topic)["max.message.bytes"] == "3000000"
    admin.alter_topic_config(connection, topic, {"max.message.bytes": "4000000"})
    settings = admin.topic_config(connection, topic)
    assert (settings["max.message.bytes"], settings["retention.ms"]) == ("4000000", "-1")


def test_a_topic_that_would_lose_samples_is_refused(
    broker: str, connection: Connection, session_name: str
) -> None:
    """It was made by others: its settings are theirs to change."""
    theirs = KafkaAdminClient(bootstrap_servers=broker)
    theirs.create_topics([NewTopic(session_name, 1, 1, topic_configs={"retention.ms": "1000"})])
    theirs.close()
    with pytest.raises(UserError, match="would reject or lose records") as caught:
        admin.create_topic(connection, session_name, partitions=1, config=LARGE)
    assert caught.value.seen == "retention.ms=1000"
    assert caught.value.valid == "retention.ms=-1"
    assert admin.topic_config(connection, session_name)["retention.ms"] == "1000"


def test_names_that_kafka_does_not_take(connection: Connection, session_name: str) -> None:
    admin.create_topic(connection, f"{session_name}.0.train", partitions=1, config={})
    with pytest.raises(UserError, match="takes this topic for an existing one"):
        admin.create_topic(connection, f"{session_name}_0.train", partitions=1, config={})
    with pytest.raises(UserError, match="it holds ' '"):
        admin.create_topic(connection, f"{session_name} 0", partitions=1, config={})


def test_what_the_broker_does_not_allow(connection: Connection, session_name: str) -> None:
    with pytest.raises(UserError, match="could not be created") as caught:
        admin.create_topic(connection, session_name, partitions=1, config={}, replication=3)
    assert "INVALID_REPLICATION_FACTOR" in str(caught.value.seen)
    with pytest.raises(UserError, match="could not be created") as caught:
        admin.create_topic(connection, session_name, partitions=1, config={"no.such": "setting"})
    assert "no.such" in str(caught.value.seen)


def test_deleted_records_are_gone_and_their_offsets_stay(
    broker: str, connection: Connection, session_name: str
) -> None:
    admin.create_topic(connection, session_name, partitions=3, config={})
    fill(connection, session_name, {0: 5, 1: 7})
    admin.delete_records(connection, session_name, {0: 2, 1: 7})
    admin.delete_records(connection, session_name, {})
    assert admin.start_offsets(connection, session_name) == {0: 2, 1: 7, 2: 0}
    assert admin.end_offsets(connection, session_name) == {0: 5, 1: 7, 2: 0}
    fill(connection, session_name, {1: 1})
    consumer = KafkaConsumer(
        session_name,
        bootstrap_servers=broker,
        auto_offset_reset="earliest",
        consumer_timeout_ms=2000,
    )
    found = sorted((record.partition, record.offset) for record in consumer)
    consumer.close()
    assert found == [(0, 2), (0, 3), (0, 4), (1, 7)]


# A broker with a listener that asks for a password, and one that sends its clients astray

JAAS = (
    "org.apache.kafka.common.security.plain.PlainLoginModule required"
    ' username="broker" password="b" user_broker="b" user_me="secret";'
)


@dataclass(frozen=True)
class Secured:
    password: str
    astray: str


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    directory = tmp_path_factory.mktemp("secured")
    password, astray = ports.free_ports("127.0.0.1", 2)
    plain_properties = properties.broker_properties

    def broker_properties(settled: BrokerNode, limits: BrokerLimits, renew: bool) -> str:
        client = f"PLAINTEXT://{settled.bootstrap},SASL_PLAINTEXT://127.0.0.1:{password}"
        return plain_properties(settled, limits, renew) + properties.java_properties(
            {
                "listeners": f"{client},ASTRAY://127.0.0.1:{astray}",
                "advertised.listeners": f"{client},ASTRAY://127.0.0.1:1",
                "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,"
                "SASL_PLAINTEXT:SASL_PLAINTEXT,ASTRAY:PLAINTEXT",
                "sasl.enabled.mechanisms": "PLAIN",
                "listener.name.sasl_plaintext.plain.sasl.jaas.config": JAAS,
                "authorizer.class.name": "kafka.security.authorizer.AclAuthorizer",
                "super.users": "User:broker;User:ANONYMOUS",
            }
        )

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(properties, "broker_properties", broker_properties)
        server = EmbeddedBroker(BrokerOptions(directory, "zookeeper"))
        server.start()
    yield Secured(f"127.0.0.1:{password}", f"127.0.0.1:{astray}")
    server.stop()


def credentials(directory: Path, password: str, user: str = "broker") -> Path:
    path = directory / "client.properties"
    path.write_text(
        "security.protocol=SASL_PLAINTEXT\nsasl.mechanism=PLAIN\n"
        f"sasl.username={user}\nsasl.password={password}\n"
    )
    path.chmod(0o600)
    return path


def test_the_right_password(secured: Secured, tmp_path: Path, session_name: str) -> None:
    connection = connect(secured.password, credentials(tmp_path, "b"))
    admin.create_topic(connection, session_name, partitions=1, config={})
    assert session_name in admin.topics(connection)


@pytest.mark.timed
def test_a_wrong_password(
    secured: Secured, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    began = time.monotonic()
    with pytest.raises(UserError, match=f"at {secured.password} rejects this client") as caught:
        connect(secured.password, credentials(tmp_path, "guessed"))
    assert time.monotonic() - began < 5
    assert "uthentication" in str(caught.value.seen)
    assert "guessed" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_no_password_where_one_is_asked_for(secured: Secured) -> None:
    with pytest.raises(UserError, match="does not accept this client") as caught:
        connect(secured.password, timeout=2)
    assert "--client-properties" in str(caught.value.next_step)


def test_a_password_or_tls_where_none_is_asked_for(broker: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="rejects this client"):
        connect(broker, credentials(tmp_path, "b"))
    with pytest.raises(UserError, match="rejects this client") as caught:
        connect(broker, {"security.protocol": "ssl"})
    assert "SSL handshake failed" in str(caught.value.seen)


def test_a_broker_that_sends_its_clients_astray(secured: Secured) -> None:
    with pytest.raises(UserError, match="advertises an address that nothing") as caught:
        connect(secured.astray, timeout=3)
    assert "127.0.0.1:1" in str(caught.value.seen)
    assert "advertised.listeners" in str(caught.value.next_step)


def test_what_a_user_may_not_do_is_the_users_to_correct(
    secured: Secured, tmp_path: Path, session_name: str
) -> None:
    connection = connect(secured.password, credentials(tmp_path, "secret", "me"))
    with pytest.raises(UserError, match=f"topic {session_name} could not be created") as caught:
        admin.create_topic(connection, session_name, partitions=1, config={})
    assert "AUTHORIZATION_FAILED" in str(caught.value.seen)

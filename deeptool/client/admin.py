"""What deeptool asks of a Kafka cluster: topics with the right settings, offsets, deletions."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import Future
from functools import lru_cache
from types import MappingProxyType
from typing import TypeVar

from confluent_kafka import KafkaException, TopicPartition
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ClusterMetadata,
    ConfigEntry,
    ConfigResource,
    NewTopic,
    OffsetSpec,
    ResourceType,
)
from tenacity import (
    RetryError,
    Retrying,
    retry_base,
    retry_if_exception,
    retry_if_result,
    stop_after_delay,
    wait_fixed,
)

from deeptool.client import topic_names
from deeptool.client.connection import Connection
from deeptool.client.kafka_errors import ALREADY_EXISTS, LEADS_SOON, code_of, explain
from deeptool.errors import DeeptoolError, UserError, WorkError

REQUEST_SECONDS = 30.0
# A broker that starts again serves its topics within seconds of its first answer.
GONE_SECONDS = 10.0

# A dataset must never expire, and no sample may push another one out: Kafka's own defaults delete
# after seven days.
TOPIC_CONFIG: Mapping[str, str] = MappingProxyType(
    {"cleanup.policy": "delete", "retention.ms": "-1", "retention.bytes": "-1"}
)

K = TypeVar("K")
T = TypeVar("T")


def topics(connection: Connection) -> tuple[str, ...]:
    """All topics that this client may see, sorted."""
    return tuple(sorted(_partitions(connection)))


def partitions(connection: Connection, topic: str) -> tuple[int, ...]:
    """The partitions of a topic, ascending; none when there is no such topic."""
    return _partitions(connection).get(topic, ())


def partitions_of(connection: Connection) -> dict[str, int]:
    """How many partitions each topic has."""
    return {topic: len(numbers) for topic, numbers in _partitions(connection).items()}


def replicas(connection: Connection, topic: str) -> dict[int, tuple[int, ...]]:
    """Per partition of a topic, the ids of the brokers that keep a copy of it."""
    about = _metadata(_admin(connection)).topics.get(topic)
    partitions = about.partitions if about else {}
    return {number: tuple(partition.replicas) for number, partition in partitions.items()}


def is_gone(connection: Connection, topic: str) -> bool:
    """Whether a topic is not there, and not only unknown to a broker that starts again.

    Asked for `GONE_SECONDS`; a cluster that does not answer leaves it open: False.
    """
    deadline = time.monotonic() + GONE_SECONDS
    while True:
        try:
            if partitions(connection, topic):
                return False
        except DeeptoolError:
            return False
        if time.monotonic() > deadline:
            return True
        time.sleep(0.5)


def create_topic(
    connection: Connection,
    topic: str,
    *,
    partitions: int,
    config: Mapping[str, str],
    replication: int = -1,
) -> tuple[int, ...]:
    """Create a topic that keeps what is written to it, or find that it is there.

    Parameters
    ----------
    partitions : int
        Of a new topic; one that exists keeps its own.
    config : mapping of str to str
        Kafka's topic settings, in addition to `TOPIC_CONFIG` or instead of it.
        "max.message.bytes" is a minimum: it is raised where the topic exists with less.
    replication : int
        -1 is the broker's own default.

    Returns
    -------
    tuple of int
        Its partitions, ascending.

    Raises
    ------
    UserError
        Kafka forbids the name, takes it for another topic's, does not allow the topic or its
        settings, or the topic exists with settings under which Kafka would lose samples.
    WorkError
        The broker did not do it in time.
    """
    if topic != topic_names.CATALOG_TOPIC:
        topic_names.check_topic(topic)
    wanted = {**TOPIC_CONFIG, **config}
    existing = topics(connection)
    if topic not in existing:
        topic_names.check_collision(topic, existing)
        new = NewTopic(topic, partitions, replication, config=wanted)
        created = _admin(connection).create_topics([new], request_timeout=REQUEST_SECONDS)
        try:
            created[topic].result()
        except KafkaException as error:
            if code_of(error) != ALREADY_EXISTS:
                raise explain(f"topic {topic} could not be created", error) from error
    # Also where it is there: another client may have created it a moment ago.
    found = _await_leaders(connection, topic)
    _check_config(connection, topic, wanted)
    return found


def topic_config(connection: Connection, topic: str) -> dict[str, str]:
    """The settings of a topic, the broker's defaults included."""
    resource = ConfigResource(ResourceType.TOPIC, topic)
    admin = _admin(connection)
    entries = _of_leaders(
        f"the settings of topic {topic} could not be read",
        lambda: admin.describe_configs([resource], request_timeout=REQUEST_SECONDS),
    )[resource]
    return {name: entry.value for name, entry in entries.items() if entry.value is not None}


def alter_topic_config(connection: Connection, topic: str, config: Mapping[str, str]) -> None:
    """Change some settings of a topic and leave the others."""
    changes = [
        ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
        for name, value in config.items()
    ]
    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=changes)
    futures = _admin(connection).incremental_alter_configs(
        [resource], request_timeout=REQUEST_SECONDS
    )
    _result(f"the settings of topic {topic} could not be changed", futures[resource])


def end_offsets(connection: Connection, topic: str, known: Collection[int] = ()) -> dict[int, int]:
    """Per partition, the offset that the next record will get.

    Parameters
    ----------
    known : collection of int
        The topic's partitions, of which a broker that has just joined may not know yet. Without
        them, those that the broker which is asked knows: none where there is no such topic.
    """
    return _offsets(connection, topic, OffsetSpec.latest(), known)


def start_offsets(
    connection: Connection, topic: str, known: Collection[int] = ()
) -> dict[int, int]:
    """Per partition, the first offset that has not been deleted; `known` as in `end_offsets`."""
    return _offsets(connection, topic, OffsetSpec.earliest(), known)


def delete_records(connection: Connection, topic: str, before: Mapping[int, int]) -> None:
    """Delete all records of a topic below an offset in each partition; they cannot be restored."""
    wanted = [TopicPartition(topic, partition, offset) for partition, offset in before.items()]
    if not wanted:
        return
    admin = _admin(connection)
    _of_leaders(
        f"records of topic {topic} could not be deleted",
        lambda: admin.delete_records(wanted, request_timeout=REQUEST_SECONDS),
    )


def _admin(connection: Connection) -> AdminClient:
    return _client(connection.servers, tuple(connection.properties.items()), os.getpid())


@lru_cache(maxsize=4)
def _client(
    servers: tuple[str, ...], properties: tuple[tuple[str, str], ...], process: int
) -> AdminClient:
    """A client that is kept: connecting takes longer than most of what is asked.

    One a process, since its threads do not survive a fork. It must outlive its requests: those of
    one that is garbage collected fail.
    """
    return AdminClient(Connection(servers, dict(properties)).config())


def _result(what: str, future: Future[T]) -> T:
    try:
        return future.result()
    except KafkaException as error:
        raise explain(what, error) from error


def _of_leaders(what: str, ask: Callable[[], dict[K, Future[T]]]) -> dict[K, T]:
    """What brokers answer, asked again while one does not lead, or know, a partition yet."""
    retrying = _retrying(retry_if_exception(lambda error: code_of(error) in LEADS_SOON))
    try:
        return retrying(lambda: {asked: future.result() for asked, future in ask().items()})
    except KafkaException as error:
        raise explain(what, error) from error


def _metadata(admin: AdminClient) -> ClusterMetadata:
    # All topics and never one by name: asking for one would make it where the broker allows that.
    # A broker that starts again answers before it knows of any broker, itself included, or topic.
    known = _retrying(retry_if_result(lambda metadata: not metadata.brokers))
    try:
        found: ClusterMetadata = known(lambda: admin.list_topics(timeout=REQUEST_SECONDS))
        return found
    except KafkaException as error:
        raise explain("the broker did not list its topics", error) from error
    except RetryError as error:
        raise WorkError("the broker did not list its topics", seen="no broker") from error


def _partitions(connection: Connection) -> dict[str, tuple[int, ...]]:
    found = _metadata(_admin(connection)).topics
    return {name: tuple(sorted(about.partitions)) for name, about in found.items()}


def _await_leaders(connection: Connection, topic: str) -> tuple[int, ...]:
    """Wait until every broker of the cluster knows a new topic: any may be asked about it next.

    Returns
    -------
    tuple of int
        Its partitions: a broker that joins meanwhile may know none.
    """
    partitions: tuple[int, ...] = ()
    waiting = [
        f"{each.host}:{each.port}" for each in _metadata(_admin(connection)).brokers.values()
    ]

    def without_leader() -> str | None:
        """A broker to which the topic has no leader yet."""
        nonlocal partitions
        while waiting:
            # A new client knows, and asks, this broker only.
            client = AdminClient(Connection((waiting[0],), connection.properties).config())
            found = _metadata(client).topics.get(topic)
            if not found or not found.partitions:
                return waiting[0]
            if any(partition.leader < 0 for partition in found.partitions.values()):
                return waiting[0]
            partitions = tuple(sorted(found.partitions))
            waiting.pop(0)
        return None

    try:
        _retrying(retry_if_result(lambda broker: broker is not None))(without_leader)
    except RetryError as error:
        raise WorkError(
            f"topic {topic} was created, but has no leader after {REQUEST_SECONDS:.0f} s",
            seen=f"by {waiting[0]}",
        ) from error
    return partitions


def _retrying(retry: retry_base) -> Retrying:
    """How this module asks again: ten times a second, for as long as a request may take."""
    return Retrying(
        retry=retry, stop=stop_after_delay(REQUEST_SECONDS), wait=wait_fixed(0.1), reraise=True
    )


def _check_config(connection: Connection, topic: str, wanted: Mapping[str, str]) -> None:
    seen = topic_config(connection, topic)
    least = "max.message.bytes"
    if least in wanted and int(seen.get(least, 0)) < int(wanted[least]):
        alter_topic_config(connection, topic, {least: wanted[least]})
        seen = topic_config(connection, topic)
    wrong = {
        name: seen.get(name)
        for name, value in wanted.items()
        if (int(seen.get(name, 0)) < int(value) if name == least else seen.get(name) != value)
    }
    if wrong:
        raise UserError(
            f"topic {topic} has settings under which Kafka would reject or lose records",
            seen=", ".join(f"{name}={value}" for name, value in wrong.items()),
            valid=", ".join(f"{name}={wanted[name]}" for name in wrong),
            next_step="give another session_name or topic, or have these settings changed",
        )


def _offsets(
    connection: Connection, topic: str, which: OffsetSpec, known: Collection[int]
) -> dict[int, int]:
    numbers = known or partitions(connection, topic)
    asked = {TopicPartition(topic, number): which for number in numbers}
    if not asked:
        return {}
    admin = _admin(connection)
    found = _of_leaders(
        f"the offsets of topic {topic} could not be read",
        lambda: admin.list_offsets(asked, request_timeout=REQUEST_SECONDS),
    )
    return {partition.partition: result.offset for partition, result in found.items()}

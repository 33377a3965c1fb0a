"""Topics of the broker that is measured, by a client that is not ours."""

from __future__ import annotations

from kafka import KafkaConsumer, TopicPartition
from kafka.admin import KafkaAdminClient, NewTopic

# As ours are: four partitions, and records of at most 64 MiB.
PARTITIONS = 4
_SETTINGS = {"max.message.bytes": str(64 << 20), "retention.ms": "-1"}


def create_topic(servers: str, topic: str) -> None:
    """Create a topic like those that `deeptool.upload` creates."""
    client = KafkaAdminClient(bootstrap_servers=servers)
    try:
        client.create_topics([NewTopic(topic, PARTITIONS, 1, topic_configs=_SETTINGS)])
    finally:
        client.close()


def delete_topic(servers: str, topic: str) -> None:
    """Delete a topic: its space comes back some time later."""
    client = KafkaAdminClient(bootstrap_servers=servers)
    try:
        client.delete_topics([topic])
    finally:
        client.close()


def records_of(servers: str, topic: str) -> int:
    """The records of a topic that nothing was deleted from."""
    consumer = KafkaConsumer(bootstrap_servers=servers)
    try:
        partitions = [TopicPartition(topic, number) for number in range(PARTITIONS)]
        return sum(consumer.end_offsets(partitions).values())
    finally:
        consumer.close()

"""Whether a broker does its work: a record produced and consumed again."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Mapping

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition
from confluent_kafka.admin import (
    AdminClient,
    NewTopic,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)

from deeptool.errors import WorkError

PROBE_TOPIC = "deeptool.probe"
_CONFIG = {"retention.ms": "3600000", "segment.bytes": "1048576"}
_ATTEMPT = 0.5
_STEP = 0.02
_QUICK: dict[str, object] = {
    "reconnect.backoff.ms": 20,
    "reconnect.backoff.max.ms": 200,
    "retry.backoff.ms": 50,
    "topic.metadata.refresh.fast.interval.ms": 50,
    "log_level": 0,
}


def round_trip(
    config: Mapping[str, object],
    check: Callable[[], None],
    timeout: float,
    nodes: int = 1,
    progress: Callable[[str], None] = lambda line: None,
) -> None:
    """Produce a record to the probe topic, which is made if need be, and consume it.

    Parameters
    ----------
    config : mapping
        librdkafka's settings to connect with.
    check : callable
        Called again and again: raises what ends the waiting, such as a server that died.
    timeout : float
        Seconds after which to give up.
    nodes : int
        How many brokers there are to be first.
    progress : callable
        Called with a line whenever their number changes.

    Raises
    ------
    WorkError
        When that did not work in time.
    """
    client = dict(config) | _QUICK
    waiting = _Waiting(check, time.monotonic() + timeout)
    waiting.create_topic(client, nodes, progress)
    token = uuid.uuid4().bytes
    waiting.consume(client, waiting.produce(client, token), token)


def write_user(
    config: Mapping[str, object], password: str, check: Callable[[], None], timeout: float
) -> None:
    """Give the user of `config` the `password` that SCRAM asks for from now on.

    Parameters
    ----------
    config : mapping
        librdkafka's settings for a client that logs in by SCRAM; PLAIN is used for this.
    password : str
        The password.
    check, timeout
        As for `round_trip`.

    Raises
    ------
    WorkError
        When that did not work in time.
    """
    waiting = _Waiting(check, time.monotonic() + timeout)
    admin = AdminClient(dict(config) | _QUICK | {"sasl.mechanism": "PLAIN"})
    user = UserScramCredentialUpsertion(
        str(config["sasl.username"]),
        ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 4096),
        password.encode(),
    )
    while True:
        try:
            futures = admin.alter_user_scram_credentials([user], request_timeout=2)
            for future in futures.values():
                future.result()
            return
        except KafkaException as error:
            waiting.seen = str(error.args[0])
        waiting.step()
        time.sleep(_STEP)


class _Waiting:
    def __init__(self, check: Callable[[], None], deadline: float) -> None:
        self._check, self._deadline = check, deadline
        self.seen = "no answer"

    def step(self) -> None:
        self._check()
        if time.monotonic() > self._deadline:
            raise WorkError("the broker was not ready in time", seen=self.seen)

    def create_topic(
        self, config: dict[str, object], nodes: int, progress: Callable[[str], None]
    ) -> None:
        admin, there = AdminClient(config), nodes
        while True:
            try:
                # Asked for, or librdkafka would wait seconds for a controller elected meanwhile.
                cluster = admin.list_topics(timeout=_ATTEMPT)
                if len(cluster.brokers) != there:
                    there = len(cluster.brokers)
                    progress(f"{there} of {nodes} brokers are there")
                if there < nodes:
                    self.seen = f"{there} of {nodes} brokers"
                elif PROBE_TOPIC in cluster.topics:
                    return
                elif cluster.controller_id >= 0:
                    topic = NewTopic(PROBE_TOPIC, 1, -1, config=_CONFIG)
                    admin.create_topics([topic], request_timeout=_ATTEMPT)[PROBE_TOPIC].result()
            except KafkaException as error:
                self.seen = str(error.args[0])
            self.step()
            time.sleep(_STEP)

    def produce(self, config: dict[str, object], token: bytes) -> int:
        """The offset of a record with `token`."""
        delivered: list[tuple[KafkaError | None, Message]] = []
        producer = Producer(config | {"linger.ms": 0, "message.timeout.ms": 2000})
        while True:
            producer.produce(
                PROBE_TOPIC, token, on_delivery=lambda *report: delivered.append(report)
            )
            while not delivered:
                self.step()
                producer.poll(_STEP)
            error, message = delivered.pop()
            if error is None:
                return int(message.offset())
            self.seen = str(error)

    def consume(self, config: dict[str, object], offset: int, token: bytes) -> None:
        consumer = Consumer(
            config | {"group.id": PROBE_TOPIC, "enable.auto.commit": False, "fetch.wait.max.ms": 20}
        )
        try:
            consumer.assign([TopicPartition(PROBE_TOPIC, 0, offset)])
            while True:
                self.step()
                message = consumer.poll(_STEP)
                if message is None:
                    continue
                if message.error():
                    self.seen = str(message.error())
                elif message.value() == token:
                    return
        finally:
            consumer.close()

"""Whether a broker does its work: a record produced and consumed again.

By kafka-python, which is pure Python: a login node needs no compiled client to watch a broker.
"""

from __future__ import annotations

import queue
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from contextlib import closing
from typing import Any

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import NewTopic, ScramMechanism, UserScramCredentialUpsertion
from kafka.errors import KafkaError, TopicAlreadyExistsError

from deeptool.errors import WorkError
from hpc.broker.ports import answers

PROBE_TOPIC = "deeptool.probe"
_CONFIG = {"retention.ms": "3600000", "segment.bytes": "1048576"}
_STEP = 0.02
_REQUEST_MS = 2000
# The client's own waiting is for clusters far away.
_QUICK: dict[str, object] = {
    "reconnect_backoff_ms": 20,
    "reconnect_backoff_max_ms": 200,
    "retry_backoff_ms": 50,
    "request_timeout_ms": _REQUEST_MS,
    # What it learns at first may be a cluster of one. It would ask again after five minutes, and
    # reject until then whatever it is to send to a broker that came later.
    "metadata_max_age_ms": 500,
}
# librdkafka's names, which `deeptool` uses for them too.
_NAMES = {
    "bootstrap.servers": "bootstrap_servers",
    "security.protocol": "security_protocol",
    "sasl.mechanism": "sasl_mechanism",
    "sasl.username": "sasl_plain_username",
    "sasl.password": "sasl_plain_password",
}


def round_trip(
    properties: Mapping[str, str],
    check: Callable[[], None],
    timeout: float,
    nodes: int = 1,
    progress: Callable[[str], None] = lambda line: None,
) -> None:
    """Produce a record to the probe topic, which is made if need be, and consume it.

    Parameters
    ----------
    properties : mapping
        librdkafka's settings to connect with: an address, and a login where there is one.
    check : callable
        Called again and again: raises what ends the waiting, such as a server that died.
    timeout : float
        Seconds after which to give up.
    nodes : int
        How many brokers have to be there first.
    progress : callable
        Called with a line whenever their number changes.

    Raises
    ------
    WorkError
        When that did not work in time.
    """

    def work(attempt: _Attempt) -> None:
        attempt.create_topic(nodes)
        token = uuid.uuid4().bytes
        attempt.consume(attempt.produce(token), token)

    _run(properties, work, check, timeout, progress)


def write_user(
    properties: Mapping[str, str], password: str, check: Callable[[], None], timeout: float
) -> None:
    """Give the user of `properties` the `password` that SCRAM asks for from now on.

    Parameters
    ----------
    properties : mapping
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
    user = UserScramCredentialUpsertion(
        properties["sasl.username"], ScramMechanism.SCRAM_SHA_512, password
    )
    _run(
        {**properties, "sasl.mechanism": "PLAIN"},
        lambda attempt: attempt.alter_user(user),
        check,
        timeout,
    )


def _run(
    properties: Mapping[str, str],
    work: Callable[[_Attempt], None],
    check: Callable[[], None],
    timeout: float,
    progress: Callable[[str], None] = lambda line: None,
) -> None:
    """Run `work` in a thread, and `check` in this one until it is done.

    kafka-python blocks, for as long as a request's time limit, where librdkafka would let us look
    after the server meanwhile.
    """
    deadline = time.monotonic() + timeout
    host, _, port = properties["bootstrap.servers"].rpartition(":")
    attempt = _Attempt({_NAMES[key]: value for key, value in properties.items()}, deadline)
    thread: threading.Thread | None = None
    try:
        while not attempt.done:
            # A client that finds nobody (kafka-python 3.0.12) leaves a thread of its own behind.
            if thread is None and answers(host, int(port)):
                thread = threading.Thread(target=attempt.run, args=[work], daemon=True)
                thread.start()
            check()
            if attempt.failure is not None:
                raise attempt.failure
            gave_up = attempt.ended.is_set() and not attempt.done
            if gave_up or time.monotonic() > deadline:
                raise WorkError("the broker was not ready in time", seen=attempt.seen)
            attempt.relay(progress)
            attempt.ended.wait(_STEP)
    finally:
        attempt.given_up = True
    attempt.relay(progress)


class _Attempt:
    """What is done in the other thread; once it is `given_up` it ends at its next step."""

    def __init__(self, settings: Mapping[str, object], deadline: float) -> None:
        self.seen = "no answer"
        self.done = self.given_up = False
        self.failure: Exception | None = None
        self.ended = threading.Event()
        self._settings, self._deadline = {**settings, **_QUICK}, deadline
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()

    def run(self, work: Callable[[_Attempt], None]) -> None:
        try:
            work(self)
            self.done = True
        except _GivenUp:
            return
        except Exception as error:
            self.failure = error
        finally:
            self.ended.set()

    def relay(self, progress: Callable[[str], None]) -> None:
        while not self._lines.empty():
            progress(self._lines.get())

    def create_topic(self, nodes: int) -> None:
        self._nodes_seen = nodes
        while True:
            with closing(self._client(KafkaAdminClient)) as admin:
                try:
                    return self._create_topic(admin, nodes)
                except TopicAlreadyExistsError:
                    return
                except KafkaError as error:
                    # The next client may find another controller: this one keeps to the first.
                    self.seen = _text(error)
            self._pause()

    def _create_topic(self, admin: KafkaAdminClient, nodes: int) -> None:
        while True:
            cluster = admin.describe_cluster()
            count = len(cluster["brokers"])
            if count != self._nodes_seen:
                self._lines.put(f"{count} of {nodes} brokers are there")
            self._nodes_seen = count
            # Asked first, for the client would wait a second for a controller.
            if count >= nodes and cluster["controller_id"] >= 0:
                topic = NewTopic(PROBE_TOPIC, 1, -1, topic_configs=_CONFIG)
                admin.create_topics([topic], timeout_ms=_REQUEST_MS)
                return
            self.seen = f"{count} of {nodes} brokers"
            self._pause()

    def produce(self, token: bytes) -> int:
        """The offset of a record with `token`."""
        with closing(
            self._client(
                KafkaProducer,
                enable_idempotence=False,
                acks="all",
                allow_auto_create_topics=False,
                max_block_ms=_REQUEST_MS,
                delivery_timeout_ms=2 * _REQUEST_MS,
            )
        ) as producer:
            while True:
                try:
                    sent = producer.send(PROBE_TOPIC, token, partition=0)
                    return int(sent.get(timeout=2 * _REQUEST_MS / 1000).offset)
                except KafkaError as error:
                    self.seen = _text(error)
                self._pause()

    def consume(self, offset: int, token: bytes) -> None:
        with closing(self._client(KafkaConsumer, group_id=None, fetch_max_wait_ms=20)) as consumer:
            partition = TopicPartition(PROBE_TOPIC, 0)
            consumer.assign([partition])
            while True:
                try:
                    consumer.seek(partition, offset)
                    for record in consumer.poll(timeout_ms=500).get(partition, ()):
                        if record.value == token:
                            return
                except KafkaError as error:
                    self.seen = _text(error)
                self._pause()

    def alter_user(self, user: UserScramCredentialUpsertion) -> None:
        with closing(self._client(KafkaAdminClient)) as admin:
            while True:
                try:
                    refusal = admin.alter_user_scram_credentials([user])[user.user]
                    if refusal is None:
                        return
                    self.seen = str(refusal)
                except KafkaError as error:
                    self.seen = _text(error)
                self._pause()

    def _client(self, kind: Callable[..., Any], **settings: object) -> Any:
        """A client, once the broker lets one in.

        kafka-python tries again by itself until the deadline, even where a login was rejected, and
        then says only that it was unable to bootstrap (3.0.12).
        """
        remaining = max(1, int(1000 * (self._deadline - time.monotonic())))
        try:
            return kind(**self._settings, **settings, bootstrap_timeout_ms=remaining)
        except KafkaError as error:
            self.seen = _text(error)
            raise _GivenUp from error

    def _pause(self) -> None:
        if self.given_up:
            raise _GivenUp
        time.sleep(_STEP)


class _GivenUp(Exception):
    """Nobody waits for it any more."""


def _text(error: KafkaError) -> str:
    return f"{type(error).__name__}: {error}"

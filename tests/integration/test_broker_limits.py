"""A broker that its clients try to exhaust: with large records, announced requests, connections."""

from __future__ import annotations

import os
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from multiprocessing import get_context
from pathlib import Path

import psutil
import pytest
from brokers import OwnBroker
from confluent_kafka import Producer

from deeptool.client import admin
from deeptool.client.connection import Connection, connect
from deeptool.errors import UserError
from hpc.broker import passwords
from hpc.broker.embedded import EmbeddedBroker
from hpc.broker.limits import MAX_MESSAGE_BYTES, BrokerLimits, broker_limits
from hpc.broker.node import MODES, Mode

pytestmark = pytest.mark.broker


def connection_to(server: EmbeddedBroker) -> Connection:
    return connect(server.bootstrap, server.client_properties)


def send(connection: Connection, topic: str, value: bytes, count: int, failed: list[str]) -> None:
    producer = Producer(
        connection.config(
            {
                "enable.idempotence": True,
                "message.max.bytes": 64 << 20,
                "queue.buffering.max.kbytes": 64 << 10,
            }
        )
    )

    def delivered(error: object, message: object) -> None:
        if error is not None:
            failed.append(str(error))

    for _ in range(count):
        while True:
            try:
                producer.produce(topic, value, on_delivery=delivered)
                break
            except BufferError:
                producer.poll(0.2)
    if producer.flush(120):
        failed.append("not delivered in time")


@contextmanager
def opened(host: str, port: int, count: int, announced: int | None = None) -> Iterator[int]:
    """Connections on which nothing is sent but the size of a request: how many were accepted."""
    with ExitStack() as held:
        accepted = 0
        for _ in range(count):
            client = held.enter_context(socket.socket())
            client.settimeout(2)
            try:
                client.connect((host, port))
                if announced is not None:
                    client.sendall(struct.pack(">i", announced))
                accepted += 1
            except OSError:
                continue
        yield accepted


def open_and_keep(host: str, port: int, count: int) -> int:
    """Connections that stay open until this process ends: how many were accepted."""
    return _KEPT.enter_context(opened(host, port, count))


_KEPT = ExitStack()


def produce_from(connection: Connection, producers: int, value: bytes, count: int) -> list[str]:
    """What failed of `count` records from each of several producers at once."""
    failed: list[str] = []
    threads = []
    for number in range(producers):
        topic = f"large-{number}"
        admin.create_topic(
            connection, topic, partitions=1, config={"max.message.bytes": str(MAX_MESSAGE_BYTES)}
        )
        threads.append(
            threading.Thread(target=send, args=(connection, topic, value, count, failed))
        )
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return failed


@pytest.mark.parametrize("mode", MODES)
def test_producers_of_large_records_and_announced_requests_leave_the_heap_some_room(
    mode: Mode, own_broker: OwnBroker
) -> None:
    server = own_broker(mode)
    before = server.pids
    connection = connection_to(server)
    config = server.config
    # Allowed by their size, and never sent: they hold up who comes later, until they leave.
    with (
        opened(config.host, config.port, 12, announced=60_000_000),
        opened(config.host, config.metadata_port, 12, announced=60_000_000),
    ):
        time.sleep(1)
    with (
        opened(config.host, config.port, 12, announced=100_000_000),
        opened(config.host, config.metadata_port, 12, announced=100_000_000),
        # The queue has room for this, ZooKeeper has not.
        opened(config.host, config.metadata_port, 50, announced=1_000_000),
    ):
        assert produce_from(connection, 8, os.urandom(56 << 20), 1) == []
    server.check()
    assert server.pids == before


@pytest.mark.soak
@pytest.mark.parametrize("mode", MODES)
def test_many_large_records(mode: Mode, own_broker: OwnBroker) -> None:
    server = own_broker(mode)
    assert produce_from(connection_to(server), 8, os.urandom(56 << 20), 8) == []
    server.check()


def flooded(own_broker: OwnBroker, tmp_path: Path, limits: BrokerLimits | None) -> EmbeddedBroker:
    return own_broker("kraft", secret=passwords.create(tmp_path / "secret"), limits=limits)


def eventually(works: Callable[[], object], seconds: float) -> float:
    """Try until it works: after how many seconds it did."""
    began = time.monotonic()
    while True:
        try:
            works()
            return time.monotonic() - began
        except UserError:
            if time.monotonic() - began > seconds:
                raise
            time.sleep(0.2)


def test_a_flood_of_connections_without_a_password_ends_neither_broker_nor_clients(
    own_broker: OwnBroker, tmp_path: Path
) -> None:
    limits = BrokerLimits(
        broker_limits("512m").queued_bytes, 120, connections_per_address=90, idle_ms=4000
    )
    server = flooded(own_broker, tmp_path, limits)
    connection = connection_to(server)
    admin.create_topic(connection, "x", partitions=1, config={})
    process = psutil.Process(server.pids["broker"])
    files = process.num_fds()
    with opened(server.config.host, server.config.port, 400):
        # It is connected, and stays so.
        assert admin.topics(connection) == admin.topics(connection)
        assert process.num_fds() < files + limits.connections
        # Those of the flood that were let in have to log in, or make room.
        later = eventually(lambda: connect(server.bootstrap, server.client_properties, 1), 30)
        failed: list[str] = []
        send(connection_to(server), "x", b"a record", 1, failed)
    server.check()
    assert failed == []
    print(f"a new client got in after {later:.1f} s, with {limits.idle_ms / 1000:.0f} s allowed")


@pytest.mark.soak
def test_a_flood_with_the_usual_limits(own_broker: OwnBroker, tmp_path: Path) -> None:
    server = flooded(own_broker, tmp_path, None)
    connection = connection_to(server)
    admin.topics(connection)
    process = psutil.Process(server.pids["broker"])
    place = server.config.host, server.config.port
    # No process here may have 20,000 files open.
    with (
        ProcessPoolExecutor(1, get_context("spawn")) as other,
        opened(*place, 10_000) as accepted,
    ):
        accepted += other.submit(open_and_keep, *place, 10_000).result(120)
        assert process.num_fds() < broker_limits("512m").connections + 512
        admin.topics(connection)
        later = eventually(lambda: connect(server.bootstrap, server.client_properties, 1), 180)
    server.check()
    print(f"of {accepted} connections the broker closed most; a new client: {later:.1f} s later")

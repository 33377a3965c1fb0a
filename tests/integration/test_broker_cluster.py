"""Two brokers that are one cluster: one of them dies, both come back, one of them elsewhere."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic
from kafka import KafkaConsumer, TopicPartition

from deeptool.files import read_json
from hpc.broker import passwords
from hpc.broker.node import Mode

pytestmark = pytest.mark.broker
SCRIPT = Path(__file__).with_name("broker_node.py")
TOPIC = "kept"
PARTITIONS = 4


class Cluster:
    """Two nodes, each with a folder and a process of its own."""

    def __init__(self, folder: Path, mode: Mode, secret: Path | None) -> None:
        self.folder, self.mode, self.secret = folder, mode, secret
        self.nodes: list[subprocess.Popen[str]] = []
        self.bootstraps: list[str] = []
        self.announced = ""

    def directory(self, node: int) -> Path:
        return self.folder / f"node{node}"

    def start(self) -> None:
        self.nodes = [self._launch(0, "", "")]
        self.announced = self._line(0)
        address, _, cluster_id = self.announced.partition(" ")
        self.nodes.append(self._launch(1, address, cluster_id.strip()))
        self.bootstraps = [self._line(node) for node in (0, 1)]

    def stop(self) -> None:
        for process in reversed(self.nodes):
            assert process.stdin is not None
            process.stdin.close()
            process.wait(40)
            assert process.stdout is not None
            process.stdout.close()

    def kill(self, node: int) -> None:
        """Kill the node's supervisor; return when its servers are gone."""
        servers = psutil.Process(self.nodes[node].pid).children(recursive=True)
        assert servers
        self.nodes[node].kill()
        self.nodes[node].wait()
        _, alive = psutil.wait_procs(servers, 10)
        assert not alive

    def client(self) -> dict[str, str]:
        login = passwords.client_properties(self.secret) if self.secret else {}
        return login | {"bootstrap.servers": ",".join(self.bootstraps)}

    def _launch(self, node: int, address: str, cluster_id: str) -> subprocess.Popen[str]:
        arguments = (str(node), "2", self.mode, str(self.directory(node)), address, cluster_id)
        return subprocess.Popen(
            [sys.executable, str(SCRIPT), *arguments, str(self.secret or "")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def _line(self, node: int) -> str:
        output = self.nodes[node].stdout
        assert output is not None
        line = output.readline()
        assert line, f"node {node} has ended: {self.nodes[node].wait(10)}"
        return line.strip()


@pytest.fixture(params=[("zookeeper", True), ("kraft", False)], ids=["zookeeper-secured", "kraft"])
def cluster(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Cluster]:
    mode, secured = request.param
    made = Cluster(tmp_path, mode, passwords.create(tmp_path / "secret") if secured else None)
    made.start()
    yield made
    for process in made.nodes:
        process.kill()
        process.wait()


def produce(cluster: Cluster, numbers: range) -> None:
    failed: list[object] = []
    producer = Producer(
        cluster.client() | {"acks": "all", "enable.idempotence": True, "log_level": 0}
    )
    for number in numbers:
        producer.produce(
            TOPIC,
            str(number).encode(),
            partition=number % PARTITIONS,
            on_delivery=lambda error, message: failed.append(error) if error else None,
        )
    assert producer.flush(60) == 0
    assert failed == []


def stored(cluster: Cluster, count: int) -> list[int]:
    """The numbers in the topic, by an independent client."""
    login = {
        "security_protocol": "SASL_PLAINTEXT",
        "sasl_mechanism": "SCRAM-SHA-512",
        "sasl_plain_username": passwords.USER,
        "sasl_plain_password": passwords.read(cluster.secret) if cluster.secret else None,
    }
    consumer = KafkaConsumer(
        bootstrap_servers=cluster.bootstraps,
        consumer_timeout_ms=30_000,
        **(login if cluster.secret else {}),
    )
    consumer.assign([TopicPartition(TOPIC, partition) for partition in range(PARTITIONS)])
    consumer.seek_to_beginning()
    found = [int(record.value) for _, record in zip(range(count), consumer, strict=False)]
    end = sum(consumer.end_offsets(consumer.assignment()).values())
    consumer.close()
    assert end == count, "no more than these"
    return sorted(found)


def replicas(cluster: Cluster) -> dict[int, tuple[list[int], list[int]]]:
    """Partition -> the brokers that are to have it, and those that have all of it."""
    topic = AdminClient(cluster.client()).list_topics(TOPIC, timeout=10).topics[TOPIC]
    return {
        p: (sorted(found.replicas), sorted(found.isrs)) for p, found in topic.partitions.items()
    }


def all_in_sync(cluster: Cluster) -> bool:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if all(have == [1, 2] for _, have in replicas(cluster).values()):
            return True
        time.sleep(0.2)
    return False


def test_records_outlive_a_node_and_restarts(cluster: Cluster) -> None:
    admin = AdminClient(cluster.client())
    admin.create_topics([NewTopic(TOPIC, PARTITIONS)])[TOPIC].result(20)
    produce(cluster, range(200))
    assert {tuple(wanted) for wanted, _ in replicas(cluster).values()} == {(1, 2)}
    assert all_in_sync(cluster)

    cluster.kill(1)
    assert stored(cluster, 200) == list(range(200))
    produce(cluster, range(200, 300))
    assert stored(cluster, 300) == list(range(300))
    cluster.stop()

    before, announced = cluster.bootstraps, cluster.announced
    host, port = before[1].split(":")
    with socket.create_server((host, int(port))):
        cluster.start()
    assert cluster.bootstraps[0] == before[0]
    assert cluster.bootstraps[1] != before[1], "another one: that port was taken"
    assert cluster.announced == announced, "the same cluster, where it was"
    assert all_in_sync(cluster)
    assert stored(cluster, 300) == list(range(300))
    state = read_json(cluster.directory(1) / "state.json")
    assert (state["node"], state["nodes"], state["replication"]) == (1, 2, 2)

    began = time.monotonic()
    cluster.stop()
    assert [process.returncode for process in cluster.nodes] == [0, 0]
    assert time.monotonic() - began < 20
    for node in (0, 1):
        log = (cluster.directory(node) / "logs" / "broker.log").read_text()
        assert "shut down completed" in log or "shutdown completed" in log

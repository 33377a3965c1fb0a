"""A broker whose disk is full: who says so, how soon, and that its advice leads out of it."""

from __future__ import annotations

import json
import re
import shlex
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import uploads
from click.testing import CliRunner
from confluent_kafka import Producer
from small_disk import SmallDisk, small_disk

import deeptool
from deeptool.cli import cli
from deeptool.client import admin
from deeptool.client.connection import connect
from deeptool.errors import WorkError
from hpc.broker.embedded import EmbeddedBroker

pytestmark = pytest.mark.broker

MIB = 1 << 20
# Run where the broker's folder can be seen: an upload without end to the server that is named.
UPLOAD = """
import sys, deeptool, test_broker_full_disk as test
deeptool.upload(test.noise(10_000, pause=0.02), sys.argv[1], "endless")
"""


def noise(count: int, pause: float = 0.0) -> tf.data.Dataset:
    """Samples of 1 MiB each; nobody knows how many."""
    generator = np.random.default_rng(0)

    def generate() -> Iterator[np.ndarray]:
        for _ in range(count):
            time.sleep(pause)
            yield generator.integers(0, 256, MIB, dtype=np.uint8)

    signature = tf.TensorSpec([MIB], tf.uint8)
    return tf.data.Dataset.from_generator(generate, output_signature=signature).batch(1)


class Broker:
    """A broker on a small disk, asked by commands that see the disk."""

    def __init__(self, disk: SmallDisk, mode: str) -> None:
        self.disk, self.directory = disk, disk.path / "broker"
        up = self.hpc("up", "--dir", self.directory, "--mode", mode, "--detach")
        self.server = up.strip().splitlines()[-1]

    def hpc(self, *arguments: str | Path) -> str:
        done = self.disk.run(sys.executable, "-m", "hpc.cli", "broker", *arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.hpc("status", "--dir", self.directory, "--json"))
        return found

    def wait_free(self, size: int) -> None:
        """Kafka looks every ten seconds, and takes ten more."""
        deadline = time.monotonic() + 40
        while self.disk.free() < size:
            assert time.monotonic() < deadline, self.disk.free()
            time.sleep(0.5)


def write_until_it_ends(broker: Broker) -> None:
    producer = Producer({"bootstrap.servers": broker.server, "message.timeout.ms": 1000})
    deadline = time.monotonic() + 30
    while broker.status()["state"] == "ready":
        assert time.monotonic() < deadline
        producer.produce("small.0.train", bytes(100_000), partition=0)
        producer.flush(1)


def delete_dataset(server: str, name: str) -> None:
    done = CliRunner().invoke(cli, ["delete", name, "--yes", "--server", server])
    assert done.exit_code == 0, done.output


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with small_disk(tmp_path / "disk", "240m") as made:
        yield made
        broker = made.path / "broker"
        made.run(sys.executable, "-m", "hpc.cli", "broker", "down", "--dir", broker)


def test_an_upload_of_unknown_size_ends_before_the_disk_is_full(disk: SmallDisk) -> None:
    broker = Broker(disk, "zookeeper")
    deeptool.upload(noise(20), broker.server, "kept")
    began = time.monotonic()
    with pytest.raises(WorkError, match="the disk of broker 1 is full") as caught:
        # From another machine, as far as it can tell: it does not see the disk.
        deeptool.upload(noise(10_000), broker.server, "endless")
    assert time.monotonic() - began < 30
    assert f"bytes are free in {broker.directory}/data/kafka" in str(caught.value)
    assert broker.status()["state"] == "ready", "for whoever reads from it"
    state = uploads.state(broker.server, "endless.0.train")
    assert state.failed is not None
    # What it had stored makes room again, without a word by anybody.
    broker.wait_free(170 * MIB)
    deeptool.upload(noise(40), broker.server, "next")
    for name, count in (("kept", 20), ("next", 40)):
        assert len(deeptool.open(broker.server, name)) == count
        assert sum(1 for _ in deeptool.open(broker.server, name).tf(batch_size=1)) == count


@pytest.mark.parametrize("mode", ["zookeeper", pytest.param("kraft", marks=pytest.mark.soak)])
def test_a_disk_that_another_program_fills(disk: SmallDisk, mode: str) -> None:
    broker = Broker(disk, mode)
    deeptool.upload(noise(60), broker.server, "kept")
    deeptool.upload(noise(2), broker.server, "small")
    producer = disk.start(
        *("env", f"PYTHONPATH={':'.join(sys.path)}"),
        *(sys.executable, "-c", UPLOAD, broker.server),
    )
    while (pending := uploads.state(broker.server, "endless.0.train").pending) is None:
        assert producer.poll() is None
        time.sleep(0.2)
    assert pending.begun.topic == "endless.0.train"
    time.sleep(2)
    disk.fill()
    began = time.monotonic()
    said, _ = producer.communicate(timeout=60)
    assert time.monotonic() - began < 45
    command = f"deeptool-hpc broker up --dir {broker.directory} --detach"
    # It may have seen the full disk before Kafka did.
    seen_first = "the disk of broker 1 is full" in said
    assert seen_first or ("broker 1 has stopped: its disk is full" in said and command in said)
    write_until_it_ends(broker)

    state = broker.status()
    assert (state["state"], state["disk_full"], state["processes"]) == ("failed", True, {})
    error = state["error"]
    assert re.search(r"the disk is full\n  seen: .*\n(.*\n)*  valid: .*\n  next: start it", error)
    assert command in error
    down = disk.run(sys.executable, "-m", "hpc.cli", "broker", "down", "--dir", broker.directory)
    assert down.returncode == 0, down.stderr

    # As it says: on the disk that is still full.
    _, *arguments = shlex.split(re.findall(r"\(deeptool-(hpc [^:)]*)", error)[0])
    up = disk.run(sys.executable, "-m", "hpc.cli", *arguments)
    assert up.returncode == 0, up.stderr
    assert "warning: the broker's disk is almost full" in up.stderr
    assert up.stdout.strip() == broker.server
    with pytest.raises(WorkError, match="the disk of broker 1 is full"):
        deeptool.upload(noise(100, pause=0.1), broker.server, "refused")
    before = disk.free()
    delete_dataset(broker.server, "kept")
    broker.wait_free(before + 40 * MIB)
    assert sum(1 for _ in deeptool.open(broker.server, "small").tf(batch_size=1)) == 2


def test_a_deleted_dataset_gives_its_space_back(own_broker: Any) -> None:
    broker: EmbeddedBroker = own_broker("kraft")
    deeptool.upload(noise(40), broker.bootstrap, "deleted")
    folders = list(broker.config.log_dir.glob("deleted.0.train-*"))
    assert len(folders) == 4

    def size() -> int:
        return sum(log.stat().st_size for each in folders for log in each.glob("*.log*"))

    assert size() > 40 * MIB
    delete_dataset(broker.bootstrap, "deleted")
    deadline = time.monotonic() + 40
    while size() > MIB:
        assert time.monotonic() < deadline, size()
        time.sleep(0.5)
    # Nobody finds a stray record in the topic.
    connection = connect(broker.bootstrap)
    topic = "deleted.0.train"
    assert admin.start_offsets(connection, topic) == admin.end_offsets(connection, topic)
    ends = admin.end_offsets(connection, topic)
    delete_dataset(broker.bootstrap, "deleted")
    assert admin.end_offsets(connection, topic) == ends
    deeptool.upload(noise(3), broker.bootstrap, "deleted")
    assert sum(1 for _ in deeptool.open(broker.bootstrap, "deleted").tf(batch_size=1)) == 3

"""A damaged length in Kafka's log: Kafka itself says nothing of it, and sends nothing for ever."""

from __future__ import annotations

import struct
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import uploads
from brokers import OwnBroker
from click.testing import CliRunner
from test_faithful_follow import Held

import deeptool
from deeptool.cli import cli
from deeptool.client import admin
from deeptool.client.connection import connect
from deeptool.client.unreadable import unreadable
from deeptool.errors import WorkError
from deeptool.store.check import check_upload
from hpc.broker.embedded import BrokerOptions, EmbeddedBroker

pytestmark = pytest.mark.broker

# Far below the two minutes for which a broker that is restarted is waited for.
SOON = 15.0
# One record a batch: they are larger than librdkafka's batch.size.
ROWS = np.random.default_rng(1).integers(0, 100, (12, 140_000))
RESULT = "the broker answers without a record, although the partition continues to offset"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker(BrokerOptions(tmp_path_factory.mktemp("damaged"), "kraft")) as made:
        yield made


def damage(server: EmbeddedBroker, topic: str, number: int, change: Callable[[int], int]) -> None:
    """Change the length of batch `number` of partition 0."""
    path: Path = server.config.log_dir / f"{topic}-0" / "00000000000000000000.log"
    data, position = path.read_bytes(), 0
    for _ in range(number):
        position += 12 + struct.unpack_from(">i", data, position + 8)[0]
    (length,) = struct.unpack_from(">i", data, position + 8)
    with open(path, "r+b") as file:
        file.seek(position + 8)
        file.write(struct.pack(">i", change(length)))


@pytest.mark.parametrize(
    "change",
    [lambda length: 0x7FFFFFFF, lambda length: length ^ 1 << 16, lambda length: length - 1000],
    ids=["huge", "a bit", "less"],
)
def test_a_reader_and_a_check_name_the_offset_soon(
    server: EmbeddedBroker, session_name: str, change: Callable[[int], int]
) -> None:
    dataset = tf.data.Dataset.from_tensor_slices(ROWS).batch(1)
    deeptool.upload(dataset, server.bootstrap, session_name, partitions=2)
    topic = f"{session_name}.0.train"
    damage(server, topic, 3, change)
    began = time.monotonic()
    with pytest.raises(Exception, match=f"a record of topic {topic} is damaged") as caught:
        list(deeptool.kafka_dataset(server.bootstrap, session_name, "train", repeat=1))
    assert time.monotonic() - began < SOON
    assert f"offset 3 of partition 0 of topic {topic}: {RESULT} 5" in str(caught.value)
    assert "deeptool check lists all that are; upload the dataset again" in str(caught.value)
    began = time.monotonic()
    upload = uploads.current(server.bootstrap, topic)
    (found,) = check_upload(connect(server.bootstrap), upload).damages
    assert time.monotonic() - began < SOON
    assert (found.partition, found.start, found.stop) == (0, 3, 4)
    assert RESULT in found.reason


def test_a_reader_that_follows_an_upload(server: EmbeddedBroker, session_name: str) -> None:
    held = Held(server.bootstrap, session_name, "arrow")
    connection = connect(server.bootstrap)
    with ThreadPoolExecutor(1) as pool:
        upload = pool.submit(held.run)
        try:
            data = deeptool.open(server.bootstrap, session_name, follow=True, wait=60)
            while sum(admin.end_offsets(connection, held.topic).values()) < 4:
                time.sleep(0.1)
            damage(server, held.topic, 0, lambda length: 0x7FFFFFFF)
            began = time.monotonic()
            with pytest.raises(Exception, match=f"offset 0 of partition 0 of .*: {RESULT}"):
                next(data.tf(batch_size=4, repeat=1).as_numpy_iterator())
            assert time.monotonic() - began < SOON
            assert not held.go_on.is_set(), "while the upload is under way"
        finally:
            held.go_on.set()
            upload.result(60)


def test_the_catalog_is_damaged_and_says_so_soon(own_broker: OwnBroker) -> None:
    server = own_broker("kraft")
    for name in ("a", "b", "c"):
        deeptool.upload(tf.data.Dataset.range(8).batch(4), server.bootstrap, name, partitions=1)
    damage(server, "deeptool.catalog", 2, lambda length: 0x7FFFFFFF)
    began = time.monotonic()
    done = CliRunner().invoke(cli, ["inspect", "--server", server.bootstrap])
    assert time.monotonic() - began < SOON
    assert isinstance(done.exception, WorkError)
    assert "the catalog is damaged" in str(done.exception)
    assert f"offset 2 of partition 0 of topic deeptool.catalog: {RESULT} 5" in str(done.exception)
    for ask in (
        lambda: deeptool.open(server.bootstrap, "a"),
        lambda: deeptool.upload(tf.data.Dataset.range(8).batch(4), server.bootstrap, "d"),
    ):
        began = time.monotonic()
        with pytest.raises(WorkError, match="the catalog is damaged") as caught:
            ask()
        assert time.monotonic() - began < SOON
        assert "broker up --dir NEW" in str(caught.value.next_step)


def test_what_is_whole_or_not_there_yet_is_not_taken_for_damaged(
    server: EmbeddedBroker, session_name: str
) -> None:
    largest = np.zeros((1, 60 << 20), np.uint8)
    dataset = tf.data.Dataset.from_tensor_slices(largest).batch(1)
    deeptool.upload(dataset, server.bootstrap, session_name, partitions=1)
    connection, topic = connect(server.bootstrap), f"{session_name}.0.train"
    assert unreadable(connection, topic, 0, 0) is None
    assert unreadable(connection, topic, 0, 1) is None, "its end"
    assert unreadable(connect(server.bootstrap), "nothing.0.train", 0, 0) is None

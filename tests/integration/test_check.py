"""Damage of every kind is found and placed."""

from __future__ import annotations

import json
import struct
import time
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import uploads
from click.testing import CliRunner
from confluent_kafka import Producer

import deeptool
from deeptool.catalog.events import EpochStored
from deeptool.client import admin
from deeptool.client.connection import connect
from deeptool.client.topic_names import topic_name
from deeptool.commands.check import command
from deeptool.errors import UserError, WorkError
from deeptool.store.check import Checked, check_upload
from hpc.broker.embedded import EmbeddedBroker

pytestmark = pytest.mark.broker

RECORDS = 24
ROWS = np.random.default_rng(0).integers(0, 100, (RECORDS, 2000))


def stored(server: str, session: str, codec: str = "arrow", compression: str = "none") -> str:
    """A topic of two partitions; with arrow, record i holds sample i alone."""
    uploads.tuned_upload(
        tf.data.Dataset.from_tensor_slices(ROWS).batch(4),
        server,
        session,
        codec=codec,
        compression=compression,
        partitions=2,
        record_bytes=17_000,
    )
    return topic_name(session, 0, "train")


def check(server: str, topic: str) -> Checked:
    # Kafka's log is on this machine: what it can read comes at once.
    return check_upload(connect(server), uploads.current(server, topic), silent_seconds=1.0)


def offset_of(server: EmbeddedBroker, topic: str, sample: int) -> tuple[int, int]:
    """Partition and offset of the record that holds a sample."""
    for header, message in uploads.records(
        server.bootstrap, uploads.current(server.bootstrap, topic)
    ):
        if header.first <= sample < header.first + header.count:
            return message.partition(), message.offset()
    raise AssertionError(sample)


def epochs(server: EmbeddedBroker, topic: str) -> tuple[EpochStored, ...]:
    completed = uploads.current(server.bootstrap, topic).completed
    assert completed is not None
    return completed.epochs


def flip(path: Path, position: int) -> None:
    with open(path, "r+b") as file:
        file.seek(position)
        byte = file.read(1)[0]
        file.seek(position)
        file.write(bytes([byte ^ 0x10]))


def log_file(server: EmbeddedBroker, topic: str, partition: int) -> Path:
    return server.config.log_dir / f"{topic}-{partition}" / "00000000000000000000.log"


@pytest.fixture(scope="module")
def tampered(tmp_path_factory: pytest.TempPathFactory):  # type: ignore[no-untyped-def]
    from hpc.broker.embedded import BrokerOptions

    with EmbeddedBroker(BrokerOptions(tmp_path_factory.mktemp("tampered"))) as server:
        yield server


def test_what_is_whole_is_said_to_be(broker: str, session_name: str) -> None:
    topic = stored(broker, session_name)
    checked = check(broker, topic)
    assert checked.damages == ()
    assert (checked.samples, checked.records) == (RECORDS, RECORDS)
    assert checked.bytes == uploads.current(broker, topic).bytes


@pytest.mark.parametrize("codec", ["arrow", "example"])
def test_a_flipped_byte_is_found_and_placed(
    tampered: EmbeddedBroker, session_name: str, codec: str
) -> None:
    topic = stored(tampered.bootstrap, session_name, codec)
    partition, offset = offset_of(tampered, topic, 7)
    path = log_file(tampered, topic, partition)
    # The middle of the sample's row.
    flip(path, path.read_bytes().index(ROWS[7].tobytes()) + 8000)
    checked = check(tampered.bootstrap, topic)
    (damage,) = checked.damages
    assert (damage.partition, damage.start, damage.stop) == (partition, offset, offset + 1)
    assert "checksum" in damage.reason
    assert sum(epoch.records for epoch in epochs(tampered, topic)) == checked.records + 1


@pytest.mark.parametrize("compression", ["lz4", "zstd"])
def test_a_flipped_byte_of_compressed_records(
    tampered: EmbeddedBroker, session_name: str, compression: str
) -> None:
    topic = stored(tampered.bootstrap, session_name, compression=compression)
    path = log_file(tampered, topic, 1)
    flip(path, len(path.read_bytes().rstrip(b"\0")) // 2)
    checked = check(tampered.bootstrap, topic)
    # Of a compressed batch, more than one record may be lost, but none of another partition.
    assert checked.damages
    assert {damage.partition for damage in checked.damages} == {1}
    assert all(damage.start is not None for damage in checked.damages)
    lost = sum((d.stop or 0) - (d.start or 0) for d in checked.damages)
    assert checked.records == RECORDS - lost


def test_a_changed_header_is_found(tampered: EmbeddedBroker, session_name: str) -> None:
    topic = stored(tampered.bootstrap, session_name)
    partition, _ = offset_of(tampered, topic, 6)
    path = log_file(tampered, topic, partition)
    data = path.read_bytes()
    # The header "first", its value's length (of one digit) behind it: sample 6 becomes sample 7.
    digit = data.index(b"first\x02", data.index(ROWS[6].tobytes())) + 6
    assert data[digit : digit + 1] == b"6"
    with open(path, "r+b") as file:
        file.seek(digit)
        file.write(b"7")
    checked = check(tampered.bootstrap, topic)
    text = "\n".join(map(str, checked.damages))
    assert f"partition {partition}, offset 3: its headers are not as they were written" in text


def test_a_broken_frame_is_skipped(tampered: EmbeddedBroker, session_name: str) -> None:
    # One record a batch: they are larger than librdkafka's batch.size.
    rows = np.random.default_rng(1).integers(0, 100, (6, 140_000))
    dataset = tf.data.Dataset.from_tensor_slices(rows).batch(1)
    deeptool.upload(dataset, tampered.bootstrap, session_name, partitions=1)
    topic = topic_name(session_name, 0, "train")
    path = log_file(tampered, topic, 0)
    data = path.read_bytes()
    batch, position = 0, 0
    while batch < 2:
        position += 12 + struct.unpack_from(">i", data, position + 8)[0]
        batch += 1
    # The version of the format: what follows is nothing that a client knows.
    flip(path, position + 16)
    checked = check(tampered.bootstrap, topic)
    assert [(d.partition, d.start, d.stop) for d in checked.damages] == [(0, 2, 3)]
    assert checked.records == 5


def test_several_damages_in_several_partitions(tampered: EmbeddedBroker, session_name: str) -> None:
    topic = stored(tampered.bootstrap, session_name)
    expected = []
    for sample in (0, 3, 4, RECORDS - 1):
        partition, offset = offset_of(tampered, topic, sample)
        expected.append((partition, offset))
        path = log_file(tampered, topic, partition)
        flip(path, path.read_bytes().index(ROWS[sample].tobytes()) + 99)
    checked = check(tampered.bootstrap, topic)
    assert [(d.partition, d.start) for d in checked.damages] == sorted(expected)


def test_deleted_records_are_told(broker: str, session_name: str) -> None:
    topic = stored(broker, session_name)
    admin.delete_records(connect(broker), topic, {0: 3})
    checked = check(broker, topic)
    (damage,) = checked.damages
    assert (damage.partition, damage.start, damage.stop) == (0, 0, 3)
    assert "deleted" in damage.reason
    assert checked.records == RECORDS - 3


def test_a_topic_made_anew_holds_none_of_it(broker: str, session_name: str) -> None:
    from confluent_kafka.admin import AdminClient

    topic = stored(broker, session_name)
    connection = connect(broker)
    upload = uploads.current(broker, topic)
    librdkafka = AdminClient(connection.config())
    librdkafka.delete_topics([topic])[topic].result(10)
    checked = check_upload(connection, upload)
    assert [damage.reason for damage in checked.damages] == ["the partition does not exist"] * 2
    deadline = time.monotonic() + 30
    while topic in admin.topics(connection):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    # The broker may still be at it behind the scenes, and refuse the name for a moment.
    time.sleep(2)
    admin.create_topic(connection, topic, partitions=2, config={})
    stranger = Producer(connection.config())
    stranger.produce(topic, b"something else", partition=0)
    stranger.flush(10)
    checked = check_upload(connection, upload)
    text = " ".join(map(str, checked.damages))
    assert "offset 0: its headers are not those of deeptool" in text
    assert "missing at the end of the log" in text
    assert checked.samples == 0


def test_the_command(broker: str, session_name: str) -> None:
    topic = stored(broker, session_name)

    def run(*arguments: str) -> tuple[str, BaseException | None]:
        result = CliRunner().invoke(command, ["-s", broker, *arguments])
        return result.stdout, result.exception

    output, error = run(session_name)
    assert error is None
    assert output.startswith(f"{topic}: as uploaded ({RECORDS} samples, records: {RECORDS}")
    output, error = run(session_name, "--json", "-pid", "0", "--split", "train")
    assert error is None
    (row,) = json.loads(output)
    assert (row["topic"], row["damages"], row["samples"]) == (topic, [], RECORDS)
    _, error = run(session_name, "-pid", "1")
    assert isinstance(error, UserError)
    assert "no complete dataset is stored" in str(error)
    admin.delete_records(connect(broker), topic, {1: 2})
    output, error = run(session_name)
    assert isinstance(error, WorkError)
    assert f"{topic}: DAMAGED" in output
    assert "partition 1, offset 0 to 1: deleted from the broker" in output

"""A reader that follows an upload: no damaged record is data, and no stranger's is an error."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import pytest
import tensorflow as tf
import uploads
from confluent_kafka import Consumer, Message, Producer, TopicPartition

import deeptool
from deeptool.client.connection import connect
from deeptool.client.topic_names import topic_name
from deeptool.codec import CODECS
from deeptool.errors import WorkError

pytestmark = pytest.mark.broker

Headers = list[tuple[str, bytes]]


class Held:
    """An upload whose pipeline stops after half of its 40 rows, until it is let go."""

    def __init__(self, broker: str, session: str, codec: str) -> None:
        self.broker, self.session = broker, session
        self.topic = topic_name(session, 0, "train")
        self.go_on = threading.Event()
        self.codec = codec

    def run(self) -> None:
        def generate() -> Iterator[np.ndarray]:
            for start in range(0, 40, 4):
                if start == 20:
                    self.go_on.wait(60)
                yield np.arange(start, start + 4, dtype=np.int64)

        signature = tf.TensorSpec((None,), tf.int64)
        source = tf.data.Dataset.from_generator(generate, output_signature=signature)
        uploads.tuned_upload(
            source,
            self.broker,
            self.session,
            codec=self.codec,
            partitions=1,
            record_bytes=32,
            heartbeat_seconds=1.0,
        )

    def first_record(self) -> Message:
        consumer = Consumer({"bootstrap.servers": self.broker, "group.id": "test"})
        consumer.assign([TopicPartition(self.topic, 0, 0)])
        found = consumer.poll(20)
        consumer.close()
        assert found is not None
        assert found.error() is None
        return found

    def send(self, headers: Headers, value: bytes, key: bytes | None) -> int:
        """The offset of a record that is put into the upload's topic."""
        offsets: list[int] = []
        producer = Producer(connect(self.broker).config())
        producer.produce(
            self.topic,
            value,
            key,
            partition=0,
            headers=headers,
            on_delivery=lambda _, sent: offsets.append(sent.offset()),
        )
        assert producer.flush(20) == 0
        return offsets[0]


@contextmanager
def following(held: Held) -> Iterator[tuple[deeptool.StoredDataset, Iterator[np.ndarray]]]:
    """The upload under way, and what a follower reads of it; the first rows have arrived."""
    with ThreadPoolExecutor(1) as pool:
        upload = pool.submit(held.run)
        try:
            data = deeptool.open(held.broker, held.session, follow=True, wait=60)
            elements = data.tf(batch_size=4, repeat=1).as_numpy_iterator()
            assert next(elements).tolist() == [0, 1, 2, 3]
            yield data, elements
        finally:
            held.go_on.set()
            # Its topic got records of others meanwhile, which do not matter to it.
            upload.result(60)


def changed(name: str, text: bytes) -> Callable[[Headers, bytes], tuple[Headers, bytes]]:
    def change(headers: Headers, value: bytes) -> tuple[Headers, bytes]:
        return [(key, text if key == name else old) for key, old in headers], value

    return change


def value_byte(headers: Headers, value: bytes) -> tuple[Headers, bytes]:
    middle = len(value) // 2
    return headers, value[:middle] + bytes([value[middle] ^ 1]) + value[middle + 1 :]


def without_crc(headers: Headers, value: bytes) -> tuple[Headers, bytes]:
    """As records of earlier releases: only what it says of its samples is wrong."""
    return [pair for pair in headers if pair[0] != "hcrc"], value


@pytest.mark.parametrize("codec", sorted(CODECS))
@pytest.mark.parametrize(
    "change",
    [
        value_byte,
        changed("epoch", b"1"),
        changed("first", b"36"),
        changed("count", b"5"),
        without_crc,
    ],
)
def test_a_damaged_record_is_an_error_that_names_it(
    broker: str,
    session_name: str,
    codec: str,
    change: Callable[[Headers, bytes], tuple[Headers, bytes]],
) -> None:
    held = Held(broker, session_name, codec)
    with following(held) as (data, elements):
        record = held.first_record()
        headers, value = change(list(record.headers()), record.value())
        offset = held.send(headers, value, record.key())
        rows: list[int] = []
        with pytest.raises(WorkError, match="is damaged") as caught, data.meter.raising():
            rows.extend(int(row) for element in elements for row in element)
    assert f"offset {offset} of partition 0 of topic {held.topic}" in str(caught.value)
    assert rows == list(range(4, 4 + len(rows)))


def test_strangers_records_of_any_kind_are_passed_over(broker: str, session_name: str) -> None:
    held = Held(broker, session_name, "arrow")
    with following(held) as (_, elements):
        record = held.first_record()
        other = changed("upload", b"somebody-else")(list(record.headers()), b"")[0]
        for headers in (
            [],
            [("v", b"2")],
            other,
            changed("v", b"2")(other, b"")[0],
            changed("v", b"many")(other, b"")[0],
        ):
            held.send(headers, b"not a batch", None)
        held.go_on.set()
        assert [int(row) for element in elements for row in element] == list(range(4, 40))


def test_a_record_of_this_upload_in_another_format_is_an_error(
    broker: str, session_name: str
) -> None:
    held = Held(broker, session_name, "arrow")
    with following(held) as (data, elements):
        record = held.first_record()
        headers, value = changed("v", b"7")(list(record.headers()), record.value())
        offset = held.send(headers, value, record.key())
        failing = pytest.raises(WorkError, match="another format version")
        with failing as caught, data.meter.raising():
            list(elements)
    assert re.search(rf"version 7, offset {offset} of partition 0 of topic", str(caught.value))

"""Passes by tensorflow-io's operations: a stand-in for these reads records kept in memory."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from memory_store import MemoryStore

from deeptool.catalog.fold import TopicState
from deeptool.client.connection import Connection
from deeptool.codec.values import Leaves
from deeptool.errors import UserError, WorkError
from deeptool.reader import StoredDataset, tfio
from deeptool.store.kafka_store import KafkaStore
from deeptool.store.record_store import Lane

ROWS = 300
BEGINNING = -2


def numbered(begin: int = 0) -> list[Leaves]:
    y = np.arange(begin, begin + ROWS, dtype=np.int64)
    x = np.repeat(y[:, None], 2, axis=1).astype(np.float32)
    return [(x[i : i + 4], y[i : i + 4]) for i in range(0, ROWS, 4)]


class Operations:
    """tensorflow-io's `core_ops`, as far as used here; a resource is its topic and partition."""

    def __init__(self, store: MemoryStore) -> None:
        self.store = store
        self.lost = 0

    def io_kafka_readable_init(self, topic: Any, partition: Any, offset: Any, metadata: Any) -> Any:
        return topic, partition

    def io_kafka_readable_read(self, resource: Any, start: Any, stop: Any) -> Any:
        def read(topic: bytes, partition: int, start: int, stop: int) -> Any:
            lane = self.store.lanes[Lane(topic.decode(), int(partition))]
            first = 0 if start == BEGINNING else int(start)
            found = [record for record in lane[first : int(stop) - self.lost] if record]
            return (
                np.array([record.value for record in found], dtype=object),
                np.array([record.key or b"" for record in found], dtype=object),
            )

        message, key = tf.numpy_function(read, [*resource, start, stop], (tf.string, tf.string))
        for column in (message, key):
            column.set_shape([None])
        return SimpleNamespace(message=message, key=key)


class FakeLog:
    def __init__(self, store: MemoryStore) -> None:
        self.store = store

    def read(self) -> dict[str, TopicState]:
        return self.store.catalog()


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> MemoryStore:
    made = MemoryStore()
    operations = Operations(made)
    monkeypatch.setattr(tfio, "_operations", lambda: operations)
    monkeypatch.setattr(tfio, "CatalogLog", lambda connection: FakeLog(made))
    monkeypatch.setattr(
        tfio.admin, "start_offsets", lambda connection, topic: dict.fromkeys(range(9), 0)
    )
    return made


def opened(store: MemoryStore, upload: str = "u1", **facts: Any) -> StoredDataset:
    stored = store.upload(upload, numbered(), **facts)
    return StoredDataset(KafkaStore(Connection(("host:9092",))), stored)


def numbers(data: StoredDataset, **options: Any) -> list[int]:
    with data.meter.raising():
        dataset = data.tf(reader="tfio", batch_size=7, **options)
        return [int(n) for _, y in dataset.as_numpy_iterator() for n in y]


@pytest.mark.parametrize("codec", ["arrow", "example"])
def test_every_sample_once(store: MemoryStore, codec: str) -> None:
    data = opened(store, codec=codec)
    assert sorted(numbers(data)) == list(range(ROWS))
    assert data.meter.samples == ROWS
    shuffled = numbers(data, shuffle=True, seed=1)
    assert sorted(shuffled) == list(range(ROWS))
    assert shuffled != numbers(data, shuffle=True, seed=2)


def test_a_short_read_is_an_error(store: MemoryStore) -> None:
    data = opened(store)
    tfio._operations().lost = 1
    with pytest.raises(WorkError, match="did not deliver all records"):
        numbers(data)


def test_records_of_another_upload_are_an_error(store: MemoryStore) -> None:
    """tensorflow-io sees no headers: the catalog tells that the topic was made again."""
    data = opened(store)
    for records in store.lanes.values():
        records.clear()
    store.upload("u2", numbered(begin=1000), replace=True)
    with pytest.raises(WorkError, match="deleted or replaced while it was read") as caught:
        numbers(data)
    assert caught.value.seen == "upload u2 is stored there now, not u1"


def test_what_tensorflow_io_cannot_do_is_rejected(store: MemoryStore) -> None:
    data = opened(store)
    with pytest.raises(UserError, match="reads no headers"):
        data.tf(reader="tfio", num_shards=2)

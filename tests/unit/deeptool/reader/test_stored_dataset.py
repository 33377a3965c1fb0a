"""A handle on a stored dataset, read as a ``tf.data.Dataset`` from a store without any broker."""

from __future__ import annotations

import inspect
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from textwrap import dedent
from typing import Any

import numpy as np
import pytest
from catalog_builders import SPEC
from memory_store import MemoryStore
from paths import ROOT

import deeptool
from deeptool.codec.values import Leaves
from deeptool.errors import UserError, WorkError
from deeptool.producer.ledger import Ledger
from deeptool.reader import StoredDataset
from deeptool.reader.open_dataset import TfOptions
from deeptool.reader.read_request import ReadRequest
from deeptool.store.record_store import Lane

ROWS = 300


def numbered(rows: int = ROWS, begin: int = 0, batch: int = 4) -> list[Leaves]:
    """Batches of samples that carry their own number, in both columns of x and in y."""
    y = np.arange(begin, begin + rows, dtype=np.int64)
    x = np.repeat(y[:, None], 2, axis=1).astype(np.float32)
    return [(x[i : i + batch], y[i : i + batch]) for i in range(0, rows, batch)]


def numbers(dataset: Any) -> list[int]:
    found: list[int] = []
    for x, y in dataset.as_numpy_iterator():
        np.testing.assert_array_equal(x, np.repeat(y[:, None], 2, axis=1))
        found += y.tolist()
    return found


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


def test_a_handle_says_what_it_reads(store: MemoryStore) -> None:
    stored = store.upload("u1", numbered(), numbered(20), data_hparams={"size": 8}, proc_id=3)
    data = StoredDataset(store, stored)
    assert (len(data), data.samples(1), data.samples(2), data.epochs) == (ROWS, 20, ROWS, 2)
    assert (data.name, data.split, data.proc_ids) == ("s", "train", (3,))
    assert (data.upload_ids, data.topics, data.complete) == (("u1",), ("s.3.train",), True)
    assert (data.spec, data.batch_size, data.hparams) == (SPEC, 4, {"size": 8})
    assert "300 samples, upload u1" in repr(data)


def test_the_digest_is_of_what_was_stored(store: MemoryStore) -> None:
    one = StoredDataset(store, store.upload("u1", numbered(), proc_id=0)).digest
    same = StoredDataset(store, store.upload("u2", numbered(), proc_id=1)).digest
    other = StoredDataset(store, store.upload("u3", numbered(begin=1), proc_id=2)).digest
    assert one == same
    assert one != other


def test_a_store_in_memory_is_read_like_a_broker(store: MemoryStore) -> None:
    data = StoredDataset(store, store.upload("u1", numbered()))
    assert numbers(data.tf()) == list(range(ROWS))
    assert data.meter.samples == ROWS
    assert int(data.tf(batch_size=7).cardinality()) == -(-ROWS // 7)
    assert numbers(data.tf(batch_size=7)) == list(range(ROWS))
    shuffled = numbers(data.tf(shuffle=True, seed=1, repeat=2))
    assert sorted(shuffled[:ROWS]) == sorted(shuffled[ROWS:]) == list(range(ROWS))
    assert shuffled[:ROWS] != shuffled[ROWS:]
    assert numbers(data.tf(shuffle=True, seed=1, first_epoch=1)) == shuffled[ROWS:]
    parts = [numbers(data.tf(num_shards=3, index=index)) for index in range(3)]
    assert [len(part) for part in parts] == [100] * 3
    assert [number for part in parts for number in part] == list(range(ROWS))


@pytest.mark.parametrize("shuffle", [True, False])
def test_each_iterator_begins_the_next_pass(store: MemoryStore, shuffle: bool) -> None:
    """As ``model.fit(epochs=N)`` makes them: one an epoch."""
    data = StoredDataset(store, store.upload("u1", numbered()))
    passes = numbers(data.tf(shuffle=shuffle, seed=1, repeat=4))
    dataset = data.tf(shuffle=shuffle, seed=1, batch_size=7)
    assert int(dataset.cardinality()) == -(-ROWS // 7)
    for k in range(3):
        assert numbers(dataset) == passes[k * ROWS : (k + 1) * ROWS]
    later = data.tf(shuffle=shuffle, seed=1, first_epoch=1)
    assert [numbers(later), numbers(later)] == [
        passes[ROWS : 2 * ROWS],
        passes[2 * ROWS : 3 * ROWS],
    ]
    # Two passes an iterator, and an endless one, which has no next.
    twice = data.tf(shuffle=shuffle, seed=1, repeat=2)
    assert numbers(twice) + numbers(twice) == passes
    endless = data.tf(shuffle=shuffle, seed=1, repeat=None).take(ROWS)
    assert numbers(endless)[:ROWS] == numbers(endless)[:ROWS] == passes[:ROWS]


def test_kafka_dataset_opens_and_reads(store: MemoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[Any] = []

    def found(*given: Any, **how: Any) -> StoredDataset:
        opened.append((given, how))
        return StoredDataset(store, store.upload("u1", numbered()))

    monkeypatch.setattr("deeptool.reader.open_dataset.open_dataset", found)
    dataset = deeptool.kafka_dataset("host:9092", "s", "val", proc_id=1, wait=2.0, batch_size=5)
    assert next(iter(dataset.as_numpy_iterator()))[1].tolist() == [0, 1, 2, 3, 4]
    ((given, how),) = opened
    assert given == ("host:9092", "s", "val")
    assert (how["proc_id"], how["wait"]) == (1, 2.0)


def test_one_vocabulary() -> None:
    """What `open`, `kafka_dataset`, `tf` and `upload` have in common has one name."""

    def names(function: Any) -> list[str]:
        return [name for name in inspect.signature(function).parameters if name != "self"]

    assert names(deeptool.kafka_dataset) == [*names(deeptool.open), "options"]
    assert names(StoredDataset.tf) == ["reader", "options"]
    assert set(TfOptions.__annotations__) == {"reader", *names(ReadRequest)}
    shared = {"servers", "name", "split", "proc_id", "topic", "client_properties"}
    assert shared <= set(names(deeptool.open)) & set(names(deeptool.upload))


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"repeat": 0}, "repeat must be at least 1"),
        ({"first_epoch": -1}, "must not be negative"),
        ({"start": (0, -1)}, "no position"),
        ({"start": (0, 1), "first_epoch": 2}, "say the same thing"),
        ({"index": 2, "num_shards": 2}, "no such part"),
        ({"reader": "java"}, "unknown reader"),
        ({"reader": "tfio"}, "from Kafka only"),
        ({"memory_bytes": 1}, "too small"),
    ],
)
def test_options_that_are_rejected(store: MemoryStore, options: Any, text: str) -> None:
    data = StoredDataset(store, store.upload("u1", numbered()))
    with pytest.raises(UserError, match=text):
        data.tf(**options)


# ---- found once, read once ----


def test_an_upload_that_replaces_it_is_not_read(store: MemoryStore) -> None:
    data = StoredDataset(store, store.upload("old", numbered()))
    dataset = data.tf(repeat=None).take(2 * ROWS // 4)
    store.upload("new", numbered(begin=1000), replace=True)
    assert numbers(dataset) == 2 * list(range(ROWS))
    # A pass that begins later, and other reads of the same handle, are of the same upload.
    assert sorted(numbers(data.tf(shuffle=True))) == list(range(ROWS))


@pytest.mark.parametrize("options", [{}, {"shuffle": True, "seed": 1}, {"num_shards": 2}])
def test_deleted_records_are_an_error(store: MemoryStore, options: Any) -> None:
    data = StoredDataset(store, store.upload("old", numbered()))
    store.upload("new", numbered(begin=1000), replace=True)
    store.delete_records("old")
    with (
        pytest.raises(WorkError, match="deleted or replaced while it was read"),
        data.meter.raising(),
    ):
        numbers(data.tf(**options))


@pytest.mark.parametrize("shuffle", [False, True])
def test_records_of_another_upload_at_its_offsets_are_an_error(
    store: MemoryStore, shuffle: bool
) -> None:
    data = StoredDataset(store, store.upload("old", numbered()))
    # As when the topic is deleted and made again: the same offsets, other records.
    for records in store.lanes.values():
        records.clear()
    store.upload("new", numbered(begin=1000), replace=True)
    elements = data.tf(shuffle=shuffle).as_numpy_iterator()
    # The first element already is an error: not one sample of the other upload comes out.
    with pytest.raises(WorkError, match="by upload new") as caught, data.meter.raising():
        next(elements)
    assert "deleted or replaced" in str(caught.value)


def test_a_record_that_is_missing_is_never_a_shorter_pass(store: MemoryStore) -> None:
    data = StoredDataset(store, store.upload("u1", numbered()))
    lane = Lane("s.0.train", 0)
    record = store.record(lane, 1)
    assert record.header is not None
    header = replace(record.header, count=record.header.count - 1)
    store.lanes[lane][1] = record._replace(header=header)
    with (
        pytest.raises(WorkError, match="does not hold all samples") as caught,
        data.meter.raising(),
    ):
        numbers(data.tf(cache="off"))
    assert "299 samples" in str(caught.value)


def test_an_upload_under_way_is_followed_by_its_id(store: MemoryStore) -> None:
    event, ledger = store.begin("u1"), Ledger()
    store.send(event, numbered(100), ledger)
    data = StoredDataset(store, store.found(event), follow=True)
    assert not data.complete
    with pytest.raises(WorkError, match="still being uploaded"):
        len(data)
    with pytest.raises(UserError, match="only be read whole"):
        data.tf(num_shards=2)
    dataset = data.tf(shuffle=True, seed=1)
    assert int(dataset.cardinality()) == -2
    assert sorted(numbers(dataset)) == list(range(100))
    assert store.passes == 0
    # Complete, and replaced at once: the passes that follow are of the upload that was found.
    store.complete(event, ledger)
    assert numbers(data.tf()) == list(range(100))
    assert store.passes == 1


# ---- no TensorFlow, no Kafka client ----


def test_a_handle_imports_no_tensorflow() -> None:
    program = """
        import sys
        import deeptool
        from memory_store import MemoryStore
        import numpy as np
        assert callable(deeptool.open)
        batches = [(np.zeros((4, 2), np.float32), np.zeros(4, np.int64))]
        store = MemoryStore()
        data = deeptool.StoredDataset(store, store.upload("u1", batches))
        print(len(data), data.spec, data.hparams, data.digest, data.upload_ids)
        sys.exit("tensorflow" in sys.modules)
    """
    assert run(program, str(ROOT / "tests/helpers")) == 0


def run(program: str, *paths: str) -> int:
    code = f"import sys; sys.path[:0] = {list(paths)}\n" + dedent(program)
    return subprocess.run([sys.executable, "-c", code], timeout=120).returncode


def imports(room: str) -> Sequence[tuple[str, str]]:
    return [
        (file.name, line.split()[1])
        for file in sorted((ROOT / "deeptool" / room).glob("*.py"))
        for line in map(str.strip, file.read_text().splitlines())
        if line.startswith(("import ", "from "))
    ]


def test_readers_know_no_kafka_client() -> None:
    found = [file for file, module in imports("reader") if module.startswith("confluent_kafka")]
    assert found == []
    kafka = {
        file for file, module in imports("reader") if module.startswith("deeptool.store.kafka")
    }
    # `open` is given the address of a broker; tensorflow-io reads Kafka and nothing else.
    assert kafka == {"open_dataset.py", "tfio.py"}

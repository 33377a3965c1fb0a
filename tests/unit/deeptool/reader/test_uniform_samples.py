"""Samples of one shape whose spec leaves it open, such as windows of a series: nothing to pad."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from memory_store import MemoryStore

from deeptool.catalog import events
from deeptool.catalog.events import Completed
from deeptool.catalog.stored import Stored
from deeptool.codec.spec import Spec
from deeptool.codec.structure import Leaf
from deeptool.codec.values import Leaves, Ragged
from deeptool.errors import UserError
from deeptool.reader import StoredDataset

# As timeseries_dataset_from_array makes them.
WINDOWS = Spec((Leaf("float32", (None, None, 3)), Leaf("int64", (None,))))


def windows(rows: int, length: int = 10, size: int = 8) -> list[Leaves]:
    y = np.arange(rows, dtype=np.int64)
    x = np.repeat(y, length * 3).reshape(rows, length, 3).astype(np.float32)
    return [(x[i : i + size], y[i : i + size]) for i in range(0, rows, size)]


def stored(store: MemoryStore, *epochs: list[Leaves], **facts: Any) -> StoredDataset:
    facts = {"spec": WINDOWS, "batch_size": 8, **facts}
    return StoredDataset(store, store.upload("u", *epochs, **facts))


def numbers(dataset: Any) -> list[list[int]]:
    """The samples of each batch."""
    found = []
    for x, y in dataset.as_numpy_iterator():
        assert x.shape == (len(y), 10, 3)
        np.testing.assert_array_equal(x[:, 0, 0], y)
        found.append(y.tolist())
    return found


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.mark.parametrize("codec", ["arrow", "example"])
@pytest.mark.parametrize("size", [8, 16, 5])
@pytest.mark.parametrize("shuffle", [False, True])
def test_any_batch_size_without_padding(
    store: MemoryStore, codec: str, size: int, shuffle: bool
) -> None:
    data = stored(store, windows(101), windows(40), codec=codec)
    assert data.stored.uniform
    dataset = data.tf(batch_size=size, shuffle=shuffle, seed=1, repeat=2)
    assert dataset.element_spec == WINDOWS.to_tf()
    found = numbers(dataset)
    steps = -(-101 // size)
    assert len(found) == int(dataset.cardinality()) == steps + -(-40 // size)
    assert data.elements(0, batch_size=size) == steps
    whole = [number for batch in found[:steps] for number in batch]
    assert sorted(whole) == list(range(101))
    # Rows are mixed, not whole batches.
    assert (whole[:8] == list(range(whole[0], whole[0] + 8))) is not shuffle


def test_parts_and_whole_batches(store: MemoryStore) -> None:
    data = stored(store, windows(101))
    parts = [data.tf(num_shards=2, index=index) for index in range(2)]
    assert [int(part.cardinality()) for part in parts] == [7, 7]
    assert sorted(n for part in parts for batch in numbers(part) for n in batch) == list(range(101))
    dropped = data.tf(drop_remainder=True)
    assert dropped.element_spec[0].shape.as_list() == [8, None, 3]
    assert [len(batch) for batch in numbers(dropped)] == [8] * 12


def test_single_samples(store: MemoryStore) -> None:
    data = stored(store, windows(20), spec=Spec(WINDOWS.structure, batched=False), batch_size=1)
    assert [len(batch) for batch in numbers(data.tf(batch_size=8))] == [8, 8, 4]


def test_beside_ragged_samples(store: MemoryStore) -> None:
    spec = Spec((Leaf("float32", (None, None, 3)), Leaf("int32", (None, None), 1, "int32")))
    splits = np.array([0, 1, 3, 3, 6], np.int32)
    made = [(x[:4], Ragged(np.arange(6, dtype=np.int32), (splits,))) for x, _ in windows(8)]
    data = stored(store, made * 2, spec=spec, batch_size=4)
    (x, y), *_ = data.tf(batch_size=3)
    assert x.shape == (3, 10, 3)
    assert y.to_list() == [[0], [1, 2], []]
    assert data.tf(batch_size=3).element_spec == spec.to_tf()


def test_samples_that_differ_need_padding(store: MemoryStore) -> None:
    for number, epochs in enumerate(
        (
            [windows(8) + windows(8, length=9)],
            [windows(8), windows(8, length=9)],
        )
    ):
        data = stored(store, *epochs, proc_id=number)
        assert not data.stored.uniform
        with pytest.raises(UserError, match="without a padding_value"):
            data.tf(batch_size=5)
    one = store.upload("v", windows(8), spec=WINDOWS, proc_id=0, num_procs=2).shards
    other = store.upload("w", windows(8, length=9), spec=WINDOWS, proc_id=1, num_procs=2).shards
    assert not Stored("s", "train", one + other).uniform


def test_batches_of_sizes_of_their_own_are_kept(store: MemoryStore) -> None:
    sizes = [3, 8, 1, 8, 2]
    made = [(x[:size], y[:size]) for size in sizes for x, y in windows(8)]
    data = stored(store, made)
    assert [len(batch) for batch in numbers(data.tf())] == sizes
    assert [len(batch) for batch in numbers(data.tf(batch_size=6))] == [6, 6, 6, 4]


def test_uploads_of_earlier_releases_did_not_say_it(store: MemoryStore) -> None:
    data = stored(store, windows(20))
    upload = data.stored.shards[0].upload
    assert upload.completed is not None
    read = events.from_json(events.to_json(upload.completed))
    assert isinstance(read, Completed)
    assert read.epochs == upload.completed.epochs
    assert read.epochs[0].open_shapes == ((10, 3),)
    object.__setattr__(upload.completed.epochs[0], "open_shapes", None)
    assert [len(batch) for batch in numbers(data.tf())] == [8, 8, 4]
    with pytest.raises(UserError, match="without a padding_value"):
        data.tf(batch_size=5)

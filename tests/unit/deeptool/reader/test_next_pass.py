"""Each iterator begins the pass after those of the one before it, however a dataset is read."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from memory_store import MemoryStore

from deeptool.catalog.stored import Stored
from deeptool.codec.spec import Spec
from deeptool.codec.structure import MANY, Leaf
from deeptool.codec.values import Leaves
from deeptool.producer.ledger import Ledger
from deeptool.reader import StoredDataset

ROWS = 60


def numbered(epoch: int = 0, rows: int = ROWS) -> list[Leaves]:
    """Batches of samples that carry their own number, and that of the stored epoch."""
    y = np.arange(rows, dtype=np.int64) + 1000 * epoch
    x = np.repeat(y[:, None], 2, axis=1).astype(np.float32)
    return [(x[i : i + 4], y[i : i + 4]) for i in range(0, rows, 4)]


def numbers(dataset: Any) -> list[int]:
    return [int(number) for _, y in dataset for number in y]


def passes(dataset: Any, count: int) -> list[list[int]]:
    """What so many iterators give."""
    return [numbers(dataset) for _ in range(count)]


def cut(found: list[int], *sizes: int) -> list[list[int]]:
    edges = np.cumsum([0, *sizes])
    return [found[start:stop] for start, stop in pairwise(edges)]


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("codec", ["arrow", "example"])
def test_stored_epochs_in_turn(store: MemoryStore, shuffle: bool, codec: str) -> None:
    stored = store.upload("u", numbered(0), numbered(1, 40), numbered(2), codec=codec)
    data = StoredDataset(store, stored)
    how: dict[str, Any] = {"shuffle": shuffle, "seed": 3}
    whole = cut(numbers(data.tf(**how, repeat=6)), 60, 40, 60, 60, 40, 60)
    assert [sorted(one)[0] for one in whole] == [0, 1000, 2000] * 2
    assert passes(data.tf(**how), 6) == whole
    assert passes(data.tf(**how, first_epoch=2), 2) == whole[2:4]
    assert passes(data.tf(**how, repeat=2), 3) == [
        whole[0] + whole[1],
        whole[2] + whole[3],
        whole[4] + whole[5],
    ]
    # TensorFlow's own repeat makes an iterator for each round.
    assert numbers(data.tf(**how).repeat(6)) == [number for one in whole for number in one]


@pytest.mark.parametrize("shuffle", [False, True])
def test_parts_of_a_pass(store: MemoryStore, shuffle: bool) -> None:
    data = StoredDataset(store, store.upload("u", numbered(0), numbered(1)))
    workers = [
        passes(data.tf(shuffle=shuffle, seed=worker, num_shards=3, index=worker), 4)
        for worker in range(3)
    ]
    for k in range(4):
        found = [number for worker in workers for number in worker[k]]
        assert sorted(found) == [number + 1000 * (k % 2) for number in range(ROWS)]
    if shuffle:
        assert all(worker[0] != worker[2] for worker in workers)


def test_shards_of_a_dataset(store: MemoryStore) -> None:
    shards = [
        store.upload(f"u{n}", numbered(n), numbered(n + 2), proc_id=n, num_procs=2).shards[0]
        for n in range(2)
    ]
    data = StoredDataset(store, Stored("s", "train", tuple(shards)))
    found = passes(data.tf(shuffle=True, seed=1), 4)
    assert [{number // 1000 for number in one} for one in found] == [{0, 1}, {2, 3}] * 2
    assert found[0] != found[2]
    assert found == cut(numbers(data.tf(shuffle=True, seed=1, repeat=4)), *[2 * ROWS] * 4)


def test_an_upload_that_is_followed(store: MemoryStore) -> None:
    event, ledger = store.begin("u"), Ledger()
    store.send(event, numbered(0), ledger)
    data = StoredDataset(store, store.found(event), follow=True)
    dataset = data.tf(shuffle=True, seed=1)
    # As it arrives, as long as it does; each time in another order.
    arriving = passes(dataset, 2)
    assert [sorted(one) for one in arriving] == [list(range(ROWS))] * 2
    assert arriving[0] != arriving[1]
    store.send(event, numbered(1), ledger, epoch=1)
    store.complete(event, ledger)
    # The third and fourth pass, as of any complete dataset.
    later = StoredDataset(store, store.found(event))
    wanted = cut(numbers(later.tf(shuffle=True, seed=1, first_epoch=2, repeat=3)), *[ROWS] * 3)
    assert passes(dataset, 3) == wanted
    assert [one[0] // 1000 for one in wanted] == [0, 1, 0]


def test_batches_that_come_as_stored(store: MemoryStore) -> None:
    spec = Spec((Leaf("float32", (None, None)), Leaf("int64", (None,))))
    data = StoredDataset(store, store.upload("u", numbered(0), numbered(1), spec=spec))
    dataset = data.tf(shuffle=True, seed=1)
    found = passes(dataset, 4)
    assert found == cut(numbers(data.tf(shuffle=True, seed=1, repeat=4)), *[ROWS] * 4)
    assert [one[0] // 1000 for one in found] == [0, 1, 0, 1]


def test_very_many_leaves(store: MemoryStore) -> None:
    names = {f"c{n}": Leaf("float32", (None,)) for n in range(MANY)}
    spec = Spec((names, Leaf("int64", (None,))))
    batches = [(*[x[:, 0]] * MANY, y) for x, y in numbered()]
    data = StoredDataset(store, store.upload("u", batches, spec=spec))
    found = passes(data.tf(shuffle=True, seed=1), 2)
    assert found == cut(numbers(data.tf(shuffle=True, seed=1, repeat=2)), ROWS, ROWS)


def test_a_pass_that_was_left_early_is_not_read_again(store: MemoryStore) -> None:
    data = StoredDataset(store, store.upload("u", numbered()))
    whole = cut(numbers(data.tf(shuffle=True, seed=1, repeat=3)), *[ROWS] * 3)
    dataset = data.tf(shuffle=True, seed=1)
    assert next(iter(dataset))[1].numpy().tolist() == whole[0][:4]
    assert numbers(dataset) == whole[1]
    # What is made of the dataset shares its passes.
    assert numbers(dataset.prefetch(2).take(100)) == whole[2]


def test_two_datasets_count_for_themselves(store: MemoryStore) -> None:
    data = StoredDataset(store, store.upload("u", numbered()))
    one, other = (data.tf(shuffle=True, seed=1) for _ in range(2))
    assert passes(one, 2) == passes(other, 2)


@pytest.mark.parametrize("epochs", [1, 2])
def test_keras_sees_another_order_in_each_epoch(store: MemoryStore, epochs: int) -> None:
    stored = store.upload("u", *[numbered(epoch) for epoch in range(epochs)])
    data = StoredDataset(store, stored)
    seen: list[list[int]] = []

    class Recording(keras.Sequential):
        def train_step(self, batch: Any) -> Any:
            tf.numpy_function(lambda y: seen[-1].extend(y.tolist()), [batch[1]], [])
            return super().train_step(batch)

    class Begin(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            seen.append([])

    model = Recording([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    model.fit(data.tf(shuffle=True, seed=1), epochs=4, verbose=0, callbacks=[Begin()])
    assert seen == cut(numbers(data.tf(shuffle=True, seed=1, repeat=4)), *[ROWS] * 4)

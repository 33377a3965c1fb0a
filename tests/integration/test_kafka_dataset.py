"""`deeptool.kafka_dataset` on a real broker: what comes back, in which order, what is refused."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
import uploads

import deeptool
from deeptool.catalog.datasets import NotStored
from deeptool.errors import UserError, WorkError

pytestmark = pytest.mark.broker
ROWS = 1003


def numbered(rows: int = ROWS, batch: int = 32, width: int = 64) -> tf.data.Dataset:
    """Samples that carry their own number: x[i] = i in every column, y[i] = i."""
    y = np.arange(rows, dtype=np.int64)
    x = np.repeat(y[:, None], width, axis=1).astype(np.float32)
    return tf.data.Dataset.from_tensor_slices((x, y)).batch(batch)


def numbers(dataset: Any) -> list[int]:
    found: list[int] = []
    for x, y in dataset.as_numpy_iterator():
        np.testing.assert_array_equal(x[:, 0], y.astype(np.float32))
        found += y.tolist()
    return found


@pytest.fixture
def stored(broker: str, session_name: str) -> str:
    """A dataset in many small records, over all partitions."""
    uploads.tuned_upload(numbered(), broker, session_name, record_bytes=4096, partitions=3)
    return session_name


def test_unshuffled_it_comes_back_as_it_was(broker: str, stored: str) -> None:
    data = deeptool.open(broker, stored)
    dataset, meter = data.tf(), data.meter
    assert dataset.element_spec == numbered().element_spec
    assert dataset.cardinality().numpy() == math.ceil(ROWS / 32)
    assert numbers(dataset) == list(range(ROWS))
    assert meter.samples == ROWS
    assert meter.records > 10
    assert meter.cpu_seconds > 0


@pytest.mark.parametrize("batch_size", [1, 7, 500, 5000])
def test_rebatched_no_sample_is_lost_or_doubled(broker: str, stored: str, batch_size: int) -> None:
    dataset = deeptool.kafka_dataset(broker, stored, batch_size=batch_size)
    assert dataset.cardinality().numpy() == math.ceil(ROWS / batch_size)
    sizes = [len(y) for _, y in dataset.as_numpy_iterator()]
    assert set(sizes[:-1]) <= {batch_size}
    assert sum(sizes) == ROWS
    assert numbers(dataset) == list(range(ROWS))


def test_a_seed_gives_one_order_and_each_pass_its_own(broker: str, stored: str) -> None:
    def passes(seed: int) -> list[list[int]]:
        dataset = deeptool.kafka_dataset(broker, stored, shuffle=True, seed=seed, repeat=2)
        found = numbers(dataset)
        return [found[:ROWS], found[ROWS:]]

    first, second = passes(seed=1)
    assert sorted(first) == sorted(second) == list(range(ROWS))
    assert first != second
    assert passes(seed=1) == [first, second]
    assert passes(seed=2)[0] != first
    resumed = deeptool.kafka_dataset(broker, stored, shuffle=True, seed=1, first_epoch=1)
    assert numbers(resumed) == second


def test_label_sorted_rows_are_mixed(broker: str, session_name: str) -> None:
    rows, labels, batch = 200_000, 10, 100
    y = np.repeat(np.arange(labels), rows // labels)
    x = np.zeros((rows, 15), np.float32)
    dataset = tf.data.Dataset.from_tensor_slices((x, y)).batch(4096)
    deeptool.upload(dataset, broker, session_name)

    def entropy(batches: Any) -> float:
        values = []
        for found in batches:
            share = np.bincount(found, minlength=labels) / len(found)
            values.append(-(share[share > 0] * np.log(share[share > 0])).sum())
        return float(np.mean(values))

    read = deeptool.kafka_dataset(
        broker, session_name, batch_size=batch, shuffle=True, seed=3, memory_bytes=64 << 20
    )
    ours = entropy(found for _, found in read.as_numpy_iterator())
    shuffled = np.random.default_rng(0).permutation(y).reshape(-1, batch)
    assert ours >= 0.98 * entropy(shuffled)


def test_stored_epochs_are_read_in_turn_whoever_makes_iterators(
    broker: str, session_name: str
) -> None:
    uploads.tuned_upload(
        lambda epoch: numbered(100 + epoch), broker, session_name, epochs=2, record_bytes=4096
    )
    clock = {"epoch": 0}
    dataset = deeptool.kafka_dataset(broker, session_name, first_epoch=lambda: clock["epoch"])
    for epoch, rows in ((0, 100), (1, 101), (2, 100), (5, 101)):
        clock["epoch"] = epoch
        next(iter(dataset))  # As Keras makes iterators that it does not use.
        assert numbers(dataset) == list(range(rows))


def test_workers_read_disjoint_parts(broker: str, stored: str) -> None:
    for shuffle in (False, True):
        parts = [
            numbers(
                deeptool.kafka_dataset(
                    broker, stored, shuffle=shuffle, seed=1, num_shards=3, index=index
                )
            )
            for index in range(3)
        ]
        assert max(map(len, parts)) - min(map(len, parts)) <= 1
        assert sorted(number for part in parts for number in part) == list(range(ROWS))


def test_all_shards_are_one_dataset(broker: str, session_name: str) -> None:
    whole = numbered(300, batch=10)
    for proc_id in range(3):
        deeptool.upload(whole.shard(3, proc_id), broker, session_name, proc_id=proc_id, num_procs=3)
        if proc_id < 2:
            with pytest.raises(NotStored, match="lacks shard"):
                deeptool.kafka_dataset(broker, session_name)
    assert sorted(numbers(deeptool.kafka_dataset(broker, session_name))) == list(range(300))


@pytest.mark.parametrize("codec", ["arrow", "example"])
def test_nested_elements_of_any_dtype(broker: str, session_name: str, codec: str) -> None:
    rows = 50
    features = {
        "image": np.arange(rows * 12, dtype=np.uint8).reshape(rows, 2, 2, 3),
        "name": np.array([b"a\0b", b"", b"\xff"] * 17, dtype=object)[:rows],
        "half": tf.cast(tf.range(rows), tf.bfloat16),
        "flag": np.arange(rows) % 2 == 0,
    }
    dataset = tf.data.Dataset.from_tensor_slices((features, np.arange(rows))).batch(8)
    deeptool.upload(dataset, broker, session_name, codec=codec)
    read = deeptool.kafka_dataset(broker, session_name)
    assert read.element_spec == dataset.element_spec
    for (x, y), (x0, y0) in zip(read, dataset, strict=True):
        tf.debugging.assert_equal(y, y0)
        for key in features:
            tf.debugging.assert_equal(x[key], x0[key])


def test_ragged_and_open_shapes(broker: str, session_name: str) -> None:
    lengths = [1, 4, 0, 2, 3, 7, 1]
    ragged = tf.RaggedTensor.from_row_lengths(tf.range(sum(lengths)), lengths)
    dataset = tf.data.Dataset.from_tensor_slices((ragged, np.arange(7))).batch(3)
    deeptool.upload(dataset, broker, session_name)
    read = list(deeptool.kafka_dataset(broker, session_name, batch_size=2))
    assert [row for x, _ in read for row in x.to_list()] == ragged.to_list()

    padded = tf.data.Dataset.from_tensor_slices((ragged, np.arange(7))).map(
        lambda x, y: (x.to_tensor() if isinstance(x, tf.RaggedTensor) else x, y)
    )
    padded = padded.padded_batch(3)
    deeptool.upload(padded, broker, f"{session_name}-open")
    with pytest.raises(UserError, match="padding_value"):
        deeptool.kafka_dataset(broker, f"{session_name}-open", batch_size=7)
    whole = deeptool.kafka_dataset(broker, f"{session_name}-open", batch_size=7, padding_value=-1)
    ((x, _),) = list(whole)
    assert x.shape == (7, 7)


def test_buckets_come_back_as_they_were_made(broker: str, session_name: str) -> None:
    def samples() -> Any:
        for number, length in enumerate(np.random.default_rng(5).integers(1, 20, 70)):
            yield np.full(length, number, np.int64), number

    spec = (tf.TensorSpec([None], tf.int64), tf.TensorSpec([], tf.int64))
    made = tf.data.Dataset.from_generator(samples, output_signature=spec)
    made = made.bucket_by_sequence_length(lambda x, y: tf.size(x), [6, 12], [9, 4, 2])
    deeptool.upload(made, broker, session_name)
    batches = [(x.tolist(), y.tolist()) for x, y in made.as_numpy_iterator()]
    data = deeptool.open(broker, session_name)
    for options in ({}, {"shuffle": True, "seed": 3}):
        dataset = data.tf(**options)
        read = [(x.tolist(), y.tolist()) for x, y in dataset.as_numpy_iterator()]
        assert sorted(read, key=lambda b: b[1]) == sorted(batches, key=lambda b: b[1])
        assert (read == batches) == (not options)
        assert int(dataset.cardinality()) == len(batches)


def test_keras_fits_on_it_and_on_replicas(broker: str, stored: str) -> None:
    dataset = deeptool.kafka_dataset(broker, stored, shuffle=True, seed=1)
    strategy = tf.distribute.MirroredStrategy(["CPU:0"])
    with strategy.scope():
        model = keras.Sequential([keras.layers.Dense(1)])
        model.compile("sgd", "mse")
    history = model.fit(dataset.map(lambda x, y: (x / ROWS, y / ROWS)), epochs=2, verbose=0)
    assert history.history["loss"][1] < history.history["loss"][0]


def test_what_is_not_there_is_said(broker: str, session_name: str) -> None:
    with pytest.raises(NotStored, match="is not stored"):
        deeptool.kafka_dataset(broker, session_name)
    with pytest.raises(UserError, match="no Kafka broker answers"):
        deeptool.kafka_dataset("127.0.0.1:9", session_name)
    for wrong in ({"batch_size": 0}, {"index": 1}, {"reader": "no"}, {"memory_bytes": 1}):
        with pytest.raises(UserError):
            deeptool.kafka_dataset(broker, session_name, **wrong)  # type: ignore[arg-type]


def test_a_dataset_replaced_while_it_is_read_is_an_error(broker: str, stored: str) -> None:
    old = deeptool.open(broker, stored)
    deeptool.upload(numbered(10), broker, stored, replace=True)
    with pytest.raises(WorkError, match="deleted or replaced"), old.meter.raising():
        numbers(old.tf())
    assert numbers(deeptool.kafka_dataset(broker, stored)) == list(range(10))


def test_following_reads_an_upload_as_it_arrives(broker: str, session_name: str) -> None:
    more = threading.Event()

    def batches() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for start in range(0, 200, 20):
            if start == 100:
                more.wait(60)
            y = np.arange(start, start + 20, dtype=np.int64)
            yield y.astype(np.float32)[:, None], y

    spec = (tf.TensorSpec((None, 1), tf.float32), tf.TensorSpec((None,), tf.int64))
    source = tf.data.Dataset.from_generator(batches, output_signature=spec)
    with ThreadPoolExecutor(1) as pool:
        upload = pool.submit(
            uploads.tuned_upload, source, broker, session_name, limit=200, record_bytes=64
        )
        try:
            dataset = deeptool.kafka_dataset(
                broker, session_name, batch_size=10, follow=True, wait=60, repeat=1
            )
            assert dataset.cardinality() == tf.data.UNKNOWN_CARDINALITY
            found: list[int] = []
            for _, y in dataset.as_numpy_iterator():
                # The first arrives while the producer still waits.
                if not found:
                    assert not upload.done()
                    more.set()
                found += y.tolist()
        finally:
            more.set()
        upload.result(60)
    assert sorted(found) == list(range(200))


def test_following_an_upload_that_fails_is_an_error(broker: str, session_name: str) -> None:
    read = threading.Event()

    def batches() -> Iterator[np.ndarray]:
        yield np.arange(20, dtype=np.int64)
        read.wait(60)
        raise RuntimeError("the disk is gone")

    source = tf.data.Dataset.from_generator(
        batches, output_signature=tf.TensorSpec((None,), tf.int64)
    )
    with ThreadPoolExecutor(1) as pool:
        upload = pool.submit(
            uploads.tuned_upload, source, broker, session_name, limit=200, record_bytes=64
        )
        try:
            data = deeptool.open(broker, session_name, follow=True, wait=60)
            elements = data.tf(batch_size=5).as_numpy_iterator()
            next(elements)
            read.set()
            with pytest.raises(WorkError, match="failed"), data.meter.raising():
                list(elements)
        finally:
            read.set()
        with pytest.raises(WorkError, match="disk is gone"):
            upload.result(60)


def test_a_follower_begins_the_next_pass_too(broker: str, session_name: str) -> None:
    """The pass that arrived was the first one, of the first stored epoch."""
    more = threading.Event()

    def made(epoch: int) -> tf.data.Dataset:
        def batches() -> Iterator[np.ndarray]:
            for start in range(0, 80, 10):
                if epoch == 1 and start == 40:
                    more.wait(60)
                yield np.arange(start, start + 10, dtype=np.int64) + 1000 * epoch

        return tf.data.Dataset.from_generator(
            batches, output_signature=tf.TensorSpec((None,), tf.int64)
        )

    def read(dataset: tf.data.Dataset) -> list[int]:
        return [int(number) for batch in dataset for number in batch]

    with ThreadPoolExecutor(1) as pool:
        upload = pool.submit(
            uploads.tuned_upload, made, broker, session_name, epochs=2, limit=80, record_bytes=64
        )
        try:
            how = {"shuffle": True, "seed": 1}
            dataset = deeptool.kafka_dataset(broker, session_name, follow=True, wait=60, **how)
            assert sorted(read(dataset)) == list(range(80))
            assert not upload.done()
        finally:
            more.set()
        upload.result(60)
    complete = deeptool.kafka_dataset(broker, session_name, first_epoch=1, **how)
    for epoch in (1, 0, 1):
        found = read(dataset)
        assert sorted(found) == [number + 1000 * epoch for number in range(80)]
        assert found == read(complete)

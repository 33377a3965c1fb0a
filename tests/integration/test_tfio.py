"""The tensorflow-io reader on a real broker, in the environment of constraints/tfio.txt."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import numpy as np
import pytest
import tensorflow as tf
import uploads
from brokers import OwnBroker

import deeptool

pytest.importorskip(
    "tensorflow_io", reason="tensorflow-io needs TensorFlow 2.16: make test-tfio runs this"
)
pytestmark = [pytest.mark.broker, pytest.mark.tfio]
ROWS = 503


def numbered() -> tf.data.Dataset:
    y = np.arange(ROWS, dtype=np.int64)
    x = np.repeat(y[:, None], 64, axis=1).astype(np.float32)
    return tf.data.Dataset.from_tensor_slices((x, y)).batch(32)


@pytest.mark.parametrize("codec", ["arrow", "example"])
@pytest.mark.parametrize("shuffle", [False, True])
def test_every_sample_once(broker: str, session_name: str, codec: str, shuffle: bool) -> None:
    uploads.tuned_upload(numbered(), broker, session_name, codec=codec, record_bytes=4096)
    dataset = deeptool.kafka_dataset(
        broker, session_name, batch_size=20, shuffle=shuffle, seed=1, repeat=2, reader="tfio"
    )
    found: list[int] = []
    for x, y in dataset.as_numpy_iterator():
        np.testing.assert_array_equal(x[:, -1], y.astype(np.float32))
        found += y.tolist()
    assert sorted(found[:ROWS]) == sorted(found[ROWS:]) == list(range(ROWS))
    # Unshuffled, the partitions' blocks in turn: not the pipeline's order, but always the same.
    assert (found[:ROWS] == found[ROWS:]) is not shuffle


@pytest.mark.parametrize("shuffle", [False, True])
def test_each_iterator_begins_the_next_pass(broker: str, session_name: str, shuffle: bool) -> None:
    def made(epoch: int) -> tf.data.Dataset:
        return tf.data.Dataset.range(1000 * epoch, 1000 * epoch + 90).batch(8)

    uploads.tuned_upload(made, broker, session_name, epochs=2, record_bytes=64)
    how = {"shuffle": shuffle, "seed": 1, "reader": "tfio"}

    def read(**more: int) -> tf.data.Dataset:
        return deeptool.kafka_dataset(broker, session_name, **how, **more)

    def numbers(dataset: tf.data.Dataset) -> list[int]:
        return [int(number) for batch in dataset for number in batch]

    dataset, later = read(), read(first_epoch=1)
    passes = [numbers(dataset) for _ in range(4)]
    assert [sorted(one) for one in passes] == [
        [number + 1000 * epoch for number in range(90)] for epoch in (0, 1, 0, 1)
    ]
    assert (passes[0] == passes[2]) is not shuffle
    assert [numbers(later) for _ in range(3)] == passes[1:]
    assert numbers(read(repeat=4)) == [number for one in passes for number in one]


def test_whole_batches_and_very_many_columns(broker: str, session_name: str) -> None:
    x = {f"c{n}": np.arange(50, dtype=np.float32) + n for n in range(100)}
    source = tf.data.Dataset.from_tensor_slices((x, np.arange(50)))
    uploads.tuned_upload(source.batch(8, drop_remainder=True), broker, session_name)
    dataset = deeptool.kafka_dataset(broker, session_name, batch_size=5, reader="tfio")
    assert dataset.element_spec[0]["c7"].shape.as_list() == [5]
    found = list(dataset.as_numpy_iterator())
    # 48 were stored.
    assert len(found) == int(dataset.cardinality()) == 9
    for x, y in found:
        np.testing.assert_array_equal(x["c7"], np.float32(y + 7))


@pytest.mark.parametrize("shuffle", [False, True])
def test_windows_of_one_length(broker: str, session_name: str, shuffle: bool) -> None:
    series = np.arange(60, dtype=np.float32)[:, None]
    source = tf.keras.utils.timeseries_dataset_from_array(series, series, 10, batch_size=8)
    uploads.tuned_upload(source, broker, session_name, record_bytes=256)
    dataset = deeptool.kafka_dataset(
        broker, session_name, batch_size=20, shuffle=shuffle, reader="tfio"
    )
    found = list(dataset.as_numpy_iterator())
    assert [x.shape for x, _ in found] == [(20, 10, 1), (20, 10, 1), (11, 10, 1)]
    assert sorted(int(n) for _, y in found for n in y[:, 0]) == list(range(51))
    for x, y in found:
        np.testing.assert_array_equal(x[:, -1], y + 9)


def test_a_broker_that_goes_away_after_the_read_crashes_nobody(
    own_broker: OwnBroker, session_name: str
) -> None:
    server = own_broker()
    uploads.tuned_upload(numbered(), server.bootstrap, session_name, record_bytes=4096)
    program = """
        import sys, deeptool
        dataset = deeptool.kafka_dataset(sys.argv[1], sys.argv[2], reader="tfio")
        print(sum(len(y) for _, y in dataset.as_numpy_iterator()), flush=True)
        sys.stdin.readline()
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program), server.bootstrap, session_name],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as reader:
        assert reader.stdout is not None
        assert reader.stdout.readline() == f"{ROWS}\n"
        server.stop()
        reader.communicate("\n", timeout=60)
    assert reader.returncode == 0

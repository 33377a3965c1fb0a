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

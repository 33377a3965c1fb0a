"""The TFRecord files that are compared with hold the samples, as others write them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tensorflow as tf

from bench.peers.tfrecord import write_files
from bench.workloads import Workload, read_source, write_source


def test_each_record_is_the_example_of_a_sample(tmp_path: Path) -> None:
    workload = Workload("images", "images", (4, 3), 101, 10)
    write_source(workload, tmp_path / "source")
    source = read_source(tmp_path / "source")
    files = write_files(source, workload, tmp_path)
    read = []
    for record in tf.data.TFRecordDataset(files).as_numpy_iterator():
        feature = tf.train.Example.FromString(record).features.feature
        values = np.frombuffer(feature["values"].bytes_list.value[0], np.float32)
        read.append((values, feature["label"].int64_list.value[0]))
    assert len(files) == 8
    assert np.array_equal(np.stack([values for values, _ in read]), source.values.reshape(101, 12))
    assert [label for _, label in read] == source.labels.tolist()

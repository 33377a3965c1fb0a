"""TFRecord files of tf.train.Example in the page cache, read by tf.data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from bench.contenders import Contender, Context, Pass
from bench.peers.tensorflow_options import BUFFER, labels_of, without_autotuning
from bench.workloads import Source, Workload

_FILES = 8


def contenders(context: Context) -> Mapping[str, Contender]:
    """Write the files, and offer to read them."""
    files = write_files(context.source, context.workload, context.folder("tfrecord"))
    return {
        "TFRecord in order": Pass(partial(_labels, context.workload, files, False)),
        "TFRecord shuffled": Pass(partial(_labels, context.workload, files, True)),
    }


def write_files(source: Source, workload: Workload, folder: Path) -> list[str]:
    """Write `_FILES` files of neighbouring samples, and return their paths."""
    files = []
    for number, part in enumerate(np.array_split(np.arange(workload.samples), _FILES)):
        files.append(str(folder / f"{number}.tfrecord"))
        with tf.io.TFRecordWriter(files[-1]) as writer:
            for example in _examples(source, slice(part[0], part[-1] + 1), workload.width):
                writer.write(example)
    return files


def _examples(source: Source, rows: slice, width: int) -> Iterator[bytes]:
    """One serialized tf.train.Example per sample.

    All are of one length, as the labels are below 128: so they are one with other bytes in it,
    which takes seconds instead of minutes.
    """
    marks = bytes(range(1, 5)) * width
    feature = {
        "values": tf.train.Feature(bytes_list=tf.train.BytesList(value=[marks])),
        "label": tf.train.Feature(int64_list=tf.train.Int64List(value=[127])),
    }
    form = tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString()
    outside = form.replace(marks, bytes(len(marks)))
    start, label = form.index(marks), outside.index(127)
    values, labels = source.values[rows], source.labels[rows]
    for begin in range(0, len(labels), 10_000):
        part = values[begin : begin + 10_000]
        found = np.tile(np.frombuffer(form, np.uint8), (len(part), 1))
        found[:, start : start + len(marks)] = part.reshape(len(part), width).view(np.uint8)
        found[:, label] = labels[begin : begin + 10_000]
        for example in found:
            yield example.tobytes()


def _labels(workload: Workload, files: list[str], shuffled: bool, number: int) -> Any:
    def parse(examples: Any) -> Any:
        features = {
            "values": tf.io.FixedLenFeature([], tf.string),
            "label": tf.io.FixedLenFeature([], tf.int64),
        }
        found = tf.io.parse_example(examples, features)
        values = tf.io.decode_raw(found["values"], tf.float32)
        return tf.reshape(values, (-1, *workload.shape)), found["label"]

    names = np.random.default_rng(number).permutation(files) if shuffled else files
    # From the page cache, parallel reads are slower: up to five times for small records, each of
    # which crosses a thread.
    dataset = tf.data.TFRecordDataset(names)
    if shuffled:
        dataset = dataset.shuffle(BUFFER, seed=number)
    dataset = dataset.batch(workload.batch_size)
    dataset = dataset.map(parse, num_parallel_calls=tf.data.AUTOTUNE, deterministic=not shuffled)
    return labels_of(without_autotuning(dataset.prefetch(2)))

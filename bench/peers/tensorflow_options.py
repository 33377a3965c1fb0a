"""What all peers in tf.data share."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import tensorflow as tf

# Of the shuffle buffers, in samples: what pages and examples on tf.data use for data on disk.
BUFFER = 10_000


def labels_of(dataset: tf.data.Dataset) -> Iterator[Any]:
    """The labels of each batch."""
    for _, labels in dataset:
        yield labels


def without_autotuning(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """What is parallel is so on all cores from the start.

    The autotuner's thread would make each pass wait at its end, up to twice as long: these passes
    are faster without it.
    """
    options = tf.data.Options()
    options.autotune.enabled = False
    return dataset.with_options(options)

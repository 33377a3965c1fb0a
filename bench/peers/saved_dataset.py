"""What `tf.data.Dataset.save` wrote, read by `Dataset.load`; and samples that fit into memory."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import tensorflow as tf

from bench.contenders import Contender, Context, Pass
from bench.peers.tensorflow_options import BUFFER, labels_of, without_autotuning
from bench.workloads import Source


def contenders(context: Context) -> Mapping[str, Contender]:
    """Save the batches, and offer to read them."""
    folder = str(context.folder("saved"))
    save(context.source, context.workload.batch_size, folder)
    size = context.workload.batch_size
    cached = tf.data.Dataset.load(folder).unbatch().cache()
    return {
        "Dataset.load in order": Pass(partial(_in_order, folder)),
        "Dataset.load shuffled": Pass(partial(_shuffled, folder, size)),
        "memory shuffled": Pass(partial(_from_memory, cached, context.workload.samples, size)),
    }


def save(source: Source, size: int, folder: str) -> None:
    """Save the batches of a source."""
    spec = (
        tf.TensorSpec((size, *source.values.shape[1:]), tf.float32),
        tf.TensorSpec((size,), tf.int64),
    )
    batches = tf.data.Dataset.from_generator(lambda: source.batches(size), output_signature=spec)
    batches.save(folder)


def _in_order(folder: str, number: int) -> Any:
    return labels_of(without_autotuning(tf.data.Dataset.load(folder).prefetch(2)))


def _shuffled(folder: str, size: int, number: int) -> Any:
    dataset = tf.data.Dataset.load(folder).unbatch().shuffle(BUFFER, seed=number)
    return labels_of(without_autotuning(dataset.batch(size).prefetch(2)))


def _from_memory(cached: tf.data.Dataset, samples: int, size: int, number: int) -> Any:
    dataset = cached.shuffle(samples, seed=number).batch(size)
    return labels_of(without_autotuning(dataset.prefetch(2)))

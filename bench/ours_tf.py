"""Ours with TensorFlow: upload, the first batch, and passes by `tf`."""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import partial
from typing import Any

import tensorflow as tf

import deeptool
from bench.contenders import Contender, Context, Pass, Timed, Work
from bench.kafka_topics import delete_topic
from bench.ours import (
    NO_COPY,
    SHUFFLED,
    copies,
    from_broker,
    from_copy,
    opened,
    tf_labels,
)


def contenders(context: Context) -> Mapping[str, Contender]:
    """Upload the samples for everybody, and offer what is ours with TensorFlow."""
    samples = _samples(context)
    deeptool.upload(samples, context.servers, context.dataset_name)
    data = opened(context)
    epochs: Contender = NO_COPY
    if copies():
        epochs = Pass(partial(_labels, context, from_copy(context.folder("copy")), data))
    return {
        "upload": Work(partial(_upload, context, samples)),
        "first batch": Work(partial(_first_batch, context)),
        "broker in order, tf": Pass(partial(_labels, context, from_broker(), data)),
        "broker shuffled, tf": Pass(partial(_labels, context, from_broker(**SHUFFLED), data)),
        "later epochs, tf": epochs,
    }


def _labels(context: Context, options: Mapping[str, Any], data: Any, number: int) -> Any:
    return tf_labels(context, number, options, data)


def _samples(context: Context) -> tf.data.Dataset:
    """The batches, cut from tensors in memory: so cheap that the upload waits for nothing."""
    source, size = context.source, context.workload.batch_size
    if context.workload.samples % size:
        raise ValueError(f"{context.workload.samples} samples make no batches of {size}")
    values, labels = tf.constant(source.values), tf.constant(source.labels)

    def batch(number: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        start = number * size
        cut = values[start : start + size], labels[start : start + size]
        return tf.ensure_shape(cut[0], (size, *context.workload.shape)), tf.ensure_shape(
            cut[1], (size,)
        )

    batches = tf.data.Dataset.range(context.workload.samples // size)
    return batches.map(batch, num_parallel_calls=2).prefetch(2)


def _upload(context: Context, samples: tf.data.Dataset, number: int) -> Timed:
    name = f"{context.dataset_name}-upload-{number}"
    began = time.perf_counter()
    completed = deeptool.upload(samples, context.servers, name)
    seconds = time.perf_counter() - began
    delete_topic(context.servers, completed.topic)
    return Timed(context.workload.samples, seconds)


def _first_batch(context: Context, number: int) -> Timed:
    """From opening the dataset to its first batch, shuffled, without a copy."""
    began = time.perf_counter()
    for labels in tf_labels(context, number, from_broker(**SHUFFLED)):
        return Timed(len(labels), time.perf_counter() - began)
    raise ValueError("there is no batch")

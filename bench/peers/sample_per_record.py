"""Upload without packing: one eager tf.train.Example per sample, sent by kafka-python."""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import partial
from typing import Any

import tensorflow as tf
from kafka import KafkaProducer

from bench.contenders import Contender, Context, Timed, Work
from bench.kafka_topics import create_topic, delete_topic

# The rate stays what it is: there is no need to send all samples.
_SECONDS = 5.0


def contenders(context: Context) -> Mapping[str, Contender]:
    """Offer it."""
    return {"upload, a record per sample": Work(partial(_upload, context))}


def _upload(context: Context, number: int) -> Timed:
    topic, source = f"{context.dataset_name}-samples-{number}", context.source
    create_topic(context.servers, topic)
    producer = KafkaProducer(bootstrap_servers=context.servers, acks="all")
    began, samples = time.perf_counter(), 0
    for values, label in tf.data.Dataset.from_generator(
        lambda: zip(source.values, source.labels, strict=True),
        output_signature=(
            tf.TensorSpec(context.workload.shape, tf.float32),
            tf.TensorSpec((), tf.int64),
        ),
    ):
        producer.send(topic, key=_example(label), value=_example(values))
        samples += 1
        if time.perf_counter() - began > _SECONDS:
            break
    producer.flush()
    seconds = time.perf_counter() - began
    producer.close()
    delete_topic(context.servers, topic)
    return Timed(samples, seconds)


def _example(tensor: Any) -> bytes:
    serialized = tf.train.BytesList(value=[tf.io.serialize_tensor(tensor).numpy()])
    features = tf.train.Features(feature={"tensor": tf.train.Feature(bytes_list=serialized)})
    example: bytes = tf.train.Example(features=features).SerializeToString()
    return example

"""`deeptool.kafka_dataset`: a stored dataset as a ``tf.data.Dataset``."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from typing import Any, Literal, Protocol

import numpy as np

from deeptool.catalog import datasets
from deeptool.catalog.log import CatalogLog
from deeptool.catalog.stored import Stored
from deeptool.client import topic_names
from deeptool.client.connection import connect
from deeptool.codec import DEFAULT_CODEC, make_codec
from deeptool.errors import UserError
from deeptool.reader.graph import Form, elements, padding_by_path
from deeptool.reader.source import Source
from deeptool.store.read_meter import ReadMeter
from deeptool.store.reading import Memory, Reading

LEAST_MEMORY = 8 << 20


class Rows(Protocol):
    """Where the rows of a pass come from."""

    def rows(self, k: int) -> Any: ...


def kafka_dataset(
    servers: str | Sequence[str],
    dataset: str,
    split: str = "train",
    *,
    procIDs: int | Sequence[int] | None = None,
    batch_size: int | None = None,
    shuffle: bool = False,
    seed: int | None = None,
    first_epoch: int | Callable[[], int] = 0,
    repeat: int | None = 1,
    drop_remainder: bool = False,
    follow: bool = False,
    num_shards: int = 1,
    index: int = 0,
    reader: Literal["librdkafka", "tfio"] = "librdkafka",
    padding_value: Any = None,
    client_properties: Mapping[str, str] | str | PathLike[str] | None = None,
    memory_bytes: int = 256 << 20,
    wait: float = 0.0,
    on_wait: Callable[[str], None] | None = None,
    meter: ReadMeter | None = None,
    topic: str | None = None,
) -> Any:
    """Read a stored dataset, each sample exactly once a pass.

    Parameters
    ----------
    servers : str or sequence of str
        ``host:port`` of some of the brokers.
    dataset, split : str
        The name that it was uploaded under; "train" or "val".
    procIDs : int or sequence of int, optional
        Which variant; or which shards, all of them by default.
    batch_size : int, optional
        Samples a batch. By default that of the upload, or none for a dataset of single samples.
    shuffle : bool
        In random order, as far as `memory_bytes` lets it: another one each pass. Else in the order
        of the pipeline, shard after shard.
    seed : int, optional
        Makes the orders the same in every run. By default one is drawn once for the dataset.
    first_epoch : int or callable
        The pass that an iterator begins with; pass k reads stored pass k modulo the number of
        stored passes, in the order drawn for k. A callable is asked each time an iterator begins.
    repeat : int or None
        How many passes an iterator makes; None never ends.
    drop_remainder : bool
        Leave out the last batch of a pass if it is not whole.
    follow : bool
        Read what is still being uploaded, as it arrives.
    num_shards, index : int
        Read part `index` of `num_shards` of each pass: disjoint, together all of it, and of the
        same size but for one sample.
    reader : str
        "librdkafka", or "tfio" for tensorflow-io, which fetches in TensorFlow's graph; its order
        without `shuffle` is a fixed one, but not the pipeline's.
    padding_value : scalar or mapping, optional
        What fills up dense tensors whose dimensions are not known, so that they can be batched
        anew; by path ("0/tokens") where they differ.
    client_properties : mapping or path, optional
        librdkafka's settings for a secured broker, or a file of them.
    memory_bytes : int
        About what an iterator may take; most of it shuffles.
    wait : float
        Seconds to wait for a dataset that is not complete.
    on_wait : callable, optional
        Called about once a second with what is waited for.
    meter : ReadMeter, optional
        Counts what is read, and keeps the error that ends it.
    topic : str, optional
        Read that topic, whatever the dataset is called.

    Returns
    -------
    tf.data.Dataset
        Of the producer's element_spec, apart from axis 0. Its cardinality is known, but for
        ``follow`` and for batches that come as they were uploaded (unknown dimensions and no
        `padding_value`).

    Raises
    ------
    UserError
        No broker answers, there is no such dataset (`NotStored`) or not all of it (`NotComplete`),
        its parts do not belong together, or it cannot be read as asked.

    Notes
    -----
    What fails while it is iterated over comes out of TensorFlow as a ``tf.errors.OpError`` with the
    message in it; ``with meter.raising():`` around the iteration makes it the `WorkError` it was.
    """
    _check(batch_size, repeat, first_epoch, num_shards, index, reader, memory_bytes)
    if follow and (num_shards > 1 or reader == "tfio"):
        raise UserError(
            "what is still being uploaded is read whole, by librdkafka",
            seen=f"num_shards={num_shards}, reader={reader!r}",
            valid="follow=True without them",
        )
    connection = connect(servers, client_properties)

    def find(catalog: Any) -> Stored:
        if topic is not None:
            return datasets.find_topic(catalog, topic_names.check_topic(topic), follow)
        return datasets.find(catalog, dataset, split, procIDs, follow)

    with CatalogLog(connection) as log:
        stored = datasets.wait_for(log, find, wait, on_wait)
    reading = Reading(
        connection,
        stored,
        Memory(memory_bytes),
        num_shards,
        index,
        None if not shuffle else secrets.randbits(32) if seed is None else seed,
    )
    form = _form(reading, batch_size, drop_remainder, padding_value)
    source = _source(reader, follow, reading, form, meter or ReadMeter())
    known = not follow and not form.as_stored
    return _dataset(source, reading, form, first_epoch, repeat, known)


def _check(
    batch_size: int | None,
    repeat: int | None,
    first_epoch: int | Callable[[], int],
    num_shards: int,
    index: int,
    reader: str,
    memory_bytes: int,
) -> None:
    for name, number in (
        ("batch_size", batch_size),
        ("repeat", repeat),
        ("num_shards", num_shards),
    ):
        if number is not None and number < 1:
            raise UserError(f"{name} is at least 1", seen=number)
    if not callable(first_epoch) and first_epoch < 0:
        raise UserError("first_epoch is not negative", seen=first_epoch)
    if not 0 <= index < num_shards:
        raise UserError(
            "there is no such part", seen=f"index {index}", valid=f"0 to {num_shards - 1}"
        )
    if reader not in ("librdkafka", "tfio"):
        raise UserError("unknown reader", seen=reader, valid="librdkafka or tfio")
    if memory_bytes < LEAST_MEMORY:
        raise UserError(
            "memory_bytes is too small to read with", seen=memory_bytes, valid=f"{LEAST_MEMORY} up"
        )


def _form(
    reading: Reading,
    batch_size: int | None,
    drop_remainder: bool,
    padding_value: Any,
) -> Form:
    stored = reading.stored
    spec = stored.spec
    if batch_size is None and spec.batched:
        batch_size = stored.batch_size
    unpadded = bool(spec.open_paths) and padding_value is None and batch_size is not None
    if unpadded and (batch_size != stored.batch_size or not spec.batched):
        raise UserError(
            "samples of unknown dimensions cannot be batched anew without a padding_value",
            seen=f"batch_size {batch_size}; {spec}",
            valid=f"batch_size {stored.batch_size}, as uploaded"
            if spec.batched
            else "no batch_size: single samples",
            next_step="give a padding_value",
        )
    codec = make_codec(stored.codec, spec)
    if unpadded and codec.graph_parser is not None and reading.seed is not None:
        raise UserError(
            f"samples of unknown dimensions stored by codec {codec.name} are shuffled one by one, "
            "and cannot be batched then without a padding_value",
            seen=str(spec),
            next_step=f"give a padding_value, or upload with codec {DEFAULT_CODEC}",
        )
    static = all(leaf.shape[0] is not None for leaf in spec.leaves)
    whole = (
        static
        and batch_size == stored.batch_size
        and stored.complete
        and all(reading.samples(k) % batch_size == 0 for k in range(stored.epochs))
    )
    return Form(
        codec=codec,
        batch_size=batch_size,
        drop_remainder=drop_remainder or whole,
        as_stored=unpadded,
        padding=padding_by_path(spec, padding_value) if padding_value is not None else {},
    )


def _source(reader: str, follow: bool, reading: Reading, form: Form, meter: ReadMeter) -> Rows:
    if reader == "tfio":
        from deeptool.reader.tfio import TfioSource

        return TfioSource(reading, form, meter)
    if follow:
        from deeptool.reader.follow import FollowSource

        return FollowSource(reading, form, meter)
    return Source(reading, form, meter)


def _dataset(
    source: Rows,
    reading: Reading,
    form: Form,
    first_epoch: int | Callable[[], int],
    repeat: int | None,
    known: bool,
) -> Any:
    import tensorflow as tf

    def one_pass(k: Any) -> Any:
        return elements(source.rows(k), form)

    def asked(_: int) -> Any:
        first = first_epoch() if callable(first_epoch) else first_epoch
        return np.int64(first)

    if callable(first_epoch):
        # Evaluated when an iterator begins, and not when the dataset is made.
        first = tf.data.Dataset.range(1).map(
            lambda zero: tf.ensure_shape(tf.numpy_function(asked, [zero], tf.int64), ())
        )
    else:
        first = tf.data.Dataset.from_tensors(tf.constant(first_epoch, tf.int64))
    passes = first.flat_map(
        lambda k: (
            tf.data.Dataset.counter(k) if repeat is None else tf.data.Dataset.range(k, k + repeat)
        )
    )
    dataset = passes.flat_map(tf.autograph.experimental.do_not_convert(one_pass))
    cardinality = _cardinality(reading, form, first_epoch, repeat) if known else None
    if cardinality is not None:
        dataset = dataset.apply(tf.data.experimental.assert_cardinality(cardinality))
    options = tf.data.Options()
    # Each worker says its own part, or reads all.
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
    # Its thread sleeps for as long as it ran, and an iterator that ends waits for it: every epoch
    # would take up to twice its time (TensorFlow 2.16 to 2.21).
    options.autotune.enabled = False
    return dataset.with_options(options)


def _cardinality(
    reading: Reading,
    form: Form,
    first_epoch: int | Callable[[], int],
    repeat: int | None,
) -> int | None:
    """Elements of one iterator; None where that depends on when it is made."""
    import tensorflow as tf

    if repeat is None:
        return int(tf.data.INFINITE_CARDINALITY)
    epochs = reading.stored.epochs
    counts = [_elements(reading.samples(k), form) for k in range(epochs)]
    if not callable(first_epoch):
        return sum(counts[k % epochs] for k in range(first_epoch, first_epoch + repeat))
    if len(set(counts)) == 1 or repeat % epochs == 0:
        return sum(counts[k % epochs] for k in range(repeat))
    return None


def _elements(samples: int, form: Form) -> int:
    if form.batch_size is None:
        return samples
    return samples // form.batch_size if form.drop_remainder else -(-samples // form.batch_size)

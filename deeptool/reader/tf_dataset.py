"""A stored dataset as a ``tf.data.Dataset``: passes, epochs, cardinality."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from deeptool.codec.tensors import leaves_to_tf
from deeptool.reader.element_form import ElementForm
from deeptool.reader.pass_lengths import elements_of_iterator, elements_of_passes
from deeptool.reader.pass_rows import decoder_for, pass_rows
from deeptool.reader.read_plan import ReadPlan
from deeptool.reader.read_request import Reader, next_passes
from deeptool.reader.tf_elements import elements
from deeptool.store.read_meter import ReadMeter


class TfRows(Protocol):
    """The chunks of rows of each pass, as a ``tf.data.Dataset``."""

    def rows(self, k: Any) -> Any: ...


def tf_dataset(
    plan: ReadPlan,
    form: ElementForm,
    meter: ReadMeter,
    *,
    first_epoch: int | Callable[[], int],
    repeat: int | None,
    reader: Reader,
    known: bool,
) -> Any:
    """`repeat` passes from `first_epoch` on; see `deeptool.reader.stored_dataset.StoredDataset.tf`.

    Parameters
    ----------
    known : bool
        Whether the number of samples is known and so the cardinality can be.

    Returns
    -------
    tf.data.Dataset
    """
    import tensorflow as tf

    source = _rows(reader, plan, form, meter)
    if not callable(first_epoch) and repeat is not None:
        first_epoch = next_passes(first_epoch, repeat)

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
    cardinality = _cardinality(plan, form, first_epoch, repeat) if known else None
    if cardinality is not None:
        dataset = dataset.apply(tf.data.experimental.assert_cardinality(cardinality))
    options = tf.data.Options()
    # Each worker names its own part, or reads all of it: TensorFlow must not cut it once more.
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
    # Its thread sleeps for as long as it ran, and an iterator that ends waits for it: every epoch
    # would take up to twice its time (TensorFlow 2.16 to 2.21).
    options.autotune.enabled = False
    return dataset.with_options(options)


def _rows(reader: Reader, plan: ReadPlan, form: ElementForm, meter: ReadMeter) -> TfRows:
    if reader == "tfio":
        from deeptool.reader.tfio import TfioRows

        return TfioRows(plan, form, meter)
    return GeneratedRows(plan, form, meter)


@dataclass(frozen=True)
class GeneratedRows:
    """Rows of any store, by a Python generator that TensorFlow calls from its own threads."""

    plan: ReadPlan
    form: ElementForm
    meter: ReadMeter

    def rows(self, k: Any) -> Any:
        """The chunks of pass k, as a ``tf.data.Dataset``."""
        import tensorflow as tf

        form, spec = self.form, decoder_for(self.form).spec
        if form.whole_batches and form.drop_remainder:
            spec = spec.with_rows(form.batch_size)

        def chunks(number: int) -> Generator[Any, None, None]:
            with closing(pass_rows(self.plan, form, int(number), self.meter)) as passed:
                for leaves in passed:
                    # On a machine with a GPU, TensorFlow would put them there.
                    with tf.device("CPU"):
                        tensors = leaves_to_tf(leaves, spec)
                    yield tensors

        return tf.data.Dataset.from_generator(
            lambda number: self.meter.metered(chunks(number)),
            args=(k,),
            output_signature=spec.to_tf(),
            name="deeptool",
        ).prefetch(2)


def _cardinality(
    plan: ReadPlan,
    form: ElementForm,
    first_epoch: int | Callable[[], int],
    repeat: int | None,
) -> int | None:
    """Elements of one iterator; None where that depends on when it is made."""
    import tensorflow as tf

    if repeat is None:
        return int(tf.data.INFINITE_CARDINALITY)
    return elements_of_iterator(
        elements_of_passes(plan, form), None if callable(first_epoch) else first_epoch, repeat
    )

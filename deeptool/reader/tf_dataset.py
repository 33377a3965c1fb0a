"""A stored dataset as a ``tf.data.Dataset``: passes, epochs, cardinality."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from deeptool.codec.tensors import leaves_to_tf
from deeptool.reader.pass_lengths import elements_of_iterator, elements_of_passes
from deeptool.reader.read_request import Reader, ReadRequest
from deeptool.reader.tf_elements import elements
from deeptool.reader.tf_pieces import comes_in_pieces, elements_from_pieces
from deeptool.rows.element_form import ElementForm
from deeptool.rows.pass_rows import decoder_for, pass_rows
from deeptool.rows.read_plan import ReadPlan
from deeptool.store.read_meter import ReadMeter


class TfRows(Protocol):
    """The chunks of rows of each pass, as a ``tf.data.Dataset``.

    Attributes
    ----------
    skips : bool
        Whether `rows` leaves out what is skipped; else all elements have to be made.
    """

    @property
    def skips(self) -> bool: ...

    def rows(self, k: Any, skipped: Any) -> Any:
        """The rows of pass k, without those of its first `skipped` elements where it can."""
        ...


def tf_dataset(
    plan: ReadPlan,
    form: ElementForm,
    meter: ReadMeter,
    request: ReadRequest,
    *,
    reader: Reader,
    known: bool,
) -> Any:
    """The passes that are asked for; see `deeptool.reader.stored_dataset.StoredDataset.tf`.

    Parameters
    ----------
    known : bool
        Whether the number of samples is known and so the cardinality can be.

    Returns
    -------
    tf.data.Dataset
    """
    import tensorflow as tf

    if reader == "librdkafka" and comes_in_pieces(form):
        dataset = elements_from_pieces(plan, form, meter, request)
    else:
        dataset = _parsed_passes(_rows(reader, plan, form, meter), form, request)
    cardinality = _cardinality(plan, form, request) if known else None
    if cardinality is not None:
        dataset = dataset.apply(tf.data.experimental.assert_cardinality(cardinality))
    options = tf.data.Options()
    # Each worker names its own part, or reads all of it: TensorFlow must not cut it once more.
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
    # Its thread sleeps for as long as it ran, and an iterator that ends waits for it: every epoch
    # would take up to twice its time (TensorFlow 2.16 to 2.21).
    options.autotune.enabled = False
    return dataset.with_options(options)


def _parsed_passes(source: TfRows, form: ElementForm, request: ReadRequest) -> Any:
    """The passes of an iterator, each made elements of in TensorFlow's graph."""
    import tensorflow as tf

    repeat = request.repeat

    def one_pass(k: Any, skipped: Any) -> Any:
        made = elements(source.rows(k, skipped), form)
        return made if source.skips else made.skip(skipped)

    def passes_from(first: Any) -> Any:
        """The passes of an iterator, each with the number of elements that are skipped."""
        k, skipped = first[0], first[1]
        begun = tf.data.Dataset.from_tensors((k, skipped))
        zero = tf.constant(0, tf.int64)
        counter = tf.data.Dataset.counter
        later = counter(k + 1) if repeat is None else counter(k + 1).take(repeat - 1)
        return begun.concatenate(later.map(lambda number: (number, zero)))

    position = request.positions()
    # Evaluated when an iterator begins, and not when the dataset is made.
    first = tf.data.Dataset.range(1).map(
        lambda zero: tf.ensure_shape(
            tf.numpy_function(lambda _: np.array(position(), np.int64), [zero], tf.int64), (2,)
        )
    )
    passes = first.flat_map(passes_from)
    return passes.flat_map(tf.autograph.experimental.do_not_convert(one_pass))


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

    @property
    def skips(self) -> bool:
        """See `TfRows`. Batches that come as they were uploaded have sizes of their own."""
        return not self.form.whole_batches

    def rows(self, k: Any, skipped: Any) -> Any:
        """The chunks of pass k, as a ``tf.data.Dataset``."""
        import tensorflow as tf

        form, spec = self.form, decoder_for(self.form).spec
        if form.whole_batches and form.drop_remainder:
            spec = spec.with_rows(form.batch_size)

        def chunks(number: int, before: int) -> Generator[Any, None, None]:
            left_out = int(before) * (form.batch_size or 1) if self.skips else 0
            with closing(pass_rows(self.plan, form, int(number), self.meter, left_out)) as passed:
                for leaves in passed:
                    # On a machine with a GPU, TensorFlow would put them there.
                    with tf.device("CPU"):
                        tensors = leaves_to_tf(leaves, spec)
                    yield tensors

        return tf.data.Dataset.from_generator(
            lambda number, before: self.meter.metered(chunks(number, before)),
            args=(k, skipped),
            output_signature=spec.to_tf(),
            name="deeptool",
        ).prefetch(2)


def _cardinality(plan: ReadPlan, form: ElementForm, request: ReadRequest) -> int | None:
    """Elements of one iterator; None where that depends on which it is, or is not known."""
    import tensorflow as tf

    if request.repeat is None:
        return int(tf.data.INFINITE_CARDINALITY)
    if not request.whole_passes:
        return None
    return elements_of_iterator(elements_of_passes(plan, form), None, request.repeat)

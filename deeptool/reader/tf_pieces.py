"""Dense elements of a stored dataset as a ``tf.data.Dataset``, cut from pieces of several batches.

TensorFlow uses pieces in place, and so the batches that it cuts from them.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from deeptool.codec.spec import Spec
from deeptool.codec.values import Leaves
from deeptool.reader.batch_pieces import pieces_of_passes
from deeptool.reader.read_request import ReadRequest
from deeptool.reader.tf_elements import parted
from deeptool.rows.element_form import ElementForm
from deeptool.rows.pass_rows import decoder_for
from deeptool.rows.read_plan import ReadPlan
from deeptool.store.read_meter import ReadMeter


def comes_in_pieces(form: ElementForm) -> bool:
    """Whether elements can be cut from pieces: nothing is ragged, nor made in the graph."""
    dense = not any(leaf.ragged_rank for leaf in decoder_for(form).spec.leaves)
    return dense and form.codec.graph_parser is None and not form.whole_batches


def elements_from_pieces(
    plan: ReadPlan, form: ElementForm, meter: ReadMeter, request: ReadRequest
) -> Any:
    """The elements of all passes of an iterator.

    Returns
    -------
    tf.data.Dataset
    """
    import tensorflow as tf

    rows, position = decoder_for(form).spec, request.positions()

    def pieces() -> Generator[Leaves, None, None]:
        # Called when an iterator begins, and not when the dataset is made.
        begin = position()
        return meter.metered(pieces_of_passes(plan, form, meter, begin, request.repeat))

    def cut(*leaves: Any) -> Any:
        element = leaves if form.groups else form.spec.nest(leaves)
        return tf.data.Dataset.from_tensor_slices(element)

    generated = tf.data.Dataset.from_generator(
        pieces, output_signature=_signature(rows, form), name="deeptool"
    ).prefetch(1)
    dataset = generated.flat_map(tf.autograph.experimental.do_not_convert(cut))
    return parted(dataset, form) if form.groups else dataset


def _signature(rows: Spec, form: ElementForm) -> tuple[Any, ...]:
    import tensorflow as tf

    batch: tuple[int | None, ...] = ()
    if form.batch_size is not None:
        batch = (form.batch_size if form.drop_remainder else None,)
    return tuple(
        tf.TensorSpec((None, *batch, *leaf.shape[1:]), tf.as_dtype(leaf.dtype))
        for leaf in rows.leaves
    )

"""From rows to the dataset's elements, in TensorFlow's graph: batch, parse, pad."""

from __future__ import annotations

from typing import Any

from deeptool.codec.protocol import GraphParser
from deeptool.codec.structure import Leaf
from deeptool.rows.element_form import ElementForm


def elements(rows: Any, form: ElementForm) -> Any:
    """The elements of one pass.

    Parameters
    ----------
    rows : tf.data.Dataset
        Of chunks of rows, as `deeptool.rows.row_chunks` makes them; of batches with
        ``form.whole_batches``.
    """
    if form.codec.graph_parser is not None:
        return _parsed(rows, form, form.codec.graph_parser)
    if form.as_stored:
        return rows
    if form.batch_size is None:
        dataset = rows.unbatch()
    else:
        dataset = rows.rebatch(form.batch_size, drop_remainder=form.drop_remainder)
    if form.groups:
        return parted(dataset, form)
    return dataset if all(leaf.fixed for leaf in form.spec.leaves) else _finished(dataset, form)


def parted(dataset: Any, form: ElementForm) -> Any:
    """Leaves that came as few arrays (``form.groups``) are themselves again."""
    import tensorflow as tf

    axis = 0 if form.batch_size is None else 1

    def part(*arrays: Any) -> Any:
        leaves: dict[int, Any] = {}
        for group, array in zip(form.groups, arrays, strict=True):
            several = len(group.members) > 1
            found = tf.unstack(array, len(group.members), axis) if several else [array]
            leaves.update(zip(group.members, found, strict=True))
        return form.spec.nest([leaves[place] for place in range(len(leaves))])

    return dataset.map(part, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)


def _parsed(rows: Any, form: ElementForm, parser: GraphParser) -> Any:
    import tensorflow as tf

    def parse(value: Any, key: Any) -> Any:
        element = parser(value, key)
        if form.columns is None:
            return element
        return form.spec.nest(form.columns.of(form.codec.spec.flatten(element)))

    samples = rows.unbatch().map(parse, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    return batches_of_samples(samples, form)


def batches_of_samples(samples: Any, form: ElementForm) -> Any:
    """Batches of a dataset of single samples, or these where the form has no batch size.

    Parameters
    ----------
    samples : tf.data.Dataset
        Of elements as ``form.spec`` says, without the axis that counts samples.
    """
    if form.batch_size is None:
        return _finished(samples, form)
    how = {"batch_size": form.batch_size, "drop_remainder": form.drop_remainder}
    dense = not any(leaf.ragged_rank for leaf in form.spec.leaves)
    if form.as_stored or (form.uniform and dense) or all(leaf.fixed for leaf in form.spec.leaves):
        return samples.batch(**how)
    return _finished(samples.ragged_batch(**how), form)


def _finished(dataset: Any, form: ElementForm) -> Any:
    """Leaves with open dimensions are dense again, and ragged ones as the producer's."""
    import tensorflow as tf

    def finish(*components: Any) -> Any:
        element = components if len(components) > 1 else components[0]
        if isinstance(form.spec.structure, tuple) and len(components) == 1:
            element = components
        finished = [
            _leaf(value, path, leaf, form)
            for value, path, leaf in zip(
                form.spec.flatten(element), form.spec.paths, form.spec.leaves, strict=True
            )
        ]
        return form.spec.nest(finished)

    return dataset.map(finish, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)


def _leaf(value: Any, path: str, leaf: Leaf, form: ElementForm) -> Any:
    import tensorflow as tf

    if leaf.fixed or not isinstance(value, tf.RaggedTensor):
        return value
    if leaf.ragged_rank:
        return value.with_row_splits_dtype(leaf.row_splits_dtype)
    rows = () if form.batch_size is None else (form.batch_size if form.drop_remainder else None,)
    padding = form.padding.get(path)
    default = None if padding is None else tf.cast(padding, value.dtype)
    return value.to_tensor(default_value=default, shape=(*rows, *leaf.inner))

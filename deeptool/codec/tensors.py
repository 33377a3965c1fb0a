"""TensorFlow's tensors <-> leaf values. The only part of the codecs that needs TensorFlow."""

from __future__ import annotations

from typing import Any

import numpy as np

from deeptool.codec.array_blocks import writable
from deeptool.codec.spec import Spec
from deeptool.codec.values import Array, Leaves, Ragged, Value
from deeptool.errors import WorkError


def leaves_from_tf(element: Any, spec: Spec) -> Leaves:
    """The leaf values of one eager element, without copying numbers where TensorFlow allows.

    Parameters
    ----------
    element : structure of tf.Tensor and tf.RaggedTensor
        What iterating over the dataset yields. Where ``spec.batched`` is False it is one sample,
        and an axis 0 of size 1 is put before it.
    spec : Spec
        Of that dataset.

    Raises
    ------
    WorkError
        The element is nested in another way than the spec, or its leaves differ in the number of
        samples.
    """
    components = spec.flatten(element)
    leaves = tuple(_from_tf(component) for component in components)
    if not spec.batched:
        return tuple(_with_axis(value) for value in leaves)
    counts = {
        path: (value.shape[0] if value.ndim else 0) if isinstance(value, np.ndarray) else len(value)
        for path, value in zip(spec.paths, leaves, strict=True)
    }
    if len(set(counts.values())) > 1:
        raise WorkError(
            "the components of a batch differ in their number of samples",
            seen=", ".join(f"'{path}': {count}" for path, count in counts.items()),
            next_step="let axis 0 of every component count samples, or upload single samples "
            "(batched = False in a settings file)",
        )
    return leaves


def leaves_to_tf(leaves: Leaves, spec: Spec) -> Any:
    """The batch as tensors, nested as the spec says; the inverse of `leaves_from_tf` on batches."""
    return spec.nest([_to_tf(value) for value in leaves])


def _from_tf(component: Any) -> Value:
    import tensorflow as tf

    if isinstance(component, tf.RaggedTensor):
        splits = tuple(np.asarray(row_splits) for row_splits in component.nested_row_splits)
        return Ragged(np.asarray(component.flat_values), splits)
    # A view, where .numpy() would copy.
    return np.asarray(component)


def _to_tf(value: Value) -> Any:
    import tensorflow as tf

    if isinstance(value, Ragged):
        return tf.RaggedTensor.from_nested_row_splits(
            tf.convert_to_tensor(writable(value.flat_values)),
            [tf.convert_to_tensor(writable(splits)) for splits in value.row_splits],
            validate=False,
        )
    if value.dtype == object:
        return tf.constant(value, tf.string)
    return tf.convert_to_tensor(writable(value))


def _with_axis(value: Value) -> Value:
    if isinstance(value, Ragged):
        outer: Array = np.array([0, len(value)], dtype=value.row_splits[0].dtype)
        return Ragged(value.flat_values, (outer, *value.row_splits))
    return value[np.newaxis]

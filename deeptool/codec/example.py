"""Codec ``example``: one sample per record, as tf.train.Example of serialized tensors.

The dataset's elements are x, (x,), (x, y) or (x, y, sample_weight). A record's value is a
serialized ``tf.train.Example`` with a feature (a bytes_list of one) for each leaf of x, its key the
same for the leaves of y (and of the sample weight); elements without y have no key. A feature
holds ``tf.io.serialize_tensor`` of the sample's tensor, without an axis that counts samples, and is
called ``x``, ``y`` or ``w`` where that part is one tensor, else ``x/image``, ``x/0``, ... (the
names of `Spec.names`). A ragged leaf with one ragged dimension is one tensor as well, since one
sample has one length. One with more has its flat values there, and the row splits of its inner
dimensions, outermost first, in ``x~row_splits_1``, ``x~row_splits_2``, ...

So any TensorFlow program reads these records with tf.io.parse_single_example and
tf.io.parse_tensor; `ExampleCodec.parse` is that, in the graph.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from deeptool.codec.protocol import GraphParser
from deeptool.codec.spec import PARTS, Spec
from deeptool.codec.structure import Leaf
from deeptool.codec.values import Array, Leaves, Ragged, Value, numpy_dtype, uniform_shape
from deeptool.errors import UserError, WorkError


class ExampleCodec:
    """Single samples <-> tf.train.Example. Imports TensorFlow when it is used.

    Parameters
    ----------
    spec : Spec
        Of the dataset; what is decoded is compared with it.

    Raises
    ------
    UserError
        The elements are not x, (x, y) or (x, y, sample_weight).
    """

    name = "example"
    samples_per_record: int | None = 1

    def __init__(self, spec: Spec) -> None:
        self.spec, self.columns = spec, len(spec.leaves)
        if isinstance(spec.structure, tuple) and len(spec.structure) > len(PARTS):
            raise UserError(
                "codec example holds elements of up to three parts",
                seen=str(spec),
                valid="x, (x, y) or (x, y, sample_weight)",
                next_step="use codec arrow, which holds any nesting",
            )
        self._names = spec.names

    @property
    def graph_parser(self) -> GraphParser:
        """`parse`: TensorFlow reads its own format faster than Python does."""
        return self.parse

    def to_record(self, leaves: Leaves) -> tuple[bytes | None, bytes]:
        """Key and value of the record that holds the one sample of `leaves`."""
        import tensorflow as tf

        parts: dict[bool, dict[str, Any]] = {True: {}, False: {}}
        for name, value in zip(self._names, leaves, strict=True):
            if len(value) != 1:
                raise WorkError("codec example holds one sample per record", seen=len(value))
            for feature, tensor in _tensors(name, value):
                data = tf.io.serialize_tensor(tensor).numpy()
                parts[_in_value(name)][feature] = tf.train.Feature(
                    bytes_list=tf.train.BytesList(value=[data])
                )
        value_bytes, key = (
            tf.train.Example(features=tf.train.Features(feature=parts[part])).SerializeToString(
                # The order of a map is not: the same samples must have the same digest.
                deterministic=True
            )
            for part in (True, False)
        )
        return key if parts[False] else None, value_bytes

    def decode(self, value: bytes, key: bytes | None = None) -> Leaves:
        """The one sample of a record, with an axis 0 of size 1.

        Raises
        ------
        WorkError
            Key or value is not such an example, or a feature is not what the spec says.
        """
        import tensorflow as tf

        try:
            features = {
                name: feature.bytes_list.value[0]
                for data in (value, key or b"")
                for name, feature in tf.train.Example.FromString(data).features.feature.items()
            }
        except Exception as error:  # protobuf's DecodeError, whose module differs by version
            raise WorkError(
                "a stored record is not a tf.train.Example of serialized tensors", seen=str(error)
            ) from error
        return tuple(
            self._decode_leaf(name, leaf, features)
            for name, leaf in zip(self._names, self.spec.leaves, strict=True)
        )

    def parse(self, value: Any, key: Any) -> Any:
        """The sample of one record as tensors, in the graph: for ``dataset.map``.

        Parameters
        ----------
        value, key : tf.Tensor of string, shape ()

        Returns
        -------
        structure of tf.Tensor and tf.RaggedTensor
            Nested as the spec, without an axis that counts samples: batch it with
            ``ragged_batch`` where a leaf is ragged (one of one ragged dimension is a tensor with
            an unknown axis 0 here), else with ``batch``.
        """
        import tensorflow as tf

        columns = dict(zip(self._names, self.spec.leaves, strict=True))
        wanted: dict[bool, dict[str, Any]] = {True: {}, False: {}}
        for name, leaf in columns.items():
            for feature in (name, *_split_names(name, leaf)):
                wanted[_in_value(name)][feature] = tf.io.FixedLenFeature([], tf.string)
        found: dict[str, Any] = {}
        for data, features in ((value, wanted[True]), (key, wanted[False])):
            if features:
                found |= tf.io.parse_single_example(data, features)
        return self.spec.nest([_parse_leaf(name, leaf, found) for name, leaf in columns.items()])

    def _decode_leaf(self, name: str, leaf: Leaf, features: Mapping[str, bytes]) -> Value:
        import tensorflow as tf

        def tensor(feature: str, dtype: str) -> Array:
            if feature not in features:
                raise WorkError(
                    f"a stored example lacks feature '{feature}'",
                    seen=", ".join(sorted(features)) or "no feature",
                    valid=str(leaf),
                )
            try:
                array: Array = np.asarray(tf.io.parse_tensor(features[feature], dtype))
            except tf.errors.OpError as error:
                raise WorkError(
                    f"feature '{feature}' of a stored example is not what the element_spec says",
                    seen=str(error.message),
                    valid=str(leaf),
                ) from error
            return array

        flat = tensor(name, leaf.dtype).astype(numpy_dtype(leaf.dtype), copy=False)
        splits = [tensor(feature, leaf.row_splits_dtype) for feature in _split_names(name, leaf)]
        result: Value = flat[np.newaxis]
        if leaf.ragged_rank:
            count = len(splits[0]) - 1 if splits else (len(flat) if flat.ndim else 0)
            # One sample is one row: its outermost row splits are not stored.
            outer = np.array([0, count], dtype=leaf.row_splits_dtype)
            result = Ragged(flat, (outer, *splits))
        if not leaf.fits(uniform_shape(result)):
            raise WorkError(
                f"feature '{name}' of a stored example is not what the element_spec says",
                seen=f"a tensor of shape {flat.shape}",
                valid=str(leaf),
            )
        return result


def _in_value(name: str) -> bool:
    """x is the record's value; y and the sample weight are its key."""
    return name.startswith("x")


def _split_names(name: str, leaf: Leaf) -> list[str]:
    return [f"{name}~row_splits_{depth}" for depth in range(1, leaf.ragged_rank)]


def _tensors(name: str, value: Value) -> list[tuple[str, Any]]:
    """The features of one leaf of one sample, as tensors."""
    import tensorflow as tf

    if not isinstance(value, Ragged):
        return [(name, _tensor(value[0]))]
    inner = value.row_splits[1:]
    splits = [(f"{name}~row_splits_{d}", tf.constant(s)) for d, s in enumerate(inner, start=1)]
    return [(name, _tensor(value.flat_values)), *splits]


def _tensor(array: Any) -> Any:
    import tensorflow as tf

    # One string of an array of objects is bytes.
    string = isinstance(array, bytes) or array.dtype == object
    return tf.constant(array, tf.string) if string else tf.constant(array)


def _parse_leaf(name: str, leaf: Leaf, found: Mapping[str, Any]) -> Any:
    import tensorflow as tf

    flat = tf.io.parse_tensor(found[name], leaf.dtype)
    inner = leaf.inner if not leaf.ragged_rank else (None, *leaf.inner)
    flat = tf.ensure_shape(flat, inner)
    splits = []
    for feature in _split_names(name, leaf):
        row_splits = tf.io.parse_tensor(found[feature], leaf.row_splits_dtype)
        splits.append(tf.ensure_shape(row_splits, [None]))
    return tf.RaggedTensor.from_nested_row_splits(flat, splits) if splits else flat

"""Digests of samples do not tell where batches were cut."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from deeptool.codec.spec import Spec
from deeptool.codec.structure import Leaf
from deeptool.codec.tensors import leaves_from_tf
from deeptool.pipelines.sample_digest import SampleDigest


def digests(dataset: tf.data.Dataset) -> dict[int, str]:
    spec = Spec.from_tf(dataset.element_spec)
    digest = SampleDigest(spec)
    for element in dataset:
        digest.add(leaves_from_tf(element, spec))
    digest.keep()
    return dict(digest.checkpoints)


def make(kind: str) -> tf.data.Dataset:
    base = tf.data.Dataset.range(50)
    if kind == "dense":
        return base.map(lambda i: {"x": tf.fill([3], i), "b": i > 3})
    if kind == "text":
        return base.map(lambda i: tf.strings.as_string([i, i * 1000]))
    rows = tf.ragged.constant([[[j] * (i % 3) for j in range(i % 4)] for i in range(50)], tf.int64)
    return tf.data.Dataset.from_tensor_slices(rows)


@pytest.mark.parametrize("kind", ["dense", "text", "ragged"])
def test_the_batch_size_is_no_part_of_it(kind: str) -> None:
    found = [digests(make(kind).batch(size)) for size in (1, 7, 50)]
    assert found[0] == found[1] == found[2]
    assert list(found[0])[:17] == [*range(1, 17), 22]
    assert list(found[0])[-1] == 50
    assert len(set(found[0].values())) == len(found[0])


def test_values_types_and_shapes_are() -> None:
    x = np.arange(12, dtype=np.int64)
    base = digests(tf.data.Dataset.from_tensor_slices(x).batch(4))
    for other in (x.astype(np.int32), x[::-1].copy(), np.where(x == 11, 0, x)):
        assert digests(tf.data.Dataset.from_tensor_slices(other).batch(4))[12] != base[12]
    split = [["ab", "c"]], [["a", "bc"]]
    one, two = (digests(tf.data.Dataset.from_tensor_slices(text).batch(1)) for text in split)
    assert one != two


def test_padding_is_no_part_of_it_where_it_is_named() -> None:
    spec = Spec((Leaf("int64", (None, None)), Leaf("string", (None, None)), Leaf("int8", (None,))))

    def digest(length: int, padding: Any, last: int = 3) -> str:
        numbers = np.zeros((2, length), np.int64)
        numbers[:, :3] = [[1, 0, last], [5, 0, 0]]
        texts = np.full((2, length), b"-", object)
        texts[:, 0] = b"a"
        digest = SampleDigest(spec, padding)
        digest.add((numbers, texts, np.arange(2, dtype=np.int8)))
        digest.keep()
        return digest.checkpoints[-1][1]

    named = {"0": 0, "1": "-"}
    assert digest(4, named) == digest(7, named)
    assert digest(4, named) != digest(4, named, last=4)
    assert digest(4, None) != digest(7, None)
    # What is no padding of theirs counts.
    assert digest(4, {"0": 9, "1": "-"}) != digest(7, {"0": 9, "1": "-"})

"""Codec example and the tensors on both sides, with TensorFlow as the judge."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from deeptool.codec.arrow import ArrowCodec
from deeptool.codec.example import ExampleCodec
from deeptool.codec.records import Codec, checksum, pack, parse_headers
from deeptool.codec.spec import Spec
from deeptool.codec.structure import DTYPES, Leaf
from deeptool.codec.tensors import leaves_from_tf, leaves_to_tf
from deeptool.codec.values import Ragged, concat_rows
from deeptool.errors import UserError, WorkError


def batch_of(dtype: str) -> Any:
    """Four samples of shape [2], of any dtype."""
    if dtype == "string":
        return tf.constant([[b"a\0", b""], [b"\xff\xfe", b"b"]] * 2)
    return tf.cast(tf.constant([[0, 1], [1, 0], [3, 2], [1, 1]]), dtype)


BATCHES: dict[str, Any] = {
    **{dtype: (batch_of(dtype), tf.range(4)) for dtype in DTYPES},
    "x only": tf.zeros([4, 2, 2]),
    "x only, as a dict": {"b": tf.range(4), "a": tf.zeros([4, 1])},
    "nested": (
        {"image": tf.ones([4, 2, 2, 3], tf.uint8), "parts": (tf.range(4), {"z": tf.range(4)})},
        {"label": tf.range(4)},
        tf.constant([0.5, 1.0, 1.5, 2.0]),
    ),
    "empty inside": (tf.zeros([4, 0, 3]), tf.range(4)),
    "ragged": (tf.ragged.constant([[1], [], [2, 3], [4]]), tf.range(4)),
    "ragged strings": (tf.ragged.constant([["a"], [], ["b", ""], ["c"]]), tf.range(4)),
    "ragged twice": (tf.ragged.constant([[[1], []], [], [[2, 3]], [[4]]]), tf.range(4)),
    "ragged rows of a shape": (
        tf.RaggedTensor.from_row_lengths(tf.reshape(tf.range(10), [5, 2]), [1, 2, 0, 2]),
        tf.range(4),
    ),
    "int32 row splits": (
        tf.ragged.constant([[[1]], [], [[2], []], [[]]], row_splits_dtype=tf.int32),
        tf.range(4),
    ),
}


def spec_of(batch: Any) -> Spec:
    """With open batch sizes, as datasets that do not drop the remainder have them."""
    return Spec.from_tf(tf.data.Dataset.from_tensors(batch).element_spec).with_rows(None)


def assert_same(a: Any, b: Any) -> None:
    tf.nest.assert_same_structure(a, b)
    flat = zip(
        tf.nest.flatten(a, expand_composites=True),
        tf.nest.flatten(b, expand_composites=True),
        strict=True,
    )
    for left, right in flat:
        assert left.dtype == right.dtype
        assert left.shape == right.shape
        assert left.numpy().tolist() == right.numpy().tolist()


@pytest.mark.parametrize("codec_class", [ArrowCodec, ExampleCodec])
@pytest.mark.parametrize("name", BATCHES)
def test_tensors_come_back_as_they_were(name: str, codec_class: type[Codec]) -> None:
    batch = BATCHES[name]
    spec = spec_of(batch)
    codec = codec_class(spec)  # type: ignore[call-arg]
    records = list(pack(codec, [leaves_from_tf(batch, spec)], upload="u"))
    assert sum(record.count for record in records) == 4
    stored = concat_rows([codec.decode(record.value, record.key) for record in records])
    assert_same(leaves_to_tf(stored, spec), batch)
    for record in records:
        header = parse_headers(record.headers)
        assert header is not None
        assert header.crc == record.crc == checksum(record.value, record.key)


@pytest.mark.parametrize("name", BATCHES)
def test_the_graph_parses_examples_to_the_same(name: str) -> None:
    batch = BATCHES[name]
    spec = spec_of(batch)
    codec = ExampleCodec(spec)
    records = list(pack(codec, [leaves_from_tf(batch, spec)], upload="u"))
    stored = tf.data.Dataset.from_tensor_slices(
        ([record.value for record in records], [record.key or b"" for record in records])
    )
    splits_dtype = tf.int32 if name == "int32 row splits" else tf.int64
    batched = stored.map(codec.parse).ragged_batch(4, row_splits_dtype=splits_dtype)
    assert_same(next(iter(batched)), batch)


def test_any_program_reads_examples_by_the_documented_names() -> None:
    spec = Spec(
        ({"a/b": Leaf("int32", (None, 2))}, Leaf("float32", (None,)), Leaf("bool", (None,)))
    )
    codec = ExampleCodec(spec)
    key, value = codec.to_record(
        (np.array([[1, 2]], np.int32), np.array([3.0], np.float32), np.array([True]))
    )
    assert key is not None
    examples = [tf.train.Example.FromString(data).features.feature for data in (value, key)]
    assert [sorted(example) for example in examples] == [["x/a~1b"], ["w", "y"]]
    stored = examples[0]["x/a~1b"].bytes_list.value[0]
    assert tf.io.parse_tensor(stored, tf.int32).numpy().tolist() == [1, 2]
    assert tf.io.parse_tensor(examples[1]["y"].bytes_list.value[0], tf.float32).numpy() == 3.0


def test_elements_of_four_parts_are_not_for_codec_example() -> None:
    leaf = Leaf("int32", (None,))
    with pytest.raises(UserError, match="up to three parts"):
        ExampleCodec(Spec((leaf, leaf, leaf, leaf)))


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ((Leaf("int64", (None, 2)), Leaf("int32", (None,))), "feature 'x'"),
        ((Leaf("int32", (None, 3)), Leaf("int32", (None,))), "feature 'x'"),
        ((Leaf("int32", (None, 2)), Leaf("int32", (None, 1))), "feature 'y'"),
        (({"a": Leaf("int32", (None, 2))}, Leaf("int32", (None,))), "lacks feature 'x/a'"),
        ((Leaf("int32", (None, None, None), 2), Leaf("int32", (None,))), "~row_splits_1"),
    ],
)
def test_examples_of_another_spec_name_the_feature(other: Any, words: str) -> None:
    codec = ExampleCodec(Spec((Leaf("int32", (None, 2)), Leaf("int32", (None,)))))
    key, value = codec.to_record((np.array([[1, 2]], np.int32), np.array([3], np.int32)))
    with pytest.raises(WorkError) as error:
        ExampleCodec(Spec(other)).decode(value, key)
    assert words in error.value.what


def test_what_is_no_example_is_said_so() -> None:
    with pytest.raises(WorkError, match=r"not a tf.train.Example"):
        ExampleCodec(Spec(Leaf("int32", (None,)))).decode(b"\xff\xff\xff")


def test_single_samples_get_an_axis_0() -> None:
    samples = tf.data.Dataset.range(3).map(
        lambda i: {
            "n": i,
            "name": tf.strings.as_string(i) + "\0",
            "rows": tf.RaggedTensor.from_row_splits(tf.range(i), [0, i, i]),
        }
    )
    spec = Spec.from_tf(samples.element_spec, batched=False)
    leaves = concat_rows([leaves_from_tf(sample, spec) for sample in samples])
    n, names, ragged = leaves
    assert isinstance(n, np.ndarray)
    assert n.tolist() == [0, 1, 2]
    assert isinstance(names, np.ndarray)
    assert names.tolist() == [b"0\0", b"1\0", b"2\0"]
    assert isinstance(ragged, Ragged)
    assert [splits.tolist() for splits in ragged.row_splits] == [
        [0, 2, 4, 6],
        [0, 0, 0, 1, 1, 3, 3],
    ]
    assert_same(leaves_to_tf(leaves, spec), next(iter(samples.batch(3))))


def test_batches_are_taken_without_a_copy() -> None:
    tensor = tf.zeros([4, 8])
    (value,) = leaves_from_tf(tensor, spec_of(tensor))
    assert isinstance(value, np.ndarray)
    assert np.shares_memory(value, np.asarray(tensor))


def test_components_that_count_samples_differently_are_named() -> None:
    spec = Spec((Leaf("int32", (None,)), Leaf("int32", (None,))))
    with pytest.raises(WorkError) as error:
        leaves_from_tf((tf.range(4), tf.range(5)), spec)
    assert error.value.seen == "'0': 4, '1': 5"

"""The element_spec as a plain value, against what TensorFlow says of the same datasets."""

from __future__ import annotations

import json
from collections import namedtuple
from typing import Any

import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from deeptool.codec.spec import Spec
from deeptool.codec.structure import DTYPES, Leaf, Structure
from deeptool.errors import UserError, WorkError

Sides = namedtuple("Sides", ["left", "right"])

structures: st.SearchStrategy[Structure] = st.recursive(
    st.builds(
        Leaf,
        st.sampled_from(DTYPES),
        st.lists(st.one_of(st.none(), st.integers(0, 9)), min_size=1, max_size=4).map(tuple),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(st.text(max_size=3), inner, max_size=3),
    ),
    max_leaves=6,
)


@given(structures, st.booleans())
def test_json_round_trip(structure: Structure, batched: bool) -> None:
    spec = Spec(structure, batched)
    assert Spec.from_json(json.loads(json.dumps(spec.to_json()))) == spec


@given(structures)
def test_paths_are_unique_and_leaves_in_the_order_of_tf_nest(structure: Structure) -> None:
    spec = Spec(structure)
    assert len(set(spec.paths)) == len(spec.paths) == len(spec.leaves)
    flat = tf.nest.flatten(spec.to_tf())
    assert [tuple(leaf.shape) for leaf in flat] == [leaf.shape for leaf in spec.leaves]
    assert [leaf.dtype.name for leaf in flat] == [leaf.dtype for leaf in spec.leaves]
    assert spec.nest(spec.leaves) == spec.structure
    assert spec.flatten(spec.structure) == list(spec.leaves)


def test_slashes_in_keys_do_not_make_two_leaves_one() -> None:
    leaf = Leaf("int32", (None,))
    spec = Spec({"a/b": leaf, "a": {"b": leaf}, "~1": leaf, "": {"a": leaf}})
    assert spec.paths == ("/a", "a/b", "a~1b", "~01")


def dataset_of(structure: Any) -> tf.data.Dataset:
    return tf.data.Dataset.from_tensors(structure)


@pytest.mark.parametrize(
    "dataset",
    [
        dataset_of(tf.zeros([4, 2])),
        dataset_of(({"b": tf.zeros([4]), "a": (tf.zeros([4, 1], tf.bfloat16),)}, tf.zeros([4]))),
        dataset_of(tf.ragged.constant([[1], [2, 3]])),
        tf.data.Dataset.range(6).map(tf.range).ragged_batch(2),
        tf.data.Dataset.range(6).map(lambda i: tf.zeros([i, i, 3])).ragged_batch(2),
        dataset_of(tf.ragged.constant([[[1, 2]], [[3, 4]]], ragged_rank=1, inner_shape=(2,))),
        dataset_of(tf.ragged.constant([["a"], []], row_splits_dtype=tf.int32)),
        tf.data.Dataset.range(6).padded_batch(2),
    ],
)
def test_batched_specs_come_back_as_tensorflow_had_them(dataset: tf.data.Dataset) -> None:
    spec = Spec.from_tf(dataset.element_spec)
    assert spec.to_tf() == dataset.element_spec
    assert Spec.from_json(spec.to_json()).to_tf() == dataset.element_spec


@pytest.mark.parametrize(
    "unbatched",
    [
        tf.data.Dataset.range(6),
        tf.data.Dataset.range(6).map(lambda i: {"image": tf.zeros([8, 8, 3]), "y": i}),
        tf.data.Dataset.range(6).map(
            lambda i: tf.RaggedTensor.from_row_splits(tf.range(i), [0, i])
        ),
    ],
)
def test_unbatched_specs_are_those_of_their_batches(unbatched: tf.data.Dataset) -> None:
    spec = Spec.from_tf(unbatched.element_spec, batched=False)
    assert spec.to_tf() == unbatched.batch(3).element_spec
    assert not spec.batched


def test_with_rows_sets_axis_0_only() -> None:
    spec = Spec((Leaf("uint8", (32, 8, 8)), {"y": Leaf("int64", (32,))}))
    assert spec.with_rows(None) == Spec(
        (Leaf("uint8", (None, 8, 8)), {"y": Leaf("int64", (None,))})
    )


def test_ragged_leaves_know_their_uniform_dimensions() -> None:
    leaf = Leaf("float32", (None, None, 2, 3), ragged_rank=1)
    assert leaf.inner == (2, 3)
    assert not leaf.fixed
    assert leaf.fits((2, 3))
    assert not leaf.fits((2, 4))
    assert not leaf.fits((2,))
    assert str(leaf) == "ragged float32[?, ?, 2, 3]"


def test_named_tuples_keep_their_names() -> None:
    rows = tf.TensorSpec([None, 2], tf.float32)
    spec = Spec.from_tf((Sides(rows, {"a": Sides(rows, rows)}), rows))
    assert str(spec).startswith("(Sides(left: float32[?, 2], right: {a: Sides(left:")
    for same in (spec, Spec.from_json(json.loads(json.dumps(spec.to_json())))):
        element: Any = same.nest(range(4))
        assert element[0].right["a"].left == 1
        assert same.flatten(element) == [0, 1, 2, 3]
        tf.nest.assert_same_structure(same.to_tf(), spec.to_tf())
        assert same.to_tf()[0]._fields == ("left", "right")
    # Of a stranger's catalog: a class is made of these names.
    for names in (["left", "import os"], ["left"], [["left"], "right"]):
        damaged = {"tuple": "Sides", "fields": names, "inner": [leaf_json(), leaf_json()]}
        with pytest.raises((ValueError, TypeError)):
            Spec.from_json({"batched": True, "structure": damaged})


def leaf_json() -> Any:
    return Spec(Leaf("int8", (None,))).to_json()["structure"]


def test_text_for_people() -> None:
    spec = Spec(({"b": Leaf("bool", (None,)), "a": Leaf("string", (None, 2))}, Leaf("int8", (4,))))
    assert str(spec) == "({a: string[?, 2], b: bool[?]}, int8[4])"


@pytest.mark.parametrize(
    ("element_spec", "batched", "words"),
    [
        ((tf.TensorSpec([], tf.int32),), True, "'0' has no axis that counts samples"),
        ({"a": tf.SparseTensorSpec([4, 4])}, True, "cannot be stored: 'a'"),
        (tf.TensorSpec(None, tf.int32), True, "the rank of the element is unknown"),
        (tf.TensorSpec([4], tf.qint8), True, "dtype that cannot be stored"),
        (
            (tf.TensorSpec([4], tf.as_dtype("float8_e5m2")),),
            True,
            "'0' has a dtype that cannot be stored",
        ),
        ({1: tf.TensorSpec([4], tf.int8)}, True, "only string keys"),
        ((), True, "hold no tensor"),
        ((tf.TensorSpec([4], tf.int8), None), True, "cannot be stored: '1'"),
        ((tf.data.DatasetSpec(tf.TensorSpec([4], tf.int8)),), False, "cannot be stored: '0'"),
    ],
)
def test_what_cannot_be_stored_is_named(element_spec: Any, batched: bool, words: str) -> None:
    with pytest.raises(UserError) as error:
        Spec.from_tf(element_spec, batched)
    assert words in error.value.what


@pytest.mark.parametrize("element", [(1,), {"a": 1}, (1, {"b": 2}), (1, (2,))])
def test_an_element_of_another_nesting_is_an_error(element: Any) -> None:
    spec = Spec((Leaf("int8", (None,)), {"a": Leaf("int8", (None,))}))
    assert spec.flatten((1, {"a": 2})) == [1, 2]
    with pytest.raises(WorkError, match="nested in another way"):
        spec.flatten(element)

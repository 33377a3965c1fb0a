"""Slices and concatenations of batches, with TensorFlow's own as the judge."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from deeptool.codec import values
from deeptool.codec.spec import Spec
from deeptool.codec.structure import DTYPES
from deeptool.codec.tensors import leaves_from_tf, leaves_to_tf
from deeptool.codec.values import Ragged, concat_rows, numpy_dtype, rows, slice_rows, take_rows
from deeptool.errors import UserError

BATCH = (
    tf.reshape(tf.range(24), [6, 4]),
    tf.ragged.constant([["a"], [], ["b", "c"], ["d"], [], ["e"]]),
    tf.ragged.constant([[[1], []], [], [[2, 3]], [[4]], [[], [5]], []], dtype=tf.float32),
)
SPEC = Spec.from_tf(tf.data.Dataset.from_tensors(BATCH).element_spec)


def as_lists(batch: Any) -> list[Any]:
    tensors = [
        part.to_list() if isinstance(part, tf.RaggedTensor) else part.numpy().tolist()
        for part in batch
    ]
    return tensors


@pytest.mark.parametrize(("start", "stop"), [(0, 6), (1, 4), (2, 3), (4, 4), (5, 6)])
def test_slices_are_those_of_tensorflow(start: int, stop: int) -> None:
    part = slice_rows(leaves_from_tf(BATCH, SPEC), start, stop)
    assert rows(part) == stop - start
    assert as_lists(leaves_to_tf(part, SPEC)) == as_lists([value[start:stop] for value in BATCH])


def test_slices_of_dense_leaves_are_views() -> None:
    leaves = leaves_from_tf(BATCH, SPEC)
    assert np.shares_memory(slice_rows(leaves, 1, 3)[0], leaves[0])


@pytest.mark.parametrize("order", [[(0, 6)], [(3, 6), (0, 3)], [(2, 2), (5, 6), (0, 5), (1, 2)]])
def test_concatenations_are_those_of_tensorflow(order: list[tuple[int, int]]) -> None:
    leaves = leaves_from_tf(BATCH, SPEC)
    joined = concat_rows([slice_rows(leaves, start, stop) for start, stop in order])
    expected = [tf.concat([value[a:b] for a, b in order], axis=0) for value in BATCH]
    assert as_lists(leaves_to_tf(joined, SPEC)) == as_lists(expected)


@pytest.mark.parametrize("chosen", [[0, 1, 2, 3, 4, 5], [5, 0, 0, 3], [1], [2, 1], []])
def test_chosen_rows_are_those_of_tensorflow(chosen: list[int]) -> None:
    found = take_rows(leaves_from_tf(BATCH, SPEC), np.array(chosen, np.int64))
    assert rows(found) == len(chosen)
    expected = [tf.gather(value, np.array(chosen, np.int64)) for value in BATCH]
    assert as_lists(leaves_to_tf(found, SPEC)) == as_lists(expected)


@pytest.mark.parametrize("kind", [np.int32, np.int64])
def test_row_splits_keep_their_dtype(kind: type[np.integer[Any]]) -> None:
    ragged = Ragged(np.arange(5), (np.array([0, 2, 5], dtype=kind),))
    (joined,) = concat_rows([(ragged,), slice_rows((ragged,), 1, 2)])
    assert isinstance(joined, Ragged)
    assert joined.row_splits[0].dtype == kind
    assert joined.row_splits[0].tolist() == [0, 2, 5, 8]


@pytest.mark.parametrize("name", DTYPES)
def test_dtypes_are_those_of_tensorflow(name: str) -> None:
    assert numpy_dtype(name) == np.dtype(tf.as_dtype(name).as_numpy_dtype)


def test_without_ml_dtypes_only_bfloat16_is_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ml_dtypes", None)
    assert values.numpy_dtype("float16") == np.float16
    with pytest.raises(UserError, match="ml_dtypes"):
        values.numpy_dtype("bfloat16")

"""TensorFlow may write to the memory of its batches, which is no other reader's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from memory_store import MemoryStore

from deeptool.codec.spec import Spec
from deeptool.codec.structure import Leaf
from deeptool.reader import StoredDataset

tf = pytest.importorskip("tensorflow")

SPEC = Spec((Leaf("float32", (None, 4096)), Leaf("int64", (None, 32))))
ROWS, BATCH = 96, 32


@pytest.fixture
def data(tmp_path: Path) -> StoredDataset:
    store = MemoryStore()
    values = np.arange(ROWS * 4096, dtype=np.float32).reshape(ROWS, 4096)
    labels = np.arange(ROWS * 32).reshape(ROWS, 32)
    return StoredDataset(store, store.upload("u", [(values, labels)], spec=SPEC))


def overwritten(batch: Any, labels: Any) -> Any:
    """What TensorFlow does in place, where it may: in the graph it was given `batch` to use up."""
    return tf.negative(tf.exp(batch * 0.0) * batch), labels + 1


@pytest.mark.parametrize("batch_size", [BATCH, ROWS, None])
def test_batches_share_no_memory_with_the_local_copy(
    data: StoredDataset, tmp_path: Path, batch_size: int | None
) -> None:
    read = list(data.tf(batch_size=batch_size, cache=tmp_path))
    (columns,) = data.copies._open.values()
    held = columns.slice(0, ROWS)
    for element in read:
        for value, whole in zip(element, held, strict=True):
            assert not np.shares_memory(np.asarray(value), np.asarray(whole))


def test_what_is_computed_of_batches_changes_no_copy(data: StoredDataset, tmp_path: Path) -> None:
    whole = {"batch_size": BATCH, "cache": tmp_path}
    expected = [batch.copy() for batch, _ in data.numpy(**whole)]
    changed = list(data.tf(**whole).map(overwritten))
    again = list(data.tf(**whole))
    for number, batch in enumerate(expected):
        np.testing.assert_array_equal(changed[number][0], -batch)
        np.testing.assert_array_equal(again[number][0], batch)


def test_batches_that_are_kept_keep_their_values(data: StoredDataset, tmp_path: Path) -> None:
    how: dict[str, Any] = {"shuffle": True, "seed": 1, "order": "global", "cache": tmp_path}
    kept = [
        (batch, batch.numpy()) for batch, _ in data.tf(batch_size=BATCH, repeat=20, **how).cache()
    ]
    for batch, copy in kept:
        np.testing.assert_array_equal(np.asarray(batch), copy)

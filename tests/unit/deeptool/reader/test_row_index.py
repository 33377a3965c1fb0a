"""Rows by index: NumPy's rules, any spec, from records or from a copy, and nothing else is read."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from textwrap import dedent
from typing import Any

import numpy as np
import pytest
from memory_store import MemoryStore
from paths import ROOT
from test_numpy_batches import FIXED, ROWS, SPECS, leaf_values, made

from deeptool import Ragged
from deeptool.catalog.stored import Shard, Stored
from deeptool.codec.spec import Spec
from deeptool.codec.structure import Leaf
from deeptool.errors import UserError, WorkError
from deeptool.reader import StoredDataset

INDICES: list[Any] = [
    [3, 1, 4, 1],
    [-1, 0],
    slice(10, 20),
    slice(None, None, -7),
    slice(40, 400),
    np.arange(ROWS)[::3],
    np.array([5], np.uint8),
    np.arange(ROWS) % 5 == 0,
    [number == 7 for number in range(ROWS)],
]


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore(target_bytes=900)


def uploaded(store: MemoryStore, name: str) -> tuple[Spec, StoredDataset]:
    """Two stored passes; rows of open dimensions have one size."""
    spec = SPECS[name]
    epochs = [made(spec, rows, even=True) for rows in (ROWS, 30)]
    return spec, StoredDataset(store, store.upload("u", *epochs, spec=spec, batch_size=4))


def same(value: Any, expected: Any) -> None:
    assert type(value) is type(expected)
    if isinstance(value, Ragged):
        assert len(value.row_splits) == len(expected.row_splits)
        for one, other in zip(value.row_splits, expected.row_splits, strict=True):
            assert one.dtype == other.dtype
            np.testing.assert_array_equal(one, other)
        value, expected = value.flat_values, expected.flat_values
    assert value.dtype == expected.dtype
    np.testing.assert_array_equal(value, expected)


def rows_of(leaf: Leaf, numbers: Any) -> Any:
    """What `made` gives for these rows."""
    one_by_one = [leaf_values(leaf, int(number), 1, True) for number in numbers]
    if not leaf.ragged_rank:
        return np.concatenate(one_by_one)
    splits = [
        np.concatenate([[0], *(np.diff(value.row_splits[level]) for value in one_by_one)]).cumsum()
        for level in range(leaf.ragged_rank)
    ]
    flat = np.concatenate([value.flat_values for value in one_by_one])
    return Ragged(flat, tuple(one.astype(leaf.row_splits_dtype) for one in splits))


@pytest.mark.parametrize("copied", [False, True])
@pytest.mark.parametrize("name", SPECS)
def test_rows_of_every_spec(store: MemoryStore, name: str, copied: bool) -> None:
    spec, data = uploaded(store, name)
    if copied:
        list(data.numpy(batch_size=5))
        store.delete_records("u")
    for index in INDICES:
        element = data[index]
        numbers = np.arange(ROWS)[index]
        for value, leaf in zip(spec.flatten(element), spec.leaves, strict=True):
            same(value, rows_of(leaf, numbers))
    for number in (7, -1, np.int32(0)):
        for value, leaf in zip(spec.flatten(data[number]), spec.leaves, strict=True):
            expected = rows_of(leaf, [np.arange(ROWS)[number]])
            if not leaf.ragged_rank:
                np.testing.assert_array_equal(value, expected[0])
            elif leaf.ragged_rank == 1:
                np.testing.assert_array_equal(value, expected.flat_values)
            else:
                same(value, Ragged(expected.flat_values, expected.row_splits[1:]))
    for index in ([], slice(5, 5), np.zeros(ROWS, bool)):
        for value, leaf in zip(spec.flatten(data[index]), spec.leaves, strict=True):
            assert len(value) == 0
            flat = value.flat_values if isinstance(value, Ragged) else value
            assert (
                flat.dtype == leaf_values(leaf, 0, 1, True).dtype if not leaf.ragged_rank else True
            )


def test_only_records_with_these_rows_are_read(store: MemoryStore) -> None:
    _, data = uploaded(store, "fixed")
    assert data.stored.shards[0].upload.completed is not None
    records = data.stored.shards[0].upload.completed.epochs[0].records
    assert records >= 4
    data[[0, 1, 0]]
    assert data.meter.records == 1
    assert store.passes == 1
    data[:]
    assert data.meter.records == 1 + records


def test_uploads_whose_catalog_lists_no_records(store: MemoryStore) -> None:
    """Those of earlier releases: what each record holds is read from its header."""
    _, data = uploaded(store, "fixed")
    (shard,) = data.stored.shards
    completed = shard.upload.completed
    assert completed is not None
    epochs = tuple(replace(epoch, record_runs=None) for epoch in completed.epochs)
    upload = replace(shard.upload, completed=replace(completed, epochs=epochs))
    earlier = StoredDataset(store, replace(data.stored, shards=(Shard(shard.topic, upload),)))
    for index in INDICES:
        np.testing.assert_array_equal(earlier[index][1]["a"], np.arange(ROWS)[index])


def test_rows_of_shards_come_in_the_order_of_their_numbers(store: MemoryStore) -> None:
    shards = [
        store.upload(
            f"u{number}", made(FIXED, 20 + number), spec=FIXED, proc_id=number, num_procs=3
        ).shards[0]
        for number in range(3)
    ]
    data = StoredDataset(store, Stored("s", "train", tuple(shards)))
    assert len(data) == 63
    assert data[[0, 20, 40, 41, 62]][1]["a"].tolist() == [0, 0, 20, 0, 21]


def test_codec_example(store: MemoryStore) -> None:
    stored = store.upload("u", made(FIXED), spec=FIXED, codec="example")
    data = StoredDataset(store, stored)
    for _ in range(2):
        x, y = data[[9, 2]]
        assert (x.tolist(), y["a"].tolist()) == ([[9.0, 9.0], [2.0, 2.0]], [9, 2])
        list(data.numpy())


@pytest.mark.parametrize(
    ("index", "texts"),
    [
        (ROWS, ["no such row", "44", "-44 to 43"]),
        (-ROWS - 1, ["no such row", "-45", "-44 to 43"]),
        ([0, 99], ["no such row", "99", "-44 to 43"]),
        (2**70, ["no such row", str(2**70)]),
        (np.zeros(3, bool), ["mask", "3 booleans", "44, one per row"]),
    ],
)
def test_rows_that_are_not_there(store: MemoryStore, index: Any, texts: list[str]) -> None:
    _, data = uploaded(store, "fixed")
    with pytest.raises(IndexError) as caught:
        data[index]
    assert isinstance(caught.value, UserError)
    assert all(text in str(caught.value) for text in texts), str(caught.value)
    assert store.passes == 0


@pytest.mark.parametrize(
    "index",
    [1.5, "y", None, ..., True, (1, 2), [[1]], [1.0], ["a"], {1}, slice(0, 3, 0), slice("a", 3)],
)
def test_what_is_no_index(store: MemoryStore, index: Any) -> None:
    _, data = uploaded(store, "fixed")
    with pytest.raises(UserError, match=r"no index of rows|no slice of rows") as caught:
        data[index]
    assert not isinstance(caught.value, IndexError)
    assert "valid:" in str(caught.value)


def test_rows_of_several_shapes_are_no_batch(store: MemoryStore) -> None:
    spec = SPECS["open"]
    data = StoredDataset(store, store.upload("u", made(spec), spec=spec, batch_size=4))
    assert data[5][0].shape == (5, 2)
    assert data[4:8][0].shape == (4, 5, 2)
    with pytest.raises(UserError, match="different shapes") as caught:
        data[0:8]
    assert "component 'x'" in str(caught.value)
    assert "dimensions of 1/5" in str(caught.value)
    assert "padding_value" in str(caught.value)


def test_records_that_are_gone_are_an_error(store: MemoryStore) -> None:
    _, data = uploaded(store, "fixed")
    store.delete_records("u")
    with pytest.raises(WorkError):
        data[0]


def test_a_dataset_is_no_iterable_of_rows(store: MemoryStore) -> None:
    """Each row would be a request of its own."""
    _, data = uploaded(store, "fixed")
    with pytest.raises(TypeError, match=r"data\.numpy"):
        iter(data)


def test_a_copy_that_is_not_full_is_left_alone(store: MemoryStore, tmp_path: Path) -> None:
    _, data = uploaded(store, "fixed")
    list(data.numpy(cache="memory"))
    store.delete_records("u")
    assert data[3][1]["a"] == 3
    other = StoredDataset(store, data.stored)
    with pytest.raises(WorkError):
        other[3]


def test_without_tensorflow() -> None:
    code = """
        import sys
        sys.path.insert(0, "tests/helpers")
        import numpy as np
        from memory_store import MemoryStore
        from deeptool.codec.spec import Spec
        from deeptool.codec.structure import Leaf
        from deeptool.reader import StoredDataset
        spec = Spec((Leaf("float32", (None, 2)), Leaf("int64", (None,))))
        y = np.arange(50)
        batches = [(np.stack([y, y], 1).astype("float32"), y % 5)]
        store = MemoryStore()
        data = StoredDataset(store, store.upload("u", batches, spec=spec))
        data[[3, 1]]
        part = data.select(fold=(0, 5), stratify="y", columns="y", held_out=True)
        print(part[:].tolist(), len(list(part.numpy(shuffle=True, batch_size=3))))
        assert not [name for name in sys.modules if name.split(".")[0] in ("tensorflow", "keras")]
    """
    done = subprocess.run(
        [sys.executable, "-c", dedent(code)], cwd=ROOT, capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stderr
    labels, batches = done.stdout.rsplit(" ", 1)
    assert (sorted(map(int, labels[1:-1].split(","))), int(batches)) == (
        [0, 0, 1, 1, 2, 2, 3, 3, 4, 4],
        4,
    )

"""Datasets of very many leaves: about their own size, and read like any other."""

from __future__ import annotations

import json
import time
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from memory_store import MemoryStore

from deeptool.codec.arrow import ArrowCodec
from deeptool.codec.leaf_groups import joined, leaf_groups, parted
from deeptool.codec.records import pack, parse_headers
from deeptool.codec.spec import Spec
from deeptool.codec.structure import MANY, Leaf
from deeptool.codec.values import Leaves, Ragged
from deeptool.errors import WorkError
from deeptool.reader import StoredDataset

COLUMNS = 4200


def table(columns: int = COLUMNS) -> Spec:
    return Spec(
        ({f"c{n}": Leaf("float32", (None,)) for n in range(columns)}, Leaf("int64", (None,)))
    )


def filled(spec: Spec, rows: int, first: int = 0) -> Leaves:
    """Rows that carry their own number; the columns differ."""
    y = np.arange(first, first + rows)
    return (*((y + n / 8192).astype(np.float32) for n in range(len(spec.leaves) - 1)), y)


MIXED = Spec(
    (
        {
            **{f"scalar {n}": Leaf("float32", (None,)) for n in range(MANY)},
            **{f"pair {n}": Leaf("int16", (None, 2)) for n in range(3)},
            **{f"word {n}": Leaf("string", (None,)) for n in range(3)},
            **{f"flag {n}": Leaf("bool", (None, 1, 2)) for n in range(2)},
            "brain": Leaf("bfloat16", (None, 3)),
            "wave": Leaf("complex64", (None,)),
            "wave 2": Leaf("complex64", (None,)),
        },
        Leaf("int64", (None,)),
    )
)


def mixed(spec: Spec, rows: int) -> Leaves:
    rng = np.random.default_rng(3)
    found = []
    for leaf in spec.leaves:
        if leaf.ragged_rank:
            lengths = rng.integers(0, 3, rows)
            splits = np.concatenate([[0], np.cumsum(lengths)])
            found.append(Ragged(rng.random(splits[-1]).astype(np.float32), (splits,)))
            continue
        shape = (rows, *(size or 2 for size in leaf.inner))
        numbers = rng.integers(0, 2, shape) if leaf.dtype == "bool" else rng.integers(0, 99, shape)
        if leaf.dtype == "string":
            texts = np.empty(numbers.size, object)
            texts[:] = [b"%d" % number for number in numbers.reshape(-1)]
            found.append(texts.reshape(shape))
        elif leaf.dtype == "bfloat16":
            import ml_dtypes

            found.append(numbers.astype(ml_dtypes.bfloat16))
        else:
            found.append(numbers.astype(leaf.dtype))
    return tuple(found)


def alike(one: Any, other: Any) -> None:
    if isinstance(one, Ragged):
        np.testing.assert_array_equal(one.flat_values, other.flat_values)
        np.testing.assert_array_equal(one.row_splits[0], other.row_splits[0])
        return
    assert one.dtype == other.dtype
    np.testing.assert_array_equal(one, other)


OPEN = Spec(
    {
        **{f"{n}": Leaf("float32", (None,)) for n in range(MANY)},
        "ragged": Leaf("float32", (None, None), 1),
        "open": Leaf("float32", (None, None)),
    }
)


@pytest.mark.parametrize("spec", [MIXED, OPEN, table(MANY - 2), table(MANY)])
@pytest.mark.parametrize("rows", [1, 5])
def test_all_leaves_come_back(spec: Spec, rows: int) -> None:
    codec, leaves = ArrowCodec(spec), mixed(spec, rows)
    groups = leaf_groups(spec)
    assert codec.columns == len(groups) <= len(spec.leaves)
    for found in (codec.decode(codec.encode(leaves)), parted(groups, joined(groups, leaves))):
        assert len(found) == len(leaves)
        for one, other in zip(found, leaves, strict=True):
            alike(one, other)


def test_leaves_of_one_shape_and_dtype_are_one_column() -> None:
    assert [group.leaf.shape for group in leaf_groups(table())] == [(None, COLUMNS), (None,)]
    members = sorted(len(group.members) for group in leaf_groups(MIXED))
    assert members == [1, 1, 2, 2, 3, 3, MANY]
    assert ArrowCodec(MIXED).columns == 7
    # Few leaves are what they were: a column each, named as the spec names them.
    few = table(8)
    with pa.ipc.open_stream(ArrowCodec(few).encode(filled(few, 3))) as reader:
        assert reader.schema.names == list(few.paths)


def test_a_leaf_of_another_dtype_is_an_error_that_names_it() -> None:
    spec = table(MANY)
    leaves = list(filled(spec, 3))
    leaves[5] = leaves[5].astype(np.float64)
    with pytest.raises(WorkError, match=r"leaf '0/c13' has another dtype"):
        ArrowCodec(spec).encode(tuple(leaves))
    leaves[5] = np.zeros(2, np.float32)
    with pytest.raises(WorkError, match=r"leaf '0/c13' has another number of samples"):
        ArrowCodec(spec).encode(tuple(leaves))


def test_records_of_earlier_releases_have_a_column_a_leaf() -> None:
    spec = table(MANY)
    leaves = filled(spec, 4)
    names = spec.paths
    fields = [
        pa.field(name, pa.from_numpy_dtype(value.dtype), False, {"dtype": str(value.dtype)})
        for name, value in zip(names, leaves, strict=True)
    ]
    batch = pa.RecordBatch.from_arrays(
        [pa.array(value) for value in leaves], schema=pa.schema(fields)
    )
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    for one, other in zip(
        ArrowCodec(spec).decode(sink.getvalue().to_pybytes()), leaves, strict=True
    ):
        alike(one, other)


def test_a_wide_dataset_takes_about_its_own_size() -> None:
    spec = table()
    batches = [filled(spec, 8, first) for first in range(0, 512, 8)]
    records = list(pack(ArrowCodec(spec), batches, upload="u"))
    own = 512 * (4 * COLUMNS + 8)
    assert sum(len(record.value) for record in records) < 1.02 * own
    # Of about the usual size.
    assert own / 2**20 <= len(records) <= 1.3 * own / 2**20
    headers = [parse_headers(record.headers) for record in records]
    assert sum(header.count for header in headers if header) == 512


def test_the_catalog_tells_neighbours_that_are_the_same_once() -> None:
    spec = table()
    text = json.dumps(spec.to_json())
    # The keys, and little else.
    assert len(text) < 12 * COLUMNS
    for spec in (table(), MIXED, OPEN, table(MANY - 2)):
        found = Spec.from_json(json.loads(json.dumps(spec.to_json())))
        assert found == spec
        assert found.paths == spec.paths
        assert str(found.to_tf()) == str(spec.to_tf())
    leaf = Spec(Leaf("int8", (None,))).to_json()["structure"]
    for columns in ([[leaf, ["a", "b", "a"]]], [[leaf, "ab"]], [[leaf, [1]]], [[leaf]], [leaf]):
        with pytest.raises((ValueError, TypeError)):
            Spec.from_json({"batched": True, "structure": {"columns": columns}})


def test_leaves_that_stay_apart_fill_larger_records() -> None:
    spec = Spec({f"c{n}": Leaf("int64", (None, None), 1) for n in range(COLUMNS)})
    splits = np.arange(65)
    leaves = tuple(Ragged(np.arange(64), (splits,)) for _ in range(COLUMNS))
    records = list(pack(ArrowCodec(spec), [leaves] * 4, upload="u"))
    own = 4 * 64 * COLUMNS * 12
    assert sum(len(record.value) for record in records) < 1.4 * own
    assert max(len(record.value) for record in records) < 10 << 20


@pytest.mark.parametrize("size", [None, 16])
@pytest.mark.parametrize("shuffle", [False, True])
def test_a_wide_dataset_is_read_like_any_other(size: int | None, shuffle: bool) -> None:
    store = MemoryStore()
    spec = MIXED
    whole = mixed(spec, 40)
    whole = (*whole[:-1], np.arange(40))
    data = StoredDataset(store, store.upload("u", [whole], spec=spec, batch_size=8))
    dataset = data.tf(batch_size=size, shuffle=shuffle, seed=1)
    assert list(dataset.element_spec[0]) == list(spec.to_tf()[0])
    assert dataset.element_spec == spec.to_tf()
    found = list(dataset.as_numpy_iterator())
    assert len(found) == int(dataset.cardinality()) == -(-40 // (size or 8))
    order = np.concatenate([y for _, y in found])
    assert sorted(order) == list(range(40))
    assert (order.tolist() == list(range(40))) is not shuffle
    for place, key in enumerate(sorted(spec.structure[0])):  # type: ignore[index]
        column = np.concatenate([x[key] for x, _ in found])
        np.testing.assert_array_equal(column, np.asarray(whole[place])[order])


def test_single_wide_samples() -> None:
    store = MemoryStore()
    spec = Spec(table(MANY).structure, batched=False)
    data = StoredDataset(store, store.upload("u", [filled(spec, 5)], spec=spec, batch_size=1))
    found = list(data.tf().as_numpy_iterator())
    assert [int(y) for _, y in found] == list(range(5))
    assert found[3][0]["c7"].shape == ()
    (x, y) = next(data.tf(batch_size=5, drop_remainder=True).as_numpy_iterator())
    assert x["c7"].shape == y.shape == (5,)


@pytest.mark.timed
def test_time_grows_with_the_number_of_leaves() -> None:
    def seconds(columns: int) -> float:
        spec = table(columns)
        codec, leaves = ArrowCodec(spec), filled(spec, 64)
        began = time.perf_counter()
        for _ in range(3):
            codec.decode(codec.encode(leaves))
        return time.perf_counter() - began

    seconds(1000)
    assert seconds(16_000) < 40 * seconds(2000)

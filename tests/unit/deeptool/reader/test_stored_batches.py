"""Batches that cannot be made anew come back as the pipeline made them."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
from memory_store import MemoryStore

from deeptool.codec.records import pack
from deeptool.codec.spec import Spec
from deeptool.codec.structure import Leaf
from deeptool.codec.values import Leaves
from deeptool.errors import WorkError
from deeptool.reader import StoredDataset

OPEN = Spec((Leaf("float32", (None, None)), Leaf("int64", (None,))))
SIZES = [4, 7, 1, 7, 2, 60, 3, 4, 4, 90, 5] * 3


def buckets() -> list[Leaves]:
    """Batches of sizes and lengths of their own; y numbers their samples."""
    found: list[Leaves] = []
    first = 0
    for number, size in enumerate(SIZES):
        y = np.arange(first, first + size)
        found.append((np.full((size, 1 + number % 5), number, np.float32), y))
        first += size
    return found


def read(data: StoredDataset, **options: Any) -> list[tuple[Any, ...]]:
    """Per batch: its shape, what it is filled with, its samples."""
    found = []
    for x, y in data.tf(**options).as_numpy_iterator():
        assert len(np.unique(x)) == 1
        found.append((x.shape, x[0, 0], *y.tolist()))
    return found


def test_batches_of_sizes_of_their_own_keep_their_boundaries() -> None:
    store = MemoryStore()
    data = StoredDataset(store, store.upload("u", buckets(), spec=OPEN))
    made = [(x.shape, x[0, 0], *y.tolist()) for x, y in buckets()]
    assert read(data) == made
    shuffled = [read(data, shuffle=True, seed=seed) for seed in (1, 2)]
    assert [sorted(one, key=lambda batch: batch[2]) for one in shuffled] == [made, made]
    assert made != shuffled[0] != shuffled[1]
    assert data.elements(0) == int(data.tf(shuffle=True).cardinality()) == len(SIZES)
    # With a value to pad with, others can be made.
    padded = data.tf(batch_size=16, padding_value=0)
    assert int(padded.cardinality()) == -(-sum(SIZES) // 16) == len(list(padded))


def test_batches_that_no_record_holds_come_in_parts_where_they_are_shuffled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("memory_store.pack", partial(pack, max_bytes=8_000))
    store = MemoryStore()
    large = [(np.full((40, 99), n, np.float32), np.arange(40 * n, 40 * n + 40)) for n in range(5)]
    data = StoredDataset(store, store.upload("u", large, spec=OPEN))
    assert data.elements(0) is None
    assert [len(batch) - 2 for batch in read(data)] == [40] * 5
    parts = read(data, shuffle=True, seed=1)
    assert len(parts) > 5
    assert sorted(y for part in parts for y in part[2:]) == list(range(200))


def test_uploads_of_earlier_releases_are_read_as_before() -> None:
    store = MemoryStore()
    batches = [(np.ones((4, 3), np.float32), np.arange(n, n + 4)) for n in range(0, 22, 4)]
    stored = store.upload("u", batches, spec=OPEN)
    _forget_ends(store)
    upload = stored.shards[0].upload
    assert upload.completed is not None
    object.__setattr__(upload.completed.epochs[0], "batches", None)
    data = StoredDataset(store, stored)
    assert [len(batch) - 2 for batch in read(data)] == [4] * 6
    assert data.elements(0) is None
    assert int(data.tf().cardinality()) == -2


def test_ends_that_are_lost_are_an_error() -> None:
    store = MemoryStore()
    data = StoredDataset(store, store.upload("u", buckets(), spec=OPEN))
    _forget_ends(store)
    with pytest.raises(WorkError, match="did not come back"), data.meter.raising():
        list(data.tf())


def _forget_ends(store: MemoryStore) -> None:
    """As records without the header ``ends``."""
    for records in store.lanes.values():
        for record in records:
            assert record is not None
            object.__setattr__(record.header, "ends", None)

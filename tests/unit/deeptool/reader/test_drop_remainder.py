"""Batches of exactly one size, where the pipeline made such or where they are asked for."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from memory_store import MemoryStore

from deeptool.catalog.stored import Stored
from deeptool.codec.spec import Spec
from deeptool.codec.structure import Leaf
from deeptool.codec.values import Leaves
from deeptool.errors import UserError
from deeptool.producer.ledger import Ledger
from deeptool.reader import StoredDataset

FREE = Spec((Leaf("float32", (None, 2)), Leaf("int64", (None,))))
EXACT = FREE.with_rows(8)
# As padded_batch(drop_remainder=True) makes them.
OPEN = Spec((Leaf("float32", (8, None)), Leaf("int64", (8,))))
RAGGED = Spec((Leaf("float32", (8, None), 1), Leaf("int64", (8,))))


def batches(rows: int, size: int = 8, columns: int = 2) -> list[Leaves]:
    y = np.arange(rows, dtype=np.int64)
    x = np.repeat(y[:, None], columns, axis=1).astype(np.float32)
    return [(x[i : i + size], y[i : i + size]) for i in range(0, rows, size)]


def widening(rows: int) -> list[Leaves]:
    """The same samples, each batch of another width."""
    return [
        (np.repeat(x[:, :1], 1 + number % 3, axis=1), y)
        for number, (x, y) in enumerate(batches(rows))
    ]


def of(store: MemoryStore, *rows: int, spec: Spec = EXACT, **facts: Any) -> StoredDataset:
    epochs = [widening(count) if spec.open_paths else batches(count) for count in rows]
    stored = store.upload("u", *epochs, spec=spec, **{"batch_size": 8, **facts})
    return StoredDataset(store, stored)


def sizes(dataset: Any) -> list[int]:
    return [len(y) for _, y in dataset]


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.mark.parametrize("codec", ["arrow", "example"])
@pytest.mark.parametrize("size", [8, 16, 3])
@pytest.mark.parametrize("shuffle", [False, True])
def test_a_pipeline_of_whole_batches_gives_whole_batches_of_any_size(
    store: MemoryStore, codec: str, size: int, shuffle: bool
) -> None:
    data = of(store, 20, 30, codec=codec)
    dataset = data.tf(batch_size=size, shuffle=shuffle, repeat=2)
    assert [spec.shape[0] for spec in dataset.element_spec] == [size, size]
    assert sizes(dataset) == [size] * (20 // size + 30 // size)
    assert int(dataset.cardinality()) == 20 // size + 30 // size
    assert [data.elements(k, batch_size=size) for k in range(2)] == [20 // size, 30 // size]
    assert data.drops_remainder(batch_size=size)


def test_what_is_left_out_is_said(store: MemoryStore, caplog: pytest.LogCaptureFixture) -> None:
    data = of(store, 20)
    with caplog.at_level(logging.WARNING):
        data.tf()
    assert "4 of 20 samples are left out" in caplog.text
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        data.tf(batch_size=5)
        data.tf(drop_remainder=True)
        data.tf(drop_remainder=False)
        of(store, 20, spec=FREE, proc_id=1).tf()
    assert not caplog.text


def test_the_remainder_can_be_asked_for(store: MemoryStore) -> None:
    data = of(store, 20)
    dataset = data.tf(drop_remainder=False)
    assert dataset.element_spec[0].shape.as_list() == [None, 2]
    assert sizes(dataset) == [8, 8, 4]
    assert data.elements(0, drop_remainder=False) == 3
    # Where there is none, the shape is the pipeline's.
    assert of(store, 16, proc_id=1).tf(drop_remainder=False).element_spec[0].shape[0] == 8


def test_any_other_pipeline_has_its_remainder(store: MemoryStore) -> None:
    data = of(store, 20, spec=FREE)
    assert sizes(data.tf()) == [8, 8, 4]
    dropped = data.tf(drop_remainder=True)
    assert dropped.element_spec[1].shape.as_list() == [8]
    assert sizes(dropped) == [8, 8]


def test_single_samples_have_no_remainder(store: MemoryStore) -> None:
    data = of(store, 20, spec=replace(FREE, batched=False), batch_size=1)
    assert len(list(data.tf(drop_remainder=True))) == 20
    assert not data.drops_remainder(drop_remainder=True)


@pytest.mark.parametrize("spec", [OPEN, RAGGED])
@pytest.mark.parametrize("shuffle", [False, True])
def test_whole_batches_of_open_dimensions_come_as_they_were(
    store: MemoryStore, spec: Spec, shuffle: bool
) -> None:
    if spec is RAGGED:
        made = [(_ragged(x), y) for x, y in batches(20)]
        data = StoredDataset(store, store.upload("u", made, spec=spec, batch_size=8))
    else:
        data = of(store, 20, 19, spec=spec)
    dataset = data.tf(shuffle=shuffle)
    assert [spec.shape[0] for spec in dataset.element_spec] == [8, 8]
    assert sizes(dataset) == [8, 8]
    assert int(dataset.cardinality()) == data.elements(0) == 2
    # Others, of another size.
    padded = data.tf(shuffle=shuffle, batch_size=5, padding_value=0 if spec is OPEN else None)
    assert [spec.shape[0] for spec in padded.element_spec] == [5, 5]


def _ragged(x: Any) -> Any:
    from deeptool.codec.values import Ragged

    return Ragged(x.reshape(-1), (np.arange(len(x) + 1) * x.shape[1],))


def test_batches_of_sizes_of_their_own_have_no_remainder(store: MemoryStore) -> None:
    data = of(store, 20, spec=OPEN.with_rows(None))
    assert sizes(data.tf()) == [8, 8, 4]
    with pytest.raises(UserError, match="batches that deeptool makes") as caught:
        data.tf(drop_remainder=True)
    assert "padding_value" in str(caught.value)
    assert sizes(data.tf(drop_remainder=True, padding_value=0)) == [8, 8]


def test_a_part_of_a_pass_has_a_remainder_of_its_own(store: MemoryStore) -> None:
    data = of(store, 30)
    parts = [data.tf(num_shards=2, index=index) for index in range(2)]
    assert [sizes(part) for part in parts] == [[8], [8]]
    assert [int(part.cardinality()) for part in parts] == [1, 1]
    # A part may begin within a batch: those that cannot be made anew come in pieces.
    opened = of(store, 30, spec=OPEN, proc_id=1)
    assert sum(sizes(opened.tf(num_shards=2, index=1))) == 15


@pytest.mark.parametrize("spec", [EXACT, OPEN])
def test_shards_that_end_within_a_batch(store: MemoryStore, spec: Spec) -> None:
    made = widening if spec is OPEN else batches
    shards = [
        store.upload(
            f"u{number}", made(rows), spec=spec, proc_id=number, num_procs=2, batch_size=8
        ).shards[0]
        for number, rows in enumerate([20, 12])
    ]
    data = StoredDataset(store, Stored("s", "train", tuple(shards)))
    dataset = data.tf()
    # Rows of both go together where other batches are made.
    whole = 4 if spec is EXACT else 3
    assert sizes(dataset) == [8] * whole
    assert int(dataset.cardinality()) == data.elements(0) == whole


@pytest.mark.parametrize("spec", [EXACT, OPEN])
@pytest.mark.parametrize("repeat", [1, None])
def test_fewer_samples_than_one_batch_are_an_error(
    store: MemoryStore, spec: Spec, repeat: int | None
) -> None:
    data = of(store, 16, 7, spec=spec)
    with pytest.raises(UserError, match="leaves no batch") as caught:
        data.tf(repeat=repeat)
    assert "7 samples of 's', split 'train'" in str(caught.value)
    assert "at least 8" in str(caught.value)
    with pytest.raises(UserError, match="leaves no batch"):
        of(store, 4, spec=FREE, proc_id=1).tf(drop_remainder=True)


@pytest.mark.parametrize("spec", [EXACT, OPEN])
def test_an_upload_under_way_gives_whole_batches_too(store: MemoryStore, spec: Spec) -> None:
    event, ledger = store.begin("u", spec, batch_size=8), Ledger()
    store.send(event, widening(20) if spec is OPEN else batches(20), ledger)
    data = StoredDataset(store, store.found(event), follow=True)
    dataset = data.tf()
    assert [spec.shape[0] for spec in dataset.element_spec] == [8, 8]
    assert int(dataset.cardinality()) == -2
    assert sizes(dataset) == [8, 8]
    store.complete(event, ledger)
    assert sizes(dataset) == [8, 8]

"""Shuffled passes: the places of the order, each once, wherever an upload cut its records."""

from __future__ import annotations

import dataclasses
import logging
from typing import Any

import numpy as np
import pytest
from memory_store import MemoryStore

from deeptool import Ragged
from deeptool.catalog.stored import Stored
from deeptool.codec.spec import Spec
from deeptool.codec.structure import Leaf
from deeptool.codec.values import Leaves, rows
from deeptool.errors import UserError, WorkError
from deeptool.orders import row_groups, windowed_order
from deeptool.reader import StoredDataset
from deeptool.reader.read_request import ReadRequest, prepared
from deeptool.rows import record_table
from deeptool.rows.broker_rows import BrokerRows
from deeptool.rows.pass_copies import PassCopies
from deeptool.rows.pass_rows import decoder_for
from deeptool.rows.read_plan import MemoryShares, ReadPlan
from deeptool.rows.row_pool import RowPool
from deeptool.store.read_meter import ReadMeter

# Shards of different sizes; two stored epochs, of different sizes as well.
SIZES = [[700, 512], [300, 601]]
FIXED = Spec((Leaf("float32", (None, 3)), Leaf("int64", (None,))))
SPECS = {
    "fixed": FIXED,
    "text": Spec((Leaf("string", (None,)), Leaf("int64", (None,)))),
    "ragged": Spec((Leaf("int32", (None, None), 1), Leaf("int64", (None,)))),
    "empty": Spec((Leaf("float32", (None, 0)), Leaf("int64", (None,)))),
}


@pytest.fixture(autouse=True)
def small_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    """About 100 to 200 rows."""
    monkeypatch.setattr(row_groups, "GROUP_BYTES", 5000)


def batches(spec: Spec, first: int, count: int, size: int) -> list[Leaves]:
    """Rows whose last component is their number."""
    found: list[Leaves] = []
    for low in range(first, first + count, size):
        numbers = np.arange(low, min(low + size, first + count))
        leaf, lengths = spec.leaves[0], numbers % 5
        value: Any
        if leaf.ragged_rank:
            splits = np.concatenate([[0], np.cumsum(lengths)])
            value = Ragged(np.repeat(numbers, lengths).astype("int32"), (splits,))
        elif leaf.dtype == "string":
            value = np.array([b"%d" % n * (n % 5) for n in numbers.tolist()], object)
        else:
            value = numbers[:, None].repeat(leaf.shape[1] or 0, axis=1).astype("float32")
        found.append((value, numbers))
    return found


def stored_in(store: MemoryStore, spec: Spec = FIXED, size: int = 20) -> Stored:
    """Row numbers go on from shard to shard, and each epoch begins at a million of its own."""
    shards = []
    for proc_id in range(len(SIZES[0])):
        epochs = [
            batches(spec, 1_000_000 * k + sum(counts[:proc_id]), counts[proc_id], size)
            for k, counts in enumerate(SIZES)
        ]
        shards += store.upload(
            f"u{proc_id}", *epochs, spec=spec, proc_id=proc_id, num_procs=2
        ).shards
    return Stored("s", "train", tuple(shards))


def opened(target_bytes: int, spec: Spec = FIXED, size: int = 20) -> StoredDataset:
    store = MemoryStore(target_bytes)
    return StoredDataset(store, stored_in(store, spec, size))


def numbers(data: StoredDataset, **request: Any) -> list[int]:
    found: list[int] = []
    for first, last in data.numpy(batch_size=32, **{"cache": "off", **request}):
        for row, number in enumerate(last.tolist()):
            assert_row(first, row, number)
        found += last.tolist()
    return found


def assert_row(value: Any, row: int, number: int) -> None:
    """The other component is that of the same row."""
    if isinstance(value, Ragged):
        part = value.flat_values[value.row_splits[0][row] : value.row_splits[0][row + 1]]
        assert part.tolist() == [number] * (number % 5)
    elif value.dtype == object:
        assert value[row] == b"%d" % number * (number % 5)
    else:
        assert set(value[row].tolist()) <= {float(number)}


@pytest.mark.parametrize("kind", sorted(SPECS))
@pytest.mark.parametrize("num_shards", [1, 3])
def test_records_do_not_matter(kind: str, num_shards: int) -> None:
    spec = SPECS[kind]
    data = [opened(800, spec), opened(4000, spec, size=7), opened(100_000, spec, size=300)]
    cuts = {shard.upload.completed.epochs[0].records for one in data for shard in one.stored.shards}
    assert len(cuts) >= 4
    for k in range(3):
        together: list[int] = []
        for index in range(num_shards):
            request = {"num_shards": num_shards, "index": index, "first_epoch": k}
            found = [numbers(one, shuffle=True, seed=7, **request) for one in data]
            assert found[0] == found[1] == found[2]
            plan = ReadPlan(data[0].store, data[0].stored, MemoryShares(1), num_shards, index, 7)
            order = plan.windowed_order(k)
            assert len(order.groups()) >= 3
            wanted = order.rows(0, order.samples) + 1_000_000 * (k % 2)
            assert found[0] == wanted.tolist()
            together += found[0]
        assert sorted(together) == [n + 1_000_000 * (k % 2) for n in range(sum(SIZES[k % 2]))]


def test_each_record_is_read_once_where_memory_allows() -> None:
    data = opened(900)
    numbers(data, shuffle=True, seed=1)
    epoch = [shard.upload.completed.epochs[0] for shard in data.stored.shards]
    assert data.meter.records == sum(one.records for one in epoch)
    assert data.meter.samples == sum(one.samples for one in epoch)


def rows_of(data: StoredDataset, meter: ReadMeter, **other: Any) -> BrokerRows:
    request = ReadRequest(batch_size=32, shuffle=True, seed=7, memory_bytes=8 << 20)
    plan, form = prepared(data.store, data.stored, False, request, PassCopies())
    order = plan.windowed_order(0)
    made = BrokerRows(
        plan.store,
        plan.record_table(0),
        order,
        decoder_for(form),
        32,
        plan.sample_bytes,
        plan.memory,
        plan.window,
        meter,
    )
    return dataclasses.replace(made, **other)


@pytest.mark.parametrize("target_bytes", [900, 4000, 100_000])
@pytest.mark.parametrize("memory", [1, 10_000, 1 << 20])
def test_any_memory_and_any_start(target_bytes: int, memory: int) -> None:
    """With little memory, records are read several times: the order stays."""
    data, meter = opened(target_bytes), ReadMeter()
    read = rows_of(data, meter, memory=MemoryShares(memory))
    wanted = read.order.rows(0, 1212).tolist()
    chunks = list(read.chunks())
    assert [n for chunk in chunks for n in chunk[1].tolist()] == wanted
    records = len(read.table.firsts)
    assert meter.records >= records
    assert (meter.records == records) == (memory == 1 << 20 and target_bytes == 900)
    for start in (1, 60, 311, 312, 1000, 1211, 1212):
        assert [n for chunk in read.chunks(start) for n in chunk[1].tolist()] == wanted[start:]


def test_the_first_rows_come_early(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deeptool.rows.broker_rows._GIVEN_BYTES", 500)
    data, meter = opened(300), ReadMeter()
    chunks = rows_of(data, meter).chunks()
    first = next(chunks)
    assert rows(first) < 40
    assert meter.samples < 1212 / 2
    chunks.close()


# Also where one of them has fewer rows than a batch.
@pytest.mark.parametrize("wanted", [45, 10])
def test_chunks_end_with_batches(monkeypatch: pytest.MonkeyPatch, wanted: int) -> None:
    read = rows_of(opened(4000), ReadMeter())
    monkeypatch.setattr("deeptool.rows.broker_rows._GIVEN_BYTES", wanted * read.sample_bytes)
    ends = np.cumsum([rows(chunk) for chunk in read.chunks()]).tolist()
    groups = {group.stop for group in read.order.groups()}
    assert {end for end in ends if end % 32} <= groups
    assert len(ends) >= 1212 // 45


@pytest.mark.parametrize("shuffle", [False, True])
def test_resuming_reads_what_is_left(shuffle: bool) -> None:
    data = opened(900)
    whole = numbers(data, shuffle=shuffle, seed=3, first_epoch=1)
    before = data.meter.samples
    assert before == 901
    assert numbers(data, shuffle=shuffle, seed=3, start=(1, 25)) == whole[800:]
    # 101 rows, and those of the same records or, shuffled, of the same group.
    assert data.meter.samples - before < (600 if shuffle else 150)
    tensors = data.tf(batch_size=32, shuffle=shuffle, seed=3, start=(1, 25), repeat=2, cache="off")
    following = numbers(data, shuffle=shuffle, seed=3, first_epoch=2)
    found = [n for _, y in tensors.as_numpy_iterator() for n in y.tolist()]
    assert found == whole[800:] + following


def test_lists_of_a_long_pass_are_made_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = numbers(opened(600), shuffle=True, seed=3)
    monkeypatch.setattr("deeptool.rows.broker_rows._RECORDS_LISTED", 50)
    data = opened(600)
    assert numbers(data, shuffle=True, seed=3) == wanted
    assert data.store.passes >= 3


def without_lists(data: StoredDataset) -> StoredDataset:
    """As an earlier release stored it."""
    for shard in data.stored.shards:
        for epoch in shard.upload.completed.epochs:
            object.__setattr__(epoch, "record_runs", None)
    return data


def test_uploads_of_earlier_releases_are_read_in_the_same_order(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(record_table, "_HEADERS", record_table._HeadersOnce())
    data = without_lists(opened(900))
    with caplog.at_level(logging.WARNING):
        for k in (0, 0, 1):
            found = numbers(data, shuffle=True, seed=7, first_epoch=k)
            assert found == numbers(opened(2000), shuffle=True, seed=7, first_epoch=k)
    # A part of a pass that is not shuffled looks up only where it begins.
    parts = [numbers(data, num_shards=3, index=index) for index in range(3)]
    found = [number for part in parts for number in part]
    assert found == numbers(opened(2000)) == list(range(1212))
    # Both shards of both stored epochs, once each.
    assert [record.message.count("the catalog does not list") for record in caplog.records] == [
        1
    ] * 4
    assert data.store.passes == 3 + 4 + 3


def test_a_record_that_is_missing_is_an_error() -> None:
    data = opened(900)
    data.store.delete_records("u1")
    with pytest.raises(WorkError, match="deleted or replaced while it was read"):
        numbers(data, shuffle=True, seed=7)


def test_a_record_of_other_samples_is_an_error() -> None:
    data = opened(900)
    lane, records = next(iter(data.store.lanes.items()))
    header = dataclasses.replace(records[2].header, first=0)
    records[2] = records[2]._replace(header=header)
    with pytest.raises(WorkError, match="other samples than the catalog says") as caught:
        numbers(data, shuffle=True, seed=7)
    assert f"{lane}" in str(caught.value)
    assert "offset 2" in str(caught.value)


def test_a_catalog_that_lists_a_sample_twice_is_an_error() -> None:
    data = opened(900)
    epoch = data.stored.shards[0].upload.completed.epochs[0]
    runs = {p: tuple(of) for p, of in epoch.record_runs.items()}
    records, count, jump, step = runs[1][0]
    runs[1] = ((records, count, jump - 1, step), *runs[1][1:])
    object.__setattr__(epoch, "record_runs", runs)
    with pytest.raises(WorkError, match="does not hold each sample once"):
        numbers(data, shuffle=True, seed=7)


def test_memory_does_not_change_the_order_but_may_be_too_small(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert numbers(opened(900), shuffle=True, seed=7, memory_bytes=8 << 20) == numbers(
        opened(900), shuffle=True, seed=7, memory_bytes=1 << 30
    )
    monkeypatch.setattr(row_groups, "GROUP_BYTES", 1 << 30)
    monkeypatch.setattr(windowed_order, "FIRST_GROUP_SHARE", 1)
    rows_of_3_mb = Spec((Leaf("uint8", (None, 3 << 20)), Leaf("int64", (None,))))
    store = MemoryStore(64 << 20)
    data = StoredDataset(
        store,
        store.upload("u", [(np.zeros((5, 3 << 20), "u1"), np.arange(5))], spec=rows_of_3_mb),
    )
    for ask in (data.numpy, data.tf):
        with pytest.raises(UserError, match="too small to shuffle") as caught:
            ask(shuffle=True, seed=1, memory_bytes=16 << 20)
        least = int(str(caught.value).split("at least ")[1].split(":")[0])
        assert 5 * (3 << 20) * 4 / 3 < least < 5 * (3 << 20) * 4 / 3 + 100
    assert sorted(n for _, y in data.numpy(shuffle=True, memory_bytes=least) for n in y) == [
        *range(5)
    ]


def test_a_pool_gives_back_what_was_put_in() -> None:
    pool, rng, held = RowPool(50), np.random.default_rng(0), {}
    number = 0
    for _ in range(300):
        count = int(rng.integers(0, pool.free + 1))
        values = np.arange(number, number + count)
        leaves = values[:, None] * np.ones(3, "float32"), values.astype("int16") % 99
        held.update(zip(pool.put(leaves).tolist(), values.tolist(), strict=True))
        number += count
        chosen = rng.permutation(list(held))[: int(rng.integers(0, len(held) + 1))]
        first, last = pool.take(chosen.astype(np.int64))
        wanted = np.array([held.pop(slot) for slot in chosen.tolist()], "float32")
        np.testing.assert_array_equal(first, wanted.reshape(-1, 1) * np.ones(3))
        np.testing.assert_array_equal(last, wanted.astype("int64") % 99)
        assert pool.free == 50 - len(held)

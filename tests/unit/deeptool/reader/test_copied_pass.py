"""What is read from a copy is what is read from the broker, in the same order."""

from __future__ import annotations

import errno
import gc
import logging
import os
from pathlib import Path
from typing import Any

import pytest
from memory_store import MemoryStore
from test_numpy_batches import FIXED, ROWS, SPECS, leaves_of, made

from deeptool.codec.spec import Spec
from deeptool.codec.structure import Leaf
from deeptool.codec.values import Leaves
from deeptool.columns.fixed_columns import FixedColumns
from deeptool.errors import UserError, WorkError
from deeptool.reader import StoredDataset

# Of which a pass is several groups.
LARGE = Spec((Leaf("float32", (None, 200_000)), {"a": Leaf("int64", (None,))}))


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


def uploaded(store: MemoryStore, name: str) -> tuple[Spec, StoredDataset]:
    spec, even = SPECS[name], name == "open, one size"
    epochs = [made(spec, rows, even=even) for rows in (ROWS, 30)]
    return spec, StoredDataset(store, store.upload("u", *epochs, spec=spec, batch_size=4))


def numbers(batches: Any) -> list[int]:
    return [int(number) for _, labels in batches for number in labels["a"]]


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("name", SPECS)
def test_a_copy_changes_no_order(
    store: MemoryStore, tmp_path: Path, name: str, shuffle: bool
) -> None:
    spec, data = uploaded(store, name)
    how: dict[str, Any] = {"shuffle": shuffle, "seed": 5, "repeat": 4, "order": "windowed"}
    options: list[dict[str, Any]] = [{}, {"num_shards": 3, "index": 1}, {"start": (1, 2)}]
    if "open" in name and name != "open, one size":
        options += [{"batch_size": 5, "padding_value": b"-" if name == "open text" else 7}]
    else:
        options += [{"batch_size": 5}]
    for option in options:
        broker = data.numpy(**how, **option, cache="off")
        expected = [leaves_of(spec, element) for element in broker]
        for cache in (tmp_path, "memory"):
            copied = data.numpy(**how, **option, cache=cache)
            assert [leaves_of(spec, each) for each in copied] == expected
        in_graph = data.tf(**how, **option, cache=tmp_path)
        assert [leaves_of(spec, each) for each in in_graph] == expected


def test_a_copy_is_read_without_the_broker(store: MemoryStore, tmp_path: Path) -> None:
    data = StoredDataset(store, store.upload("u", made(FIXED), spec=FIXED))
    first = numbers(data.numpy(shuffle=True, seed=1, cache=tmp_path))
    assert data.meter.samples == ROWS
    read = data.meter.records, data.meter.bytes
    assert min(read) > 0
    store.delete_records("u")
    for _ in range(2):
        other = StoredDataset(store, data.stored)
        assert numbers(other.numpy(shuffle=True, seed=1, cache=tmp_path)) == first
        assert (other.meter.samples, other.meter.records) == (ROWS, 0)
        # Nor is a copy of the copy made in memory, for a pass that is shuffled as a whole.
        whole = numbers(other.numpy(shuffle=True, seed=1, cache=tmp_path, order="global"))
        assert sorted(whole) == list(range(ROWS))
        assert len(other.copies._open) == 1
        assert (other.meter.samples, other.meter.records) == (2 * ROWS, 0)
    with pytest.raises(WorkError):
        numbers(data.numpy(shuffle=True, seed=1, cache="off"))


def test_all_rows_of_a_pass_are_shuffled_once_it_was_read(
    store: MemoryStore, tmp_path: Path
) -> None:
    data = StoredDataset(store, store.upload("u", made(LARGE), spec=LARGE))
    how: dict[str, Any] = {"shuffle": True, "seed": 1}
    auto = [numbers(data.numpy(**how, cache=tmp_path, first_epoch=k)) for k in range(3)]
    windowed = [numbers(data.numpy(**how, cache="off", first_epoch=k)) for k in range(3)]
    whole = [
        numbers(data.numpy(**how, cache=tmp_path, order="global", first_epoch=k)) for k in range(3)
    ]
    assert auto == [windowed[0], *whole[1:]]
    assert all(sorted(found) == list(range(ROWS)) for found in (*auto, *windowed, *whole))
    assert len({tuple(found) for found in (*windowed, *whole)}) == 6
    # Workers have parts of such a pass, whatever their seeds.
    parts = [
        numbers(
            data.numpy(
                shuffle=True, seed=index, cache=tmp_path, first_epoch=2, num_shards=3, index=index
            )
        )
        for index in range(3)
    ]
    assert sorted(number for part in parts for number in part) == list(range(ROWS))


def test_a_dataset_that_nobody_reads_any_more_has_no_file_open(
    store: MemoryStore, tmp_path: Path
) -> None:
    stored = store.upload("u", made(FIXED), spec=FIXED)

    def read() -> None:
        data = StoredDataset(store, stored)
        assert numbers(data.numpy(shuffle=True, seed=1, cache=tmp_path))
        assert data[[1]]

    read()
    gc.collect()
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        read()
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) == before


def test_without_a_place_for_a_copy(
    store: MemoryStore, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """One warning; the same order from the broker, or from a copy in memory."""
    file = tmp_path / "file"
    file.write_text("no folder")
    data = StoredDataset(store, store.upload("u", made(FIXED), spec=FIXED))
    how: dict[str, Any] = {"shuffle": True, "seed": 1, "repeat": 3}
    with caplog.at_level(logging.WARNING):
        found = numbers(data.numpy(**how, cache=file))
        assert len([r for r in caplog.records if "no local copy" in r.getMessage()]) == 1
    assert found == numbers(data.numpy(**how, cache=tmp_path))


@pytest.mark.parametrize("order", ["windowed", "global"])
def test_the_disk_is_full_before_a_copy_is(
    store: MemoryStore,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    order: str,
) -> None:
    """The rest of the pass comes from the broker, or from memory; no row twice."""
    data = StoredDataset(store, store.upload("u", made(LARGE), spec=LARGE))
    how: dict[str, Any] = {"shuffle": True, "seed": 1, "batch_size": 4, "order": order}
    expected = numbers(data.numpy(**how, cache="memory"))
    written, write = [0], FixedColumns.write

    def full(self: FixedColumns, first: int, leaves: Leaves) -> Any:
        written[0] += 1
        if written[0] == 12:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(self, first, leaves)

    monkeypatch.setattr(FixedColumns, "write", full)
    other = StoredDataset(store, data.stored)
    assert numbers(other.numpy(**how, cache=tmp_path)) == expected
    assert len([r for r in caplog.records if "too full" in r.getMessage()]) == 1
    assert not list(tmp_path.rglob("rows"))
    # Not tried again by this process.
    assert numbers(other.numpy(**how, cache=tmp_path)) == expected
    assert len(caplog.records) == 1


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"order": "random"}, "unknown order"),
        ({"order": "global", "cache": "off"}, "needs a local copy"),
    ],
)
def test_what_cannot_be(store: MemoryStore, options: Any, text: str) -> None:
    data = StoredDataset(store, store.upload("u", made(FIXED), spec=FIXED))
    with pytest.raises(UserError, match=text):
        data.numpy(shuffle=True, **options)


def test_damage_in_the_store_reaches_who_reads_the_copy(store: MemoryStore, tmp_path: Path) -> None:
    data = StoredDataset(store, store.upload("u", made(FIXED), spec=FIXED))
    store.delete_records("u")
    with pytest.raises(WorkError):
        numbers(data.numpy(cache=tmp_path))

"""Selected rows with PyTorch: workers and ranks share them, and positions belong to a selection."""

from __future__ import annotations

from itertools import chain
from typing import Any

import numpy as np
import pytest
from memory_store import MemoryStore

from deeptool.errors import UserError
from deeptool.reader import StoredDataset

torch = pytest.importorskip("torch", reason="PyTorch has an environment: make test-torch")
pytestmark = pytest.mark.torch
data_loading = pytest.importorskip("torch.utils.data", reason="PyTorch: make test-torch")

ROWS = 53
HOW: dict[str, Any] = {"batch_size": 4, "shuffle": True, "seed": 1}


@pytest.fixture
def data() -> StoredDataset:
    y, store = np.arange(ROWS), MemoryStore(target_bytes=900)
    x = np.repeat(y[:, None], 2, axis=1).astype(np.float32)
    batches = [(x[n : n + 4], y[n : n + 4]) for n in range(0, ROWS, 4)]
    return StoredDataset(store, store.upload("u", batches))


def numbers(reading: Any) -> list[int]:
    return [n for _, y in reading for n in y.tolist()]


@pytest.mark.parametrize("workers", [0, 1, 2, 3])
@pytest.mark.parametrize("cache", ["off", "auto"])
def test_workers_read_each_selected_row_once(data: StoredDataset, workers: int, cache: str) -> None:
    part = data.select(fold=(1, 4))
    expected = sorted(numbers(part.numpy()))
    batches = part.torch(**HOW, cache=cache)
    reading = data_loading.DataLoader(batches, batch_size=None, num_workers=workers)
    passes = [numbers(reading) for _ in range(3)]
    assert all(sorted(found) == expected for found in passes)
    assert passes[0] != passes[1] != passes[2]
    assert len(batches) == len(list(reading)) == -(-len(expected) // 4)


def test_ranks_read_each_selected_row_once(data: StoredDataset) -> None:
    part = data.select(fraction=0.5, columns="y")
    parts = [
        [n for y in part.torch(**HOW, num_shards=3, index=index) for n in y.tolist()]
        for index in range(3)
    ]
    assert sorted(chain(*parts)) == part[:].tolist()


def test_a_position_belongs_to_a_selection(data: StoredDataset) -> None:
    part = data.select(fold=(0, 4))
    batches = part.torch(**HOW)
    whole = numbers(batches)
    reading = iter(part.torch(**HOW))
    taken = [next(reading) for _ in range(3)]
    batches = part.torch(**HOW, start=(0, 3))
    state = batches.state_dict()
    same = data.select(fold=(0, 4)).torch(**HOW)
    same.load_state_dict(state)
    assert numbers(taken) + numbers(same) == whole
    for other in (data, data.select(fold=(1, 4)), part.select(columns=["y"])):
        with pytest.raises(UserError, match="belongs to something else") as caught:
            other.torch(**HOW).load_state_dict(state)
        assert "selection" in str(caught.value)


def test_states_of_earlier_releases_are_of_whole_datasets(data: StoredDataset) -> None:
    state = data.torch(**HOW, start=(1, 2)).state_dict()
    del state["selection"]
    data.torch(**HOW).load_state_dict(state)
    with pytest.raises(UserError, match="belongs to something else"):
        data.select(fraction=0.5).torch(**HOW).load_state_dict(state)

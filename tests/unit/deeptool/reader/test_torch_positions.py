"""A position says how far the loop has come; another reading begins there, or says why not."""

from __future__ import annotations

import json
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
HOW: dict[str, Any] = {"batch_size": 5, "shuffle": True, "seed": 1}


def uploaded(upload: str = "u") -> StoredDataset:
    y, store = np.arange(ROWS), MemoryStore()
    x = np.repeat(y[:, None], 2, axis=1).astype(np.float32)
    batches = [(x[n : n + 4], y[n : n + 4]) for n in range(0, ROWS, 4)]
    return StoredDataset(store, store.upload(upload, batches))


@pytest.fixture
def data() -> StoredDataset:
    return uploaded()


def loader(batches: Any, workers: int = 0, **options: Any) -> Any:
    return data_loading.DataLoader(batches, batch_size=None, num_workers=workers, **options)


def numbers(reading: Any) -> list[list[int]]:
    return [y.tolist() for _, y in reading]


def passes(data: StoredDataset, count: int = 3, **how: Any) -> list[list[list[int]]]:
    batches = data.torch(**{**HOW, **how})
    return [numbers(batches) for _ in range(count)]


@pytest.mark.parametrize("cut", range(0, 12))
def test_what_comes_behind_a_position_is_what_would_have_come(
    data: StoredDataset, cut: int
) -> None:
    whole = passes(data)
    batches = data.torch(**HOW)
    assert numbers(loader(batches)) == whole[0]
    state = batches.state_dict()
    assert (state["epoch"], state["batch"]) == (0, 11)
    taken = []
    for _, y in loader(batches):
        if len(taken) == cut:
            break
        taken.append(y.tolist())
        state = json.loads(json.dumps(batches.state_dict()))
        assert (state["epoch"], state["batch"]) == (1, len(taken))
    assert taken == whole[1][:cut]
    resumed = data.torch(**HOW)
    resumed.load_state_dict(state)
    assert resumed.state_dict() == state
    left = [] if cut == 0 else whole[1][cut:]
    assert numbers(loader(resumed)) == left
    assert numbers(loader(resumed)) == whole[1 if cut == 0 else 2]


def test_before_the_first_element_it_is_where_an_iterator_would_begin(data: StoredDataset) -> None:
    state = data.torch(**HOW, start=(4, 2)).state_dict()
    assert (state["epoch"], state["batch"]) == (4, 2)
    batches = data.torch(**HOW)
    batches.set_epoch(7)
    assert batches.state_dict()["epoch"] == 7
    iter(batches)
    assert batches.state_dict()["epoch"] == 7


def test_one_worker_can_go_on_where_none_was(data: StoredDataset) -> None:
    whole = passes(data)
    batches = data.torch(**HOW, start=(0, 4))
    state = batches.state_dict()
    assert numbers(loader(batches, 1)) == whole[0][4:]
    batches.load_state_dict(state)
    with pytest.raises(UserError, match="within a pass") as error:
        numbers(loader(batches, 2))
    error.value.__traceback__ = None
    # That has begun nothing.
    assert numbers(loader(batches)) == whole[0][4:]
    # The begin of a pass is the same place for all.
    batches.load_state_dict({**state, "epoch": 2, "batch": 0})
    assert sorted(chain(*numbers(loader(batches, 2)))) == list(range(ROWS))


def test_while_workers_read_ahead_nothing_is_said(data: StoredDataset) -> None:
    batches = data.torch(**HOW)
    reading = iter(loader(batches, 2))
    next(reading)
    with pytest.raises(UserError, match="read ahead") as error:
        batches.state_dict()
    assert "StatefulDataLoader" in str(error.value)
    assert "set_epoch" in str(error.value)
    batches.set_epoch(1)
    assert batches.state_dict()["epoch"] == 1


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ({"seed": 2}, ("seed 1 in the state", "seed 2")),
        ({"batch_size": 7}, ("batch_size 5 in the state", "batch_size 7")),
        ({"shuffle": False}, ("shuffle True in the state", "shuffle False")),
        ({"num_shards": 2, "index": 1}, ("num_shards 1 in the state", "num_shards 2")),
        ({"drop_remainder": True}, ("drop_remainder False in the state", "drop_remainder True")),
    ],
)
def test_a_position_in_something_else_is_refused(
    data: StoredDataset, how: dict[str, Any], told: tuple[str, str]
) -> None:
    state = data.torch(**HOW).state_dict()
    with pytest.raises(UserError, match="belongs to something else") as error:
        data.torch(**{**HOW, **how}).load_state_dict(state)
    assert str(error.value.seen).startswith(told[0])
    assert error.value.valid == told[1]


def test_a_position_in_another_upload_is_refused(data: StoredDataset) -> None:
    state = uploaded("other").torch(**HOW).state_dict()
    with pytest.raises(UserError, match="belongs to something else") as error:
        data.torch(**HOW).load_state_dict(state)
    assert (error.value.seen, error.value.valid) == (
        "uploads ['other'] in the state",
        "uploads ['u']",
    )
    for foreign in ({}, {"model": 1}, {**state, "format": 2}):
        with pytest.raises(UserError, match="belongs to something else"):
            data.torch(**HOW).load_state_dict(foreign)
    for broken in ({"epoch": -1}, {"batch": "x"}, {"epoch": None}):
        ours = data.torch(**HOW)
        with pytest.raises(UserError, match="no position"):
            ours.load_state_dict({**ours.state_dict(), **broken})


def test_a_drawn_seed_comes_back_with_the_position(data: StoredDataset) -> None:
    how = {"batch_size": 5, "shuffle": True}
    batches = data.torch(**how)
    reading = iter(batches)
    next(reading)
    state = batches.state_dict()
    left, later = numbers(reading), numbers(batches)
    resumed = data.torch(**how)
    assert resumed.state_dict()["seed"] != state["seed"]
    resumed.load_state_dict(state)
    assert numbers(resumed) == left
    assert numbers(resumed) == later
    # Workers, too, have it from now on.
    resumed.set_epoch(1)
    assert numbers(loader(resumed, 1)) == later


def test_a_function_that_says_the_epoch_decides_alone(data: StoredDataset) -> None:
    batches = data.torch(**HOW, first_epoch=lambda: 2)
    assert numbers(batches) == passes(data)[2]
    with pytest.raises(UserError, match="decides alone"):
        batches.load_state_dict(batches.state_dict())
    within = data.torch(**HOW, start=lambda: (2, 3))
    assert [numbers(within) for _ in range(2)] == [passes(data)[2][3:]] * 2
    with pytest.raises(UserError, match="within a pass") as error:
        numbers(loader(within, 2))
    error.value.__traceback__ = None


def test_a_dataset_that_was_under_way_has_no_positions() -> None:
    store = MemoryStore()
    event = store.begin("u")
    batches = StoredDataset(store, store.found(event), follow=True).torch()
    with pytest.raises(UserError, match="under way"):
        batches.state_dict()


class KeepingStates(data_loading.IterableDataset):  # type: ignore[misc]
    """What torchdata's StatefulDataLoader does in each worker: the state with each element."""

    def __init__(self, batches: Any, states: dict[int, Any]) -> None:
        self._batches, self._states = batches, states

    def __iter__(self) -> Any:
        number = data_loading.get_worker_info().id
        if number in self._states:
            self._batches.load_state_dict(self._states[number])
        reading = iter(self._batches)
        yield number, self._batches.state_dict(), None
        for _, y in reading:
            yield number, self._batches.state_dict(), y.tolist()


@pytest.mark.parametrize("cut", [1, 4, 9, 11])
def test_a_loader_that_asks_its_workers_resumes_each_of_them(data: StoredDataset, cut: int) -> None:
    batches = data.torch(**HOW)
    whole = [
        [y for _, _, y in loader(KeepingStates(batches, {}), 2) if y is not None] for _ in range(3)
    ]
    assert all(sorted(chain(*one)) == list(range(ROWS)) for one in whole)
    # The loop takes `cut` elements; the workers have made others already.
    states: dict[int, Any] = {}
    taken: list[Any] = []
    for number, state, y in loader(KeepingStates(data.torch(**HOW, first_epoch=1), {}), 2):
        states[number] = state
        taken += [] if y is None else [y]
        if len(taken) == cut:
            break
    assert len(taken) == cut
    resumed = data.torch(**HOW)
    left = [y for _, _, y in loader(KeepingStates(resumed, states), 2) if y is not None]
    assert sorted(taken + left) == sorted(whole[1])
    # The next iteration makes the next pass, though some worker may have come to its end before.
    assert [y for _, _, y in loader(KeepingStates(resumed, {}), 2) if y is not None] == whole[2]
    with pytest.raises(UserError, match="something else") as error:
        data.torch(**HOW).load_state_dict(states[0])
    assert (error.value.seen, error.value.valid) == ("num_workers 2 in the state", "num_workers 1")

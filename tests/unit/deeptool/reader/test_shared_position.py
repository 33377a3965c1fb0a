"""Processes of a loader agree on the pass that they read, however and whenever they are started."""

from __future__ import annotations

import copy
import multiprocessing
from typing import Any

import pytest

from deeptool.errors import UserError
from deeptool.reader.read_request import Position
from deeptool.reader.shared_position import SharedPosition, Worker


def begun(shared: SharedPosition, *workers: Worker, passes: int | None = 1) -> list[Position]:
    return [shared.begin(passes, worker) for worker in workers]


def test_iterators_of_one_process_make_one_pass_after_the_other() -> None:
    shared = SharedPosition(Position(2, 3), 7)
    assert [shared.begin(2, None) for _ in range(3)] == [(2, 3), (4, 0), (6, 0)]
    assert shared.position == (8, 0)
    assert shared.seed == 7
    assert not shared.by_workers
    endless = SharedPosition(Position(2, 3), None)
    assert [endless.begin(None, None) for _ in range(2)] == [(2, 3), (2, 3)]


def test_workers_that_were_started_together_make_the_same_pass() -> None:
    shared = SharedPosition(Position(0, 0), None)
    first, second = [[Worker(n, 3, tag) for n in range(3)] for tag in (11, 12)]
    assert begun(shared, *first) == [(0, 0)] * 3
    assert begun(shared, *reversed(second)) == [(1, 0)] * 3
    # Workers that live on begin again with the same tag; one may be faster than another.
    assert begun(shared, *second) == [(2, 0)] * 3
    assert begun(shared, second[0], second[2], second[1]) == [(3, 0)] * 3
    assert shared.by_workers


def test_a_worker_that_never_began_leaves_no_gap() -> None:
    shared = SharedPosition(Position(0, 0), None)
    assert begun(shared, Worker(0, 2, 11)) == [(0, 0)]
    assert begun(shared, Worker(0, 2, 12), Worker(1, 2, 12)) == [(1, 0)] * 2


def test_two_loaders_at_the_same_time() -> None:
    shared = SharedPosition(Position(0, 0), None)
    one, other = [[Worker(n, 2, tag) for n in range(2)] for tag in (11, 12)]
    assert begun(shared, one[0], other[0], one[1], other[1]) == [(0, 0), (1, 0), (0, 0), (1, 0)]


def test_where_to_begin_can_be_said() -> None:
    shared = SharedPosition(Position(0, 0), 7)
    workers = [Worker(n, 2, 11) for n in range(2)]
    assert [shared.begin(1, workers[n], Position(5, 3 - n)) for n in range(2)] == [(5, 3), (5, 2)]
    assert shared.position == (6, 0)
    shared.set(Position(9, 0), 8)
    assert (shared.position, shared.seed, shared.by_workers) == ((9, 0), 8, False)
    # Also to workers that live on.
    assert begun(shared, *workers) == [(9, 0)] * 2
    shared.set_seed(9)
    assert (shared.position, shared.seed, shared.by_workers) == ((10, 0), 9, True)


def test_only_one_worker_can_begin_within_a_pass() -> None:
    shared = SharedPosition(Position(4, 2), None)
    for n in range(2):
        with pytest.raises(UserError, match="within a pass") as error:
            shared.begin(1, Worker(n, 2, 11))
        assert error.value.seen == "pass 4, batch 2; num_workers=2"
    # Nothing was begun.
    assert begun(shared, Worker(0, 1, 12)) == [(4, 2)]


def begin_often(shared: SharedPosition, times: int, found: Any) -> None:
    found.put([shared.begin(1, None).epoch for _ in range(times)])


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_processes_share_it_and_exclude_each_other(method: str) -> None:
    context = multiprocessing.get_context(method)
    shared, found, times = SharedPosition(Position(0, 0), None), context.Queue(), 300
    processes: list[Any] = [
        context.Process(target=begin_often, args=(shared, times, found)) for _ in range(3)
    ]
    for process in processes:
        process.start()
    passes = [epoch for _ in processes for epoch in found.get(timeout=60)]
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    assert sorted(passes) == list(range(3 * times))
    assert shared.position == (3 * times, 0)


def test_a_copy_is_on_its_own() -> None:
    shared = SharedPosition(Position(3, 0), 7)
    other = copy.deepcopy(shared)
    assert (other.begin(1, None), other.seed) == ((3, 0), 7)
    assert (shared.position, other.position) == ((3, 0), (4, 0))

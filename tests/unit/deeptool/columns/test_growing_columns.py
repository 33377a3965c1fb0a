"""Columns that are read while a thread fills them."""

from __future__ import annotations

import errno
import multiprocessing
import os
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from sample_leaves import as_rows, random_leaves

from deeptool.codec.spec import Spec
from deeptool.codec.structure import Leaf
from deeptool.codec.values import Leaves, slice_rows
from deeptool.columns.growing_columns import Fill, FillStopped, GrowingColumns, NoLocalCopy, Write
from deeptool.columns.memory_columns import columns_in_memory
from deeptool.errors import WorkError

SPEC = Spec((Leaf("float32", (None, 3)), Leaf("int64", (None,))))
LEAVES = random_leaves(SPEC, 50)
ROWS = as_rows(LEAVES)
Ranges = Sequence[tuple[int, int]]


def part(start: int, stop: int) -> Leaves:
    return slice_rows(LEAVES, start, stop)


def columns_of(fill: Fill) -> GrowingColumns:
    return columns_in_memory(SPEC, 50, fill)


def test_rows_are_read_as_soon_as_they_are_there() -> None:
    go_on = threading.Event()

    def fill(write: Write, missing: Ranges) -> None:
        assert list(missing) == [(0, 50)]
        write(30, part(30, 50))
        go_on.wait(30)
        write(0, part(0, 30))

    columns = columns_of(fill)
    columns.wait([(30, 40), (49, 50)])
    assert as_rows(columns.take(np.array([49, 30]))) == [ROWS[49], ROWS[30]]
    assert as_rows(columns.slice(32, 34)) == ROWS[32:34]
    for read in (lambda: columns.take(np.array([29])), lambda: columns.slice(29, 31)):
        with pytest.raises(WorkError, match="before they are there"):
            read()
    with pytest.raises(IndexError):
        columns.take(np.array([-1]))
    assert columns.filled == 20
    go_on.set()
    columns.wait([(0, 50)])
    assert as_rows(columns.take(np.arange(50))) == ROWS
    with pytest.raises(IndexError):
        columns.take(np.array([-1]))
    columns.close()


def test_rows_that_are_written_twice_are_kept_once() -> None:
    def fill(write: Write, missing: Ranges) -> None:
        write(10, part(10, 20))
        write(0, part(0, 50))
        write(5, random_leaves(SPEC, 9, seed=9))

    columns = columns_of(fill)
    columns.wait([(0, 50)])
    assert as_rows(columns.slice(0, 50)) == ROWS
    columns.close()
    assert as_rows(columns.slice(0, 50)) == ROWS


def test_several_threads_may_write() -> None:
    def fill(write: Write, missing: Ranges) -> None:
        def some(first: int) -> None:
            for row in range(first, 50, 4):
                write(row, part(row, row + 1))

        threads = [threading.Thread(target=some, args=(first,)) for first in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    columns = columns_of(fill)
    columns.wait([(0, 50)])
    assert as_rows(columns.take(np.arange(50))) == ROWS


class LostError(Exception):
    pass


def fails(write: Write, missing: Ranges) -> None:
    write(0, part(0, 10))
    raise LostError("the broker is gone")


def disk_is_full(write: Write, missing: Ranges) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def ends_early(write: Write, missing: Ranges) -> None:
    write(0, part(0, 49))


def writes_too_far(write: Write, missing: Ranges) -> None:
    write(49, random_leaves(SPEC, 2))


@pytest.mark.parametrize(
    ("fill", "error", "text"),
    [
        (fails, LostError, "the broker is gone"),
        (disk_is_full, NoLocalCopy, "too full"),
        (ends_early, WorkError, "49 of 50 rows"),
        (writes_too_far, IndexError, "rows 49 to 51 of 50"),
    ],
)
def test_whoever_waits_gets_the_error_of_the_fill(
    fill: Fill, error: type[Exception], text: str
) -> None:
    columns = columns_of(fill)
    with pytest.raises(error, match=text):
        columns.wait([(40, 50)], timeout=30)
    columns.close()


def test_nothing_new_for_too_long_is_an_error() -> None:
    ended = threading.Event()

    def fill(write: Write, missing: Ranges) -> None:
        write(0, part(0, 3))
        ended.wait(60)

    columns = columns_of(fill)
    with pytest.raises(WorkError, match=r"no new one in 0\.2 s") as raised:
        columns.wait([(40, 50)], timeout=0.2)
    assert "3 of 50 rows" in str(raised.value)
    ended.set()


def test_a_close_ends_the_fill() -> None:
    ended: list[type[BaseException]] = []

    def fill(write: Write, missing: Ranges) -> None:
        try:
            write(0, part(0, 1))
            for _ in range(10_000):
                write(0, part(0, 1))
                time.sleep(0.001)
        except FillStopped as error:
            ended.append(type(error))
            raise

    columns = columns_of(fill)
    columns.wait([(0, 1)])
    kept = columns.slice(0, 1)
    columns.close()
    columns.close()
    assert ended == [FillStopped]
    assert as_rows(kept) == ROWS[:1]


def test_whoever_waits_learns_of_a_close() -> None:
    ended, seen = threading.Event(), list[str]()

    def fill(write: Write, missing: Ranges) -> None:
        write(0, part(0, 10))
        ended.wait(30)

    def wait() -> None:
        try:
            columns.wait([(0, 50)], timeout=60)
        except WorkError as error:
            seen.append(str(error))

    columns = columns_of(fill)
    columns.wait([(0, 10)])
    waiting = threading.Thread(target=wait)
    waiting.start()
    columns.close(patience=0.01)
    waiting.join(30)
    assert len(seen) == 1
    assert "was closed" in seen[0]
    with pytest.raises(WorkError, match="was closed"):
        columns.wait([(0, 50)])
    columns.wait([(0, 10)])
    ended.set()


def test_a_pass_of_no_rows_is_complete() -> None:
    columns = columns_in_memory(SPEC, 0, fails)
    columns.wait([(0, 0)])
    assert len(columns.take(np.zeros(0, np.int64))[0]) == 0
    columns.close()


def open_journals() -> int:
    folder = Path("/proc/self/fd")
    names = [os.readlink(link) for link in folder.iterdir() if link.is_symlink()]
    return sum("deeptool journal" in name for name in names)


def test_files_stay_open_as_long_as_a_thread_writes() -> None:
    """A descriptor that is closed too early may be another file's by the next write."""
    go_on, errors = threading.Event(), list[BaseException]()

    def fill(write: Write, missing: Ranges) -> None:
        write(0, part(0, 1))
        go_on.wait(30)
        try:
            write(1, part(1, 2))
        except BaseException as error:
            errors.append(error)
            raise

    before = open_journals()
    columns = columns_of(fill)
    columns.wait([(0, 1)])
    columns.close(patience=0.1)
    assert open_journals() == before + 1
    go_on.set()
    for _ in range(1000):
        if open_journals() == before:
            break
        time.sleep(0.01)
    assert [type(error) for error in errors] == [FillStopped]
    assert open_journals() == before


def test_a_fork_follows_what_its_parent_fills() -> None:
    go_on = threading.Event()

    def fill(write: Write, missing: Ranges) -> None:
        write(0, part(0, 10))
        go_on.wait(30)
        write(10, part(10, 50))

    columns = columns_of(fill)
    columns.wait([(0, 10)])
    context = multiprocessing.get_context("fork")
    seen = context.SimpleQueue()

    def follow() -> None:
        columns.wait([(0, 50)], timeout=30)
        seen.put(as_rows(columns.take(np.arange(50))) == ROWS)

    process = context.Process(target=follow)
    process.start()
    time.sleep(0.1)
    go_on.set()
    process.join(60)
    assert process.exitcode == 0
    assert seen.get()
    columns.close()

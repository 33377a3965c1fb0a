"""Columns in memory: the same rows as on disk, and never more than there is memory."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from sample_leaves import as_rows, random_leaves

from deeptool.codec.spec import Spec
from deeptool.codec.structure import Leaf
from deeptool.codec.values import slice_rows
from deeptool.columns import memory_columns
from deeptool.columns.growing_columns import NoLocalCopy, Write
from deeptool.columns.memory_columns import columns_in_memory

FIXED = Spec((Leaf("bool", (None, 3)), Leaf("bfloat16", (None,))))
TEXT = Spec((Leaf("string", (None, None), 1), Leaf("float32", (None, None))))


@pytest.mark.parametrize("spec", [FIXED, TEXT], ids=["fixed", "of many sizes"])
def test_rows_of_both_kinds_come_back_and_leave_no_file(spec: Spec) -> None:
    leaves = random_leaves(spec, 40)

    def fill(write: Write, missing: Sequence[tuple[int, int]]) -> None:
        for first in (30, 0, 10, 20):
            write(first, slice_rows(leaves, first, first + 10))

    before = set(os.listdir("/dev/shm"))
    columns = columns_in_memory(spec, 40, fill)
    columns.wait([(0, 40)], timeout=30)
    assert set(os.listdir("/dev/shm")) == before
    expected = as_rows(leaves)
    rows = np.array([39, 0, 17, 17])
    assert as_rows(columns.take(rows)) == [expected[row] for row in rows]
    columns.close()


@pytest.mark.parametrize(("spec", "expected_bytes"), [(FIXED, 0), (TEXT, 5000)])
def test_more_than_there_is_memory_is_no_copy(
    spec: Spec, expected_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory_columns, "available_memory", lambda: 4000)
    with pytest.raises(NoLocalCopy, match=r"not enough memory") as raised:
        columns_in_memory(spec, 1000, lambda write, missing: None, expected_bytes=expected_bytes)
    assert "at most 4.0 kB" in str(raised.value)


def test_the_memory_is_free_again_after_the_last_array() -> None:
    spec = Spec((Leaf("uint8", (None, 2**20)),))

    def held() -> int:
        """The mappings of its size."""
        maps = Path("/proc/self/maps").read_text().splitlines()
        spans = [line.split()[0].split("-") for line in maps if "/memfd:deeptool rows" in line]
        sizes = [int(stop, 16) - int(start, 16) for start, stop in spans]
        return sum(5 * 2**20 <= size < 5 * 2**20 + 8192 for size in sizes)

    def fill(write: Write, missing: Sequence[tuple[int, int]]) -> None:
        write(0, (np.ones((5, 2**20), np.uint8),))

    columns = columns_in_memory(spec, 5, fill)
    columns.wait([(0, 5)], timeout=30)
    kept = columns.slice(0, 1)[0]
    columns.close()
    del columns
    assert held() == 1
    assert np.asarray(kept).all()
    del kept
    assert held() == 0

"""A file as memory: what the system is told of it, and writes that are whole."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sample_leaves import random_leaves

from deeptool.codec.spec import Spec
from deeptool.codec.structure import Leaf
from deeptool.columns import file_memory
from deeptool.columns.file_memory import FileMemory, write_at
from deeptool.columns.row_store import lay_out_rows

FIXED = Spec((Leaf("float32", (None, 1000)),))
RAGGED = Spec((Leaf("string", (None, None), 1),))


def told_random(path: Path) -> bool:
    """Whether the system reads nothing ahead of the mapping of a file."""
    maps = Path("/proc/self/smaps").read_text()
    (flags,) = re.findall(rf"{re.escape(str(path))}\n(?:.*\n)*?VmFlags: (.*)", maps)
    return "rr" in flags.split()


@pytest.mark.parametrize("spec", [FIXED, RAGGED], ids=["fixed", "of many sizes"])
@pytest.mark.parametrize(("memory", "expected"), [(1000, True), (2**40, False)])
def test_nothing_is_read_ahead_for_random_rows_of_what_is_larger_than_memory(
    spec: Spec, memory: int, expected: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_memory, "available_memory", lambda: memory)
    path = tmp_path / "rows"
    columns = lay_out_rows(os.open(path, os.O_RDWR | os.O_CREAT), spec, 20)
    columns.add([columns.write(0, random_leaves(spec, 20))])
    assert not told_random(path)
    columns.take(np.array([3, 1]))
    assert told_random(path) == expected
    columns.slice(0, 4)
    assert not told_random(path)
    columns.take(np.array([3, 1]))
    assert told_random(path) == expected
    columns.close()


def test_a_write_that_the_system_cuts_is_continued(monkeypatch: pytest.MonkeyPatch) -> None:
    write: Callable[..., int] = os.pwrite

    def at_most_seven(descriptor: int, data: Any, place: int) -> int:
        return write(descriptor, data[:7], place)

    monkeypatch.setattr(os, "pwrite", at_most_seven)
    descriptor = os.memfd_create("file")
    write_at(descriptor, 3, bytes(range(100)))
    assert os.pread(descriptor, 200, 0) == bytes(3) + bytes(range(100))


def test_a_file_of_no_bytes_is_memory_of_none() -> None:
    memory = FileMemory(os.memfd_create("file"))
    assert memory.buffer.size == 0
    memory.expect_random(True)

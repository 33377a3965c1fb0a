"""Room for one more copy: the ones that nobody uses go first, and those in use stay."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from deeptool.codec.spec import Spec
from deeptool.codec.structure import Leaf
from deeptool.columns.cache_room import clear, list_copies
from deeptool.columns.copy_files import CopyFiles
from deeptool.columns.growing_columns import GrowingColumns, NoLocalCopy, Write
from deeptool.columns.local_copy import find_or_fill

# A copy of 100 rows takes a little more than 100 kB.
SPEC = Spec((Leaf("uint8", (None, 1000)),))
SIZE = 105_000
BEFORE = time.time()


def opened(folder: Path, key: str, room: int | None = None) -> GrowingColumns:
    def fill(write: Write, missing: Sequence[tuple[int, int]]) -> None:
        write(0, (np.full((100, 1000), len(key), np.uint8),))

    columns = find_or_fill(key, SPEC, 100, fill, folder, cache_bytes=room)
    columns.wait([(0, 100)])
    return columns


def stored(folder: Path, *keys: str) -> None:
    """Copies that nobody uses, the first one the oldest."""
    for age, key in enumerate(reversed(keys)):
        opened(folder, key).close()
        (path,) = (copy.path for copy in list_copies(folder) if copy.key == key)
        os.utime(path / "use", (BEFORE - age, BEFORE - age))


def keys(folder: Path) -> list[str]:
    return [copy.key for copy in list_copies(folder)]


def test_copies_are_listed_with_what_they_take_and_who_uses_them(tmp_path: Path) -> None:
    stored(tmp_path, "a", "b")
    used = opened(tmp_path, "c")
    used_copy, b, a = list_copies(tmp_path)
    assert [(copy.key, copy.in_use) for copy in (used_copy, b, a)] == [
        *(("c", True), ("b", False), ("a", False)),
    ]
    assert a.used == pytest.approx(BEFORE - 1, abs=0.01)
    assert all(copy.whole and copy.samples == 100 for copy in (b, a))
    for copy in (used_copy, b, a):
        assert SIZE * 0.9 < copy.size < SIZE * 1.2
    used.close()
    assert not any(copy.in_use for copy in list_copies(tmp_path))


def test_those_that_were_used_longest_ago_make_room_as_far_as_needed(tmp_path: Path) -> None:
    stored(tmp_path, "a", "b", "c")
    opened(tmp_path, "d", room=3 * SIZE + SIZE // 2).close()
    assert keys(tmp_path) == ["d", "c", "b"]
    opened(tmp_path, "b").close()
    opened(tmp_path, "e", room=2 * SIZE + SIZE // 2).close()
    assert keys(tmp_path) == ["e", "b"]


def test_a_copy_in_use_is_never_removed(tmp_path: Path) -> None:
    stored(tmp_path, "a", "b")
    used = opened(tmp_path, "a")
    os.utime(next(copy.path for copy in list_copies(tmp_path) if copy.key == "a") / "use", (0, 0))
    opened(tmp_path, "c", room=2 * SIZE + SIZE // 2).close()
    assert sorted(keys(tmp_path)) == ["a", "c"]
    assert (np.asarray(used.take(np.arange(100))[0]) == 1).all()
    used.close()


def test_a_copy_that_another_process_uses_is_never_removed(tmp_path: Path) -> None:
    stored(tmp_path, "a")
    (copy,) = list_copies(tmp_path)
    code = (
        "import sys; from pathlib import Path; from deeptool.columns.copy_files import CopyFiles;"
        "CopyFiles(Path(sys.argv[1])).hold(); print('held', flush=True); sys.stdin.read()"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", code, copy.path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        assert clear(tmp_path) == []
        with pytest.raises(NoLocalCopy, match="no room"):
            opened(tmp_path, "b", room=SIZE + SIZE // 2)
        assert keys(tmp_path) == ["a"]
        other.kill()
    opened(tmp_path, "b", room=SIZE + SIZE // 2).close()
    assert keys(tmp_path) == ["b"]


def test_nothing_is_removed_where_that_would_not_be_enough(tmp_path: Path) -> None:
    stored(tmp_path, "a", "b")
    with pytest.raises(NoLocalCopy) as raised:
        opened(tmp_path, "c", room=SIZE // 2)
    assert "at most 52.5 kB for all copies together" in str(raised.value)
    assert keys(tmp_path) == ["b", "a"]
    assert len(list(tmp_path.glob("[!.]*"))) == 2


def test_by_default_copies_take_half_of_what_others_leave(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored(tmp_path, "a", "b")
    held = sum(copy.size for copy in list_copies(tmp_path))
    real = shutil.disk_usage(tmp_path)

    def with_free(free: int) -> None:
        monkeypatch.setattr(shutil, "disk_usage", lambda path: real._replace(free=free))

    with_free(2**40)
    opened(tmp_path, "c").close()
    assert len(keys(tmp_path)) == 3
    # 64 MiB stay free, whatever the limit; the oldest goes for each new one.
    with_free(64 * 2**20 + SIZE // 2)
    opened(tmp_path, "d").close()
    assert sorted(keys(tmp_path)) == ["b", "c", "d"]
    assert held


def test_a_clear_removes_what_nobody_uses_and_what_was_left_half_removed(tmp_path: Path) -> None:
    stored(tmp_path, "a", "b")
    used = opened(tmp_path, "b")
    (tmp_path / ".removed-1234").mkdir()
    (tmp_path / ".removed-1234" / "rows").touch()
    assert [copy.key for copy in clear(tmp_path)] == ["a"]
    assert keys(tmp_path) == ["b"]
    assert not list(tmp_path.glob(".removed*"))
    used.close()
    assert [copy.key for copy in clear(tmp_path)] == ["b"]
    assert list_copies(tmp_path) == []


def test_whoever_waits_for_a_copy_that_is_removed_makes_a_new_one(tmp_path: Path) -> None:
    stored(tmp_path, "a")
    (copy,) = list_copies(tmp_path)
    files = CopyFiles(copy.path)
    first = files.hold()
    files.remove()
    second = files.hold()
    assert os.fstat(first).st_ino != os.fstat(second).st_ino
    assert os.listdir(copy.path) == ["use"]

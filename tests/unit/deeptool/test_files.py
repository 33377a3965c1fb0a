"""Files that several processes use: locks and sums."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

from deeptool.files import lock, sha256


def test_one_holder_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    with lock(path):
        with pytest.raises(BlockingIOError):
            lock(path, wait=False)
        waiting = subprocess.Popen(
            [sys.executable, "-c", f"from deeptool.files import lock; lock({str(path)!r})"]
        )
        with pytest.raises(subprocess.TimeoutExpired):
            waiting.wait(0.5)
    assert waiting.wait(20) == 0
    lock(path, wait=False).close()


def test_what_is_in_the_file_stays(tmp_path: Path) -> None:
    (tmp_path / ".lock").write_text("the holder")
    with lock(tmp_path / ".lock") as file:
        file.seek(0)
        assert file.read() == "the holder"


def test_a_file_system_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(OSError, match="No locks available"):
        lock(tmp_path / ".lock")
    lock(tmp_path / ".lock", optional=True).close()


def test_the_sum_of_a_file_is_that_of_its_bytes(tmp_path: Path) -> None:
    data = bytes(range(256)) * 9000
    (tmp_path / "file").write_bytes(data)
    assert sha256(tmp_path / "file") == sha256(data) == hashlib.sha256(data).hexdigest()

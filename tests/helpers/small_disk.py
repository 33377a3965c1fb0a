"""A small disk for one test, also for users who may not mount: in a mount namespace of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

_MOUNT = 'mount -t tmpfs -o size="$1" small "$2" && echo mounted && exec cat'


class SmallDisk:
    """A tmpfs that only the commands that `run` and `start` start can see.

    Attributes
    ----------
    path : Path
        Where it is mounted, for those commands.
    """

    def __init__(self, path: Path, holder: int) -> None:
        self.path = path
        self._enter = ["nsenter", "-t", str(holder), "-U", "-m", "--preserve-credentials"]

    def run(self, *argv: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*self._enter, *map(str, argv)], capture_output=True, text=True, timeout=120
        )

    def start(self, *argv: str | Path) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*self._enter, *map(str, argv)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def fill(self) -> None:
        """Leave not a byte, as another program might."""
        self.run("sh", "-c", f"cat /dev/zero > '{self.path}/other'")

    def free(self) -> int:
        code = f"import shutil; print(shutil.disk_usage({str(self.path)!r}).free)"
        return int(self.run(sys.executable, "-c", code).stdout)


@contextmanager
def small_disk(path: Path, size: str) -> Iterator[SmallDisk]:
    """A disk of `size` (such as ``200m``) at `path`; skips the test where none can be mounted."""
    path.mkdir()
    argv = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", _MOUNT]
    try:
        holder = subprocess.Popen(
            [*argv, "sh", size, str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"LC_ALL": "C"},
        )
    except FileNotFoundError:
        pytest.skip("there is no unshare here to mount a small disk with")
    assert holder.stdin is not None
    assert holder.stdout is not None
    assert holder.stderr is not None
    with holder:
        if holder.stdout.readline() != "mounted\n":
            pytest.skip(f"a small disk cannot be mounted here: {holder.stderr.read().strip()}")
        yield SmallDisk(path, holder.pid)
        # Ends it: its standard input is closed.

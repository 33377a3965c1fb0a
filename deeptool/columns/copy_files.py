"""The files of one local copy, and the locks that say who uses and who fills it.

A copy is a folder. What is in it, in the order in which it is made:

==============  ==================================================================================
``use``         locked, shared, by whoever reads; its time of change is the last use
``state``       locked, for moments, by whoever makes, verifies or removes the copy
``rows``        the columns, in an Arrow IPC format
``journal``     which rows are filled (`deeptool.columns.piece_journal`)
``about.json``  what it is a copy of, and the boot in which it was begun; with it, a copy is begun
``filler``      locked by the one process that fills
``whole.json``  digests of a copy that is full and on the disk; with it, a copy is whole
``tried.json``  the boot, size and time of change with which it was verified
==============  ==================================================================================

Locks are the kernel's (flock): whoever holds them, they end with the process.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

from deeptool.columns.row_damage import row_digests
from deeptool.files import read_json, write_json

# Of the files here; another one is another copy.
FORMAT = 1
_REMOVED = ".removed-"


def boot_id() -> str:
    """Names the boot of this machine: what was only in its page cache is gone with it.

    Raises
    ------
    OSError
        The system does not say.
    """
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


class CopyFiles:
    """The files of one copy.

    Parameters
    ----------
    path : Path
        Its folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows, self.journal = path / "rows", path / "journal"
        self.use, self.state, self.filler = path / "use", path / "state", path / "filler"
        self._about, self._whole, self._tried = (
            path / f"{name}.json" for name in ("about", "whole", "tried")
        )

    @property
    def about(self) -> dict[str, Any] | None:
        """What it is a copy of; None where it is not begun."""
        return _read(self._about)

    @property
    def whole(self) -> dict[str, Any] | None:
        """Digests of a copy that is whole; else None."""
        return _read(self._whole)

    def begin(self, about: dict[str, Any]) -> None:
        """Say that rows and journal are laid out."""
        write_json(self._about, {**about, "boot": boot_id()}, 0o600)

    def finish(self, outline_crc: int) -> None:
        """Say that the copy is whole, and on the disk.

        Parameters
        ----------
        outline_crc : int
            CRC-32C of what is in the file of rows besides them.
        """
        write_json(self._whole, row_digests(self.rows, self.journal, outline_crc), 0o600)
        folder = os.open(self.path, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def tried(self) -> bool:
        """Whether it was verified since the machine booted and the files changed."""
        return _read(self._tried) == self._now()

    def mark_tried(self) -> None:
        """Say that it was verified now."""
        write_json(self._tried, self._now(), 0o600)

    def _now(self) -> dict[str, Any]:
        found = [path.stat() for path in (self.rows, self.journal)]
        return {"boot": boot_id(), "files": [[f.st_size, f.st_mtime_ns, f.st_ino] for f in found]}

    def size(self) -> int:
        """Bytes that it takes on the disk."""
        total = 0
        for path in (self.rows, self.journal):
            try:
                total += 512 * path.stat().st_blocks
            except OSError:
                continue
        return total

    def hold(self) -> int:
        """Lock the copy for use, as anybody else may, too; made where there is none.

        Returns
        -------
        int
            A descriptor: the lock is held until it is closed.

        Raises
        ------
        OSError
            It cannot be made, or was removed again and again.
        """
        for _ in range(1000):
            # Not Path.mkdir(exist_ok=True), which fails where the folder is removed at that moment.
            with suppress(FileExistsError):
                os.mkdir(self.path, 0o700)
            try:
                descriptor = os.open(self.use, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            except FileNotFoundError:
                continue
            fcntl.flock(descriptor, fcntl.LOCK_SH)
            if is_file_of(descriptor, self.use):
                os.utime(descriptor)
                return descriptor
            # Removed while this process waited for the lock.
            os.close(descriptor)
        raise OSError(f"{self.path} is removed as soon as it is made")

    def remove_unused(self) -> bool:
        """Remove the copy unless somebody uses it; returns whether it was removed."""
        try:
            descriptor = os.open(self.use, os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not is_file_of(descriptor, self.use):
                return False
            self.remove()
        except BlockingIOError:
            return False
        finally:
            os.close(descriptor)
        return True

    def in_use(self) -> bool:
        """Whether somebody has the copy open."""
        try:
            descriptor = os.open(self.use, os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
        return False

    def remove(self) -> None:
        """Remove the copy, whoever uses it; those keep what they have open."""
        aside = self.path.with_name(f"{_REMOVED}{secrets.token_hex(8)}")
        # At once, so that nobody opens a part of it.
        try:
            self.path.rename(aside)
        except FileNotFoundError:
            return
        shutil.rmtree(aside, ignore_errors=True)


def sweep(folder: Path) -> None:
    """Remove what processes left that were killed while they removed a copy."""
    for aside in folder.glob(f"{_REMOVED}*"):
        shutil.rmtree(aside, ignore_errors=True)


def is_file_of(descriptor: int, path: Path) -> bool:
    """Whether an open file still is the one at `path`."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _read(path: Path) -> dict[str, Any] | None:
    try:
        found = read_json(path)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None

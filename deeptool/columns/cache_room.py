"""The copies in a cache folder: list them, remove them, and make room for one more."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.filesize import decimal

from deeptool.columns.copy_files import CopyFiles, sweep
from deeptool.columns.growing_columns import NoLocalCopy
from deeptool.files import lock

# Left to others on the same disk, and to the journals.
_RESERVE = 64 * 2**20


@dataclass(frozen=True)
class StoredCopy:
    """One local copy.

    Attributes
    ----------
    path : Path
        Its folder.
    key : str
        What it is a copy of.
    samples : int
    size : int
        Bytes on the disk.
    whole : bool
        Whether all rows are there.
    used : float
        When it was last opened, in seconds since 1970.
    in_use : bool
        Whether somebody has it open.
    """

    path: Path
    key: str
    samples: int
    size: int
    whole: bool
    used: float
    in_use: bool


def list_copies(folder: Path) -> list[StoredCopy]:
    """All copies in a cache folder, the one that was last opened first."""
    found = (_stored(CopyFiles(path)) for path in folder.glob("[!.]*") if path.is_dir())
    return sorted((copy for copy in found if copy is not None), key=lambda copy: -copy.used)


def clear(folder: Path) -> list[StoredCopy]:
    """Remove the copies that nobody uses; returns those that were removed."""
    sweep(folder)
    return [copy for copy in list_copies(folder) if CopyFiles(copy.path).remove_unused()]


@contextmanager
def made_room(folder: Path, size: int, cache_bytes: int | None) -> Iterator[None]:
    """Room for `size` bytes more, while this lasts: one process at a time has it.

    Copies that nobody uses are removed, the one that was used longest ago first, but only where
    that is enough.

    Parameters
    ----------
    folder : Path
    size : int
    cache_bytes : int or None
        Bytes that all copies together may take; None for half of the disk that others leave.

    Raises
    ------
    NoLocalCopy
        There is no such room.
    """
    with lock(folder / ".room"):
        sweep(folder)
        copies = list_copies(folder)
        held, free = sum(copy.size for copy in copies), shutil.disk_usage(folder).free
        most = (held + free) // 2 if cache_bytes is None else cache_bytes
        needed = max(held + size - most, size + _RESERVE - free)
        unused = [copy for copy in reversed(copies) if not copy.in_use]
        if needed > sum(copy.size for copy in unused):
            raise NoLocalCopy(
                "there is no room for a local copy of the dataset",
                seen=f"{decimal(size)} in {folder}, where copies take {decimal(held)} and "
                f"{decimal(free)} are free",
                valid=f"at most {decimal(most)} for all copies together",
                next_step="deeptool cache list shows them",
            )
        for copy in unused:
            if needed <= 0:
                break
            if CopyFiles(copy.path).remove_unused():
                needed -= copy.size
        yield


def _stored(files: CopyFiles) -> StoredCopy | None:
    about = files.about or {}
    try:
        used = files.use.stat().st_mtime
    except OSError:
        return None
    return StoredCopy(
        path=files.path,
        key=str(about.get("key", "?")),
        samples=int(about.get("samples", 0)),
        size=files.size(),
        whole=files.whole is not None,
        used=used,
        in_use=files.in_use(),
    )

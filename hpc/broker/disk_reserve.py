"""Space kept back on a broker's disk: one that is full can say so, and start again to be emptied.

Kafka ends when it cannot write. Without this neither the broker's state could be written then, nor
the files of the start that ``deeptool delete`` needs.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from deeptool.errors import WorkError

# Measured: a start takes less than 1 MiB, the deletion of a dataset some kilobytes. The rest is for
# what other programs on a full disk take before that.
RESERVE_BYTES = 32 << 20
ROOM = f"a disk with room for the datasets and {RESERVE_BYTES >> 20} MiB more"
# What is given up at once, for the state and the end of the logs.
_PART_BYTES = 1 << 20
# With less left a server that died is taken to have died of that: its log may not say so any more.
_SPARE_BYTES = 4 << 20
# What a start needs at least, with some room for logs.
_START_BYTES = 4 << 20
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT)
# How Java and Linux name the two.
_NO_SPACE_TEXTS = ("No space left on device", "Disk quota exceeded")


class DiskFull(WorkError):
    """A broker that ended, or is not started, because its disk is full."""


def free_bytes(directory: Path) -> int:
    """Bytes that this user may still write in a folder, by what its file system says."""
    return shutil.disk_usage(directory).free


def keep_reserve(directory: Path) -> None:
    """Keep back `RESERVE_BYTES`, or half of what there is; never less than is kept already."""
    path, held = _file(directory), _held(directory)
    wanted = min(RESERVE_BYTES, (held + free_bytes(directory)) // 2)
    if wanted <= held:
        return
    with open(path, "ab") as file:
        try:
            os.posix_fallocate(file.fileno(), 0, wanted)
        except OSError:
            # Others were faster, or a quota allows less. Some file systems have taken a part.
            os.ftruncate(file.fileno(), held)


def release_reserve(directory: Path) -> None:
    """Give all of it up: for a start."""
    _file(directory).unlink(missing_ok=True)


def give_part(directory: Path) -> None:
    """Give up what a state file and the end of a log need."""
    if held := _held(directory):
        os.truncate(_file(directory), max(0, held - _PART_BYTES))


def write_into_reserve(directory: Path, write: Callable[[], None]) -> None:
    """Call `write`; where the disk is full, give up a part of the reserve and call it again."""
    try:
        write()
    except OSError as error:
        if not is_full_disk(error):
            raise
        give_part(directory)
        write()


def is_full_disk(error: BaseException | None) -> bool:
    """Whether an error says that the disk is full, or the user's quota used up."""
    return isinstance(error, OSError) and error.errno in _NO_SPACE


def died_of_full_disk(directory: Path, output: str) -> bool:
    """Whether a server with this output died because it could not write any more."""
    said = any(text in output for text in _NO_SPACE_TEXTS)
    return said or free_bytes(directory) <= _SPARE_BYTES


def disk_full(directory: Path, what: str, *, secured: bool = False, seen: str = "") -> DiskFull:
    """The error for a broker that its full disk has ended."""
    free = free_bytes(directory)
    next_step = make_room(directory)
    if free + _held(directory) > _START_BYTES:
        secret = " --secret FILE" if secured else ""
        next_step = (
            f"start it again (deeptool-hpc broker up --dir {directory}{secret} --detach: space for"
            " that is kept) and delete datasets (deeptool delete NAME --server HOST:PORT), or free"
            " space there; what is stored is kept"
        )
    return DiskFull(
        f"{what}: the disk is full",
        seen=f"{free:,} bytes are free in {directory}{seen}",
        valid=ROOM,
        next_step=next_step,
    )


def make_room(directory: Path) -> str:
    """What to do where a broker's disk has no room for its start either."""
    return (
        f"free {RESERVE_BYTES >> 20} MiB there (the logs of earlier starts, {directory}/logs/*.log,"
        " may be deleted), then start the broker again; what is stored is kept"
    )


def warning(directory: Path, bootstrap: str) -> str | None:
    """What to say of a broker that is up on an almost full disk; None on any other."""
    free = free_bytes(directory)
    if free > 2 * RESERVE_BYTES:
        return None
    return (
        f"warning: the broker's disk is almost full: {free:,} bytes are free in {directory}, and"
        f" uploads end at once; delete datasets (deeptool delete NAME --server {bootstrap};"
        f" deeptool inspect --server {bootstrap} lists them), or free space there"
    )


def _held(directory: Path) -> int:
    path = _file(directory)
    return path.stat().st_size if path.exists() else 0


def _file(directory: Path) -> Path:
    return directory / "reserve"

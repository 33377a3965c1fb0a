"""Where local copies are: a private folder on a disk of this node."""

from __future__ import annotations

import ctypes
import os
import stat
from collections.abc import Mapping
from pathlib import Path

from deeptool.columns.growing_columns import NoLocalCopy

# The first of these that is set says where; else /tmp.
VARIABLES = ("DEEPTOOL_COPIES", "SLURM_TMPDIR", "TMPDIR")

# File systems that other machines serve, by the number that statfs(2) returns. Their locks and
# mapped memory do not hold what local copies need, and they are as far away as a broker.
_REMOTE = {
    0x6969: "nfs",
    0x0BD00BD0: "lustre",
    0x47504653: "gpfs",
    0x517B: "smb",
    0xFF534D42: "cifs",
    0xFE534D42: "smb2",
    0x19830326: "beegfs",
    0x00C36400: "ceph",
    0x65735546: "fuse",
    0x01021997: "9p",
    0x5346414F: "afs",
    0x6B414653: "afs",
    0xAAD7AAEA: "panfs",
    0x20030528: "orangefs",
    0x7461636F: "ocfs2",
    0x01161970: "gfs2",
}
# Their files take memory, which a job may not have: only where the user says so.
_IN_MEMORY = (0x01021994, 0x858458F6)


def cache_path(environment: Mapping[str, str]) -> Path:
    """Where this user's copies are or would be; made by `open_cache_folder`."""
    found = (environment[name] for name in VARIABLES if environment.get(name))
    return Path(next(found, "/tmp")) / f"deeptool-cache-{os.geteuid()}"


def open_cache_folder(environment: Mapping[str, str] = os.environ) -> Path:
    """The folder of this user's copies, made where there is none.

    Raises
    ------
    NoLocalCopy
        It cannot be made or written, is served by another machine or kept in memory, belongs to
        somebody else, or others may use it: whoever can write it decides what is trained on.
    """
    path = cache_path(environment)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir(mode=0o700, exist_ok=True)
        found = path.lstat()
        file_system = _file_system(path)
        writable = os.access(path, os.W_OK | os.X_OK)
        read_only = os.statvfs(path).f_flag & os.ST_RDONLY
    except OSError as error:
        raise _none(path, str(error)) from error
    if not stat.S_ISDIR(found.st_mode):
        raise _none(path, "it is no folder")
    if found.st_uid != os.geteuid():
        raise _none(path, f"it belongs to user {found.st_uid}")
    if found.st_mode & 0o077:
        raise _none(path, f"others may use it: mode {stat.S_IMODE(found.st_mode):04o}, not 0700")
    if file_system in _REMOTE:
        raise _none(path, f"it is on a file system of the network: {_REMOTE[file_system]}")
    if file_system in _IN_MEMORY and not environment.get(VARIABLES[0]):
        raise _none(path, "it is in memory (tmpfs)")
    if not writable or read_only:
        raise _none(path, "it cannot be written")
    return path


def network_file_system(path: Path) -> str | None:
    """The kind of the file system that a folder is on, if other machines serve it; else None.

    Raises
    ------
    OSError
        There is no such folder.
    """
    return _REMOTE.get(_file_system(path))


def _file_system(path: Path) -> int:
    """What statfs(2) says of the kind of the file system: Python has no function for it."""
    library = ctypes.CDLL(None, use_errno=True)
    # More than any system's struct statfs; the kind is its first word.
    answer = (ctypes.c_long * 64)()
    if library.statfs(os.fsencode(path), ctypes.byref(answer)):
        raise OSError(ctypes.get_errno(), "statfs failed", str(path))
    return int(answer[0]) & 0xFFFFFFFF


def _none(path: Path, seen: str) -> NoLocalCopy:
    return NoLocalCopy(
        "there can be no local copy of the dataset",
        seen=f"{path}: {seen}",
        valid="a folder of your own (mode 0700) on a disk of this node",
        next_step=f"name another place in ${VARIABLES[0]}",
    )

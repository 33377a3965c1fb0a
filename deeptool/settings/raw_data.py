"""What the raw data is, by its listing: names, sizes and times."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from deeptool.errors import UserError
from deeptool.files import sha256


def list_raw_data(*folders: str) -> dict[str, Any] | None:
    """Describe raw data folders by their listing; no file is opened.

    Parameters
    ----------
    *folders : str
        Each is walked with all folders within, links followed; or it is one file.

    Returns
    -------
    dict or None
        "digest": SHA-256 over the sorted relative names, sizes and modification times (ns);
        "files": how many; "bytes": their sizes' sum; "newest": the last modification, Unix time
        in seconds (None without files). None where no such folder is there, or none is named.

    Raises
    ------
    UserError
        A folder within cannot be listed.
    """
    there = [folder for folder in folders if folder and os.path.exists(folder)]
    if not there:
        return None
    try:
        entries = [entry for folder in there for entry in sorted(_listing(folder))]
    except OSError as error:
        raise UserError(
            f"cannot list the raw data: {error.strerror}", seen=error.filename or ", ".join(there)
        ) from error
    lines = [os.fsencode(f"{name}\0{size}\0{modified}\0") for name, size, modified in entries]
    return {
        "digest": sha256(b"".join(lines)),
        "files": len(entries),
        "bytes": sum(size for _, size, _ in entries),
        "newest": max((modified for *_, modified in entries), default=0) / 1e9 or None,
    }


def _listing(folder: str) -> Iterator[tuple[str, int, int]]:
    """Relative name, size in bytes and modification time in ns of every file."""
    if not os.path.isdir(folder):
        status = os.stat(folder)
        yield os.path.basename(folder), status.st_size, status.st_mtime_ns
        return
    waiting = [folder]
    visited = set()
    while waiting:
        current = waiting.pop()
        status = os.stat(current)
        # A link may lead back up.
        if (status.st_dev, status.st_ino) in visited:
            continue
        visited.add((status.st_dev, status.st_ino))
        with os.scandir(current) as entries:
            for entry in entries:
                if entry.is_dir():
                    waiting.append(entry.path)
                    continue
                status = entry.stat(follow_symlinks=entry.is_file())
                name = os.path.relpath(entry.path, folder)
                yield name, status.st_size, status.st_mtime_ns

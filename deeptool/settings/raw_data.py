"""What the raw data is, by its listing: names, sizes and times."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from deeptool.errors import UserError
from deeptool.files import sha256


def folders_of(given: str | Sequence[str]) -> list[str]:
    """The raw data folders that a settings file names: one, several, or none."""
    return [folder for folder in ([given] if isinstance(given, str) else given) if folder]


def list_raw_data(given: str | Sequence[str]) -> dict[str, Any] | None:
    """Describe raw data folders by their listing; no file is opened.

    Parameters
    ----------
    given : str or sequence of str
        Each is walked with all folders within, links followed; or is one file.

    Returns
    -------
    dict or None
        "digest": SHA-256 over the sorted relative names, sizes and modification times (ns);
        "names_digest": the same without the times, which copying or ``touch`` changes;
        "files": how many; "bytes": their sizes' sum; "newest": the last modification, Unix time
        in seconds (None without files). None where no such folder is there, or none is named.

    Raises
    ------
    UserError
        A folder within cannot be listed.
    """
    folders = [folder for folder in folders_of(given) if os.path.exists(folder)]
    if not folders:
        return None
    entries: list[tuple[str, int, int]] = []
    for folder in folders:
        try:
            entries += sorted(_listing(folder))
        except OSError as error:
            raise UserError(
                f"cannot list the raw data: {error.strerror}", seen=error.filename or folder
            ) from error
    return {
        "digest": _digest(entries),
        "names_digest": _digest([entry[:2] for entry in entries]),
        "files": len(entries),
        "bytes": sum(size for _, size, _ in entries),
        "newest": max((modified for *_, modified in entries), default=0) / 1e9 or None,
    }


def _digest(entries: Iterable[Iterable[object]]) -> str:
    lines = ("".join(f"{part}\0" for part in entry) for entry in entries)
    return sha256(b"".join(map(os.fsencode, lines)))


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

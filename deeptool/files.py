"""Files that several processes use: written whole, locked, and told apart by their SHA-256."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import tempfile
from pathlib import Path
from typing import IO, Any

_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)


def write_text(path: str | os.PathLike[str], text: str, mode: int = 0o644) -> None:
    """Write `text` so that a reader sees the old file or the new one, never a part of either."""
    path = Path(path)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            os.fchmod(file.fileno(), mode)
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def write_json(path: str | os.PathLike[str], value: Any, mode: int = 0o644) -> None:
    """`write_text` of `value` as JSON."""
    write_text(path, json.dumps(value, indent=1) + "\n", mode)


def read_json(path: str | os.PathLike[str]) -> Any:
    """The value of a JSON file, None where there is no such file."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None


def lock(path: str | os.PathLike[str], *, wait: bool = True, optional: bool = False) -> IO[str]:
    """Lock a file, which is made where there is none.

    Returns
    -------
    file
        Open to append and read. The lock is held until it is closed, so `with lock(path):` holds
        it for a block, or until the process ends, however that ends.

    Parameters
    ----------
    path : path
        The file.
    wait : bool
        Whether to wait for whoever holds the lock.
    optional : bool
        Whether to do without a lock on a file system that has none (some shared ones).

    Raises
    ------
    BlockingIOError
        When another process holds it, unless `wait`.
    OSError
        When the file cannot be opened or locked.
    """
    file = open(path, "a+", encoding="utf-8")  # noqa: SIM115
    try:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError as error:
        if not (optional and error.errno in _NO_LOCKS):
            file.close()
            raise
    return file


def sha256(content: Path | bytes) -> str:
    """SHA-256 (hex) of a file, or of bytes."""
    if isinstance(content, bytes):
        return hashlib.sha256(content).hexdigest()
    whole = hashlib.sha256()
    with open(content, "rb") as file:
        while chunk := file.read(1 << 20):
            whole.update(chunk)
    return whole.hexdigest()

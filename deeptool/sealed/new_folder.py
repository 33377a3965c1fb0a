"""A folder that appears whole or not at all: made beside its place, and renamed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from deeptool.errors import UserError
from deeptool.files import lock
from deeptool.sealed.manifest import FILE

_LOCK = "lock"


@contextmanager
def new_folder(target: Path, *, replace: bool = False) -> Iterator[Path]:
    """A folder to fill: at the end of the block it is on the disk, and has the place of `target`.

    After an error nothing is left of it. After SIGKILL or a crash, a hidden folder beside `target`
    is left, which the next call for the same target removes.

    Parameters
    ----------
    target : Path
        Where the folder is to be.
    replace : bool
        Whether a sealed dataset that is there is removed, once the new one is whole.

    Raises
    ------
    UserError
        There is something at `target` already, another process is making it, or nothing can be
        written beside it.
    """
    hidden, replaced = (target.with_name(f".{target.name}.{what}") for what in ("new", "replaced"))
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _check_free(target, replace)
        held = _claim(hidden)
    except OSError as error:
        raise UserError(
            "a sealed dataset cannot be written there",
            seen=f"{target}: {error.strerror or error}",
            valid="a folder that this user may write",
        ) from error
    with held:
        try:
            _settle(target, replaced)
            _check_free(target, replace)
            yield hidden
            _synchronize(hidden)
            if target.exists():
                target.rename(replaced)
            hidden.rename(target)
            _synchronize_folder(target.parent)
        except BaseException:
            shutil.rmtree(hidden, ignore_errors=True)
            _settle(target, replaced)
            raise
        (target / _LOCK).unlink()
        shutil.rmtree(replaced, ignore_errors=True)


def _check_free(target: Path, replace: bool) -> None:
    if not (target.exists() or target.is_symlink()):
        return
    sealed = (target / FILE).is_file()
    if not sealed and (not target.is_dir() or any(target.iterdir())):
        raise UserError(
            "there is something else where the sealed dataset is to be",
            seen=str(target),
            valid="a folder that does not exist yet, or a sealed dataset with --replace",
        )
    if sealed and not replace:
        raise UserError(
            "there is a sealed dataset already",
            seen=str(target),
            valid="a folder that does not exist yet",
            next_step="give another folder, or --replace",
        )


def _claim(hidden: Path) -> IO[str]:
    """Make the hidden folder, empty but for a lock that this process holds."""
    while True:
        hidden.mkdir(exist_ok=True)
        try:
            held = lock(hidden / _LOCK, wait=False, optional=True)
        except BlockingIOError:
            raise UserError(
                "another process is sealing a dataset to the same folder", seen=str(hidden)
            ) from None
        except FileNotFoundError:
            continue
        if _is_at(held, hidden / _LOCK):
            break
        held.close()
    for left in hidden.iterdir():
        if left.name != _LOCK:
            shutil.rmtree(left) if left.is_dir() else left.unlink()
    return held


def _is_at(file: IO[str], path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _settle(target: Path, replaced: Path) -> None:
    """Finish or undo a replacement that was interrupted."""
    if replaced.exists() and not target.exists():
        replaced.rename(target)
    shutil.rmtree(replaced, ignore_errors=True)


def _synchronize(folder: Path) -> None:
    """Put the names of everything in it on the disk; files are there already."""
    for path, _, _ in os.walk(folder):
        _synchronize_folder(Path(path))


def _synchronize_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

"""One copy of a dataset's pass for all processes of a user on a node: the first one fills it."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

from deeptool.codec.spec import Spec
from deeptool.columns.cache_room import made_room
from deeptool.columns.copy_files import FORMAT, CopyFiles, boot_id, is_file_of
from deeptool.columns.filled_rows import RowStore
from deeptool.columns.growing_columns import Fill, GrowingColumns, NoLocalCopy
from deeptool.columns.piece_journal import PieceJournal
from deeptool.columns.row_damage import find_damage
from deeptool.columns.row_store import lay_out_rows, open_rows, rows_size
from deeptool.errors import WorkError
from deeptool.files import lock

# Copies that were found damaged and removed, before one is made.
_TRIES = 3


def find_or_fill(
    key: str,
    spec: Spec,
    samples: int,
    fill: Fill,
    folder: Path,
    *,
    expected_bytes: int = 0,
    cache_bytes: int | None = None,
    warn: Callable[[str], None] = lambda message: None,
) -> GrowingColumns:
    """The local copy of one pass: whole, filled by another process, or filled by this one from now.

    The process that fills does so in a thread. Should it die, another one that has the copy open
    continues with its own `fill`, for the rows that are missing. Close the columns in the end; as
    long as they are open, nobody removes the copy to make room.

    Parameters
    ----------
    key : str
        What it is a copy of, so that the same key means the same rows in the same order: with the
        ids of the uploads and the stored epoch. People read it, too.
    spec : Spec
        Of the rows.
    samples : int
        How many rows there are.
    fill : callable
        ``fill(write, missing)`` calls ``write(first_row, leaves)`` until the rows of all ranges
        (start, stop) of `missing` are written, in any order, from any thread. It may never be
        called; or in a thread of a fork of this process, so it makes its own connections. An
        exception of `write` is to end it.
    folder : Path
        From `deeptool.columns.cache_folder.open_cache_folder`.
    expected_bytes : int
        About what the rows take, where their sizes differ.
    cache_bytes : int or None
        Bytes that all copies may take together; None for half of the disk that others leave.
    warn : callable
        Called with one line where a damaged copy was removed.

    Raises
    ------
    NoLocalCopy
        There can be none here: no space, a folder that cannot be written. `wait` of the columns
        raises it, too, when the disk is full before all rows are written.
    """
    files = CopyFiles(folder / _copy_name(key, spec, samples))
    for _ in range(_TRIES):
        try:
            columns = _open(files, key, spec, samples, fill, expected_bytes, cache_bytes)
        except _DamagedError as error:
            warn(f"a damaged local copy was removed, and is made again: {error}")
            continue
        except FileNotFoundError:
            # Removed meanwhile by a process that found it damaged.
            continue
        except OSError as error:
            raise NoLocalCopy(
                "there can be no local copy of the dataset", seen=str(error)
            ) from error
        if columns is not None:
            try:
                columns.start()
            except NoLocalCopy:
                columns.close()
                raise
            return columns
    raise NoLocalCopy("a local copy is removed again and again", seen=str(files.path))


def is_whole(key: str, spec: Spec, samples: int, folder: Path) -> bool:
    """Whether there is a copy that has all rows; see `find_or_fill`."""
    return CopyFiles(folder / _copy_name(key, spec, samples)).whole is not None


class _DamagedError(Exception):
    pass


def _copy_name(key: str, spec: Spec, samples: int) -> str:
    said = json.dumps([FORMAT, key, samples, spec.to_json()])
    return hashlib.sha256(said.encode()).hexdigest()[:32]


def _open(
    files: CopyFiles,
    key: str,
    spec: Spec,
    samples: int,
    fill: Fill,
    expected_bytes: int,
    cache_bytes: int | None,
) -> GrowingColumns | None:
    """None where the copy was removed meanwhile."""
    use = files.hold()
    try:
        with lock(files.state):
            if not is_file_of(use, files.use):
                os.close(use)
                return None
            if files.whole is not None:
                store = _open_whole(files, spec, samples)
            elif (files.about or {}).get("boot") == boot_id():
                store = _open_begun(files, spec, samples)
            else:
                # Begun before the machine went down, or not at all.
                about = {"key": key, "samples": samples}
                store = _begin(files, spec, samples, expected_bytes, cache_bytes, about)
            journal = PieceJournal(os.open(files.journal, os.O_RDWR | os.O_CLOEXEC))
            claim = partial(_FileClaim.take, files, store, use)
            return GrowingColumns(store, journal, fill, claim, partial(os.close, use))
    except BaseException:
        os.close(use)
        raise


def _open_rows(files: CopyFiles, spec: Spec, samples: int) -> RowStore:
    return open_rows(os.open(files.rows, os.O_RDWR | os.O_CLOEXEC), spec, samples)


def _open_begun(files: CopyFiles, spec: Spec, samples: int) -> RowStore:
    try:
        return _open_rows(files, spec, samples)
    except (WorkError, FileNotFoundError) as error:
        files.remove()
        raise _DamagedError(str(error)) from error


def _open_whole(files: CopyFiles, spec: Spec, samples: int) -> RowStore:
    """Verified, unless that was done since the machine booted and the files changed."""
    try:
        store = _open_rows(files, spec, samples)
        if not files.tried():
            found = find_damage(store, files.rows, files.journal, files.whole or {})
            damage = next(found, None)
            if damage is not None:
                store.close()
                raise WorkError(damage)
            files.mark_tried()
    except (WorkError, FileNotFoundError) as error:
        key = (files.about or {}).get("key", files.path)
        files.remove()
        raise _DamagedError(f"{key}: {error}") from error
    return store


def _begin(
    files: CopyFiles,
    spec: Spec,
    samples: int,
    expected_bytes: int,
    cache_bytes: int | None,
    about: dict[str, object],
) -> RowStore:
    """Lay out a new copy, over what a process that died, or another boot, may have left."""
    size = rows_size(spec, samples)
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
    try:
        for path in (files.rows, files.journal):
            path.unlink(missing_ok=True)
        with made_room(files.path.parent, expected_bytes if size is None else size, cache_bytes):
            store = lay_out_rows(os.open(files.rows, flags, 0o600), spec, samples)
        os.close(os.open(files.journal, flags, 0o600))
        files.begin(about)
    except BaseException:
        files.remove()
        raise
    return store


class _FileClaim:
    """The lock of the process that fills."""

    def __init__(self, files: CopyFiles, store: RowStore, use: int, descriptor: int) -> None:
        self._files, self._store, self._use, self._descriptor = files, store, use, descriptor

    @classmethod
    def take(cls, files: CopyFiles, store: RowStore, use: int) -> _FileClaim | None:
        """The claim; None where another process has it, or nothing is missing.

        Raises
        ------
        NoLocalCopy
            The copy was removed.
        """
        try:
            descriptor = os.open(files.filler, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except FileNotFoundError:
            raise _removed(files) from None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not is_file_of(use, files.use):
                raise _removed(files)
            if files.whole is None:
                return cls(files, store, use, descriptor)
        except BlockingIOError:
            pass
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
        return None

    def complete(self) -> None:
        """Put all of it on the disk, then say that it is whole."""
        self._store.finish()
        journal = os.open(self._files.journal, os.O_RDONLY)
        try:
            os.fsync(journal)
        finally:
            os.close(journal)
        # Another copy may be there by now, if this one was removed by hand.
        if is_file_of(self._use, self._files.use):
            self._files.finish(self._store.outline_crc())

    def discard(self) -> None:
        """Remove it: nobody could fill it either, and its space is needed."""
        try:
            with lock(self._files.state):
                self._files.remove()
        except FileNotFoundError:
            pass

    def release(self) -> None:
        """Close the lock."""
        os.close(self._descriptor)

    def forget(self) -> None:
        """Close this process' descriptor of the lock, which its parent holds."""
        os.close(self._descriptor)


def _removed(files: CopyFiles) -> NoLocalCopy:
    return NoLocalCopy(
        "the local copy was removed while it was filled: the disk is full, or somebody did it",
        seen=str(files.path),
    )

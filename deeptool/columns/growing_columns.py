"""Columns that are read while they are filled, by this process or by another one."""

from __future__ import annotations

import errno
import os
import threading
import time
import weakref
from collections.abc import Callable, Sequence

from deeptool.codec.values import Leaves, slice_rows
from deeptool.codec.values import rows as rows_of
from deeptool.columns.columns import PATIENCE, Rows
from deeptool.columns.filled_rows import FillClaim, RowStore
from deeptool.columns.piece_journal import PieceJournal
from deeptool.columns.row_ranges import RowRanges
from deeptool.errors import WorkError

# Puts rows first, first + 1, ... in. From any thread; rows that are there already are left out.
Write = Callable[[int, Leaves], None]
# Writes all rows of these ranges, in whatever order and pieces it likes.
Fill = Callable[[Write, Sequence[tuple[int, int]]], None]

# Seconds between two looks at what another process has written.
_SHORTEST_LOOK, _LONGEST_LOOK = 0.002, 0.05
# Seconds that whoever closes columns waits for the thread that fills them: to end, where rows are
# missing, and to put them on the disk, where none is.
_END_SECONDS, _SAFE_SECONDS = 5.0, 60.0


class NoLocalCopy(WorkError):
    """There can be no copy of a dataset here; its samples are to be read from where they are."""


class FillStopped(Exception):
    """What `Write` raises when nobody wants the rows any more: let it end the `Fill`."""


class GrowingColumns:
    """See `deeptool.columns.columns.Columns`.

    Parameters
    ----------
    store : RowStore
    journal : PieceJournal
        Of what the store holds.
    fill : Fill
        Called in a thread, when this process gets the claim.
    claim : callable
        Returns a claim; None while another process holds it, and where nothing is left to do.
    release : callable
        Called when these columns are closed.
    """

    def __init__(
        self,
        store: RowStore,
        journal: PieceJournal,
        fill: Fill,
        claim: Callable[[], FillClaim | None],
        release: Callable[[], None] = lambda: None,
    ) -> None:
        self.samples = store.samples
        self._store, self._journal, self._fill = store, journal, fill
        self._claim, self._release = claim, release
        self._ranges, self._filler, self._closed = RowRanges(), None, False
        self._users = 1
        self._changed = threading.Condition(threading.RLock())
        with self._changed:
            self._read_new()
        _OPEN.add(self)

    _filler: _Filler | None

    @property
    def filled(self) -> int:
        """How many rows are there."""
        with self._changed:
            self._read_new()
            return self._ranges.count

    def start(self) -> None:
        """Begin to fill, unless another process does or nothing is left to do."""
        with self._changed:
            if self._filler is None and not self._closed:
                claim = self._claim()
                if claim is not None:
                    self._users += 1
                    self._filler = _Filler(self, claim)

    def take(self, rows: Rows) -> Leaves:
        """See `deeptool.columns.columns.Columns`."""
        self._check(rows)
        return self._store.take(rows)

    def slice(self, start: int, stop: int) -> Leaves:
        """See `deeptool.columns.columns.Columns`."""
        if self._ranges.count < self.samples:
            with self._changed:
                self._read_new()
                missing = self._ranges.missing(start, min(stop, self.samples))
            if missing:
                raise self._not_there()
        return self._store.slice(start, stop)

    def wait(self, windows: Sequence[tuple[int, int]], timeout: float = PATIENCE) -> None:
        """See `deeptool.columns.columns.Columns`.

        Raises
        ------
        NoLocalCopy
            The disk is full, or the copy was removed: read the samples from where they are.
        WorkError
            Nobody wrote a row for `timeout` seconds.
        Exception
            Whatever `fill` raised in this process.
        """
        pause, last = _SHORTEST_LOOK, time.monotonic()
        while True:
            with self._changed:
                if self._read_new():
                    pause, last = _SHORTEST_LOOK, time.monotonic()
                if all(not self._ranges.missing(*window) for window in windows):
                    return
                if self._closed:
                    raise WorkError("a local copy was closed while rows of it were awaited")
                self.start()
                if self._filler is not None and self._filler.error is not None:
                    raise self._filler.error
                if time.monotonic() - last > timeout:
                    raise WorkError(
                        "nobody has written a row of the local copy for a while",
                        seen=f"{self._ranges.count:,} of {self.samples:,} rows; "
                        f"no new one in {timeout:g} s",
                    )
                self._changed.wait(pause)
                pause = min(_LONGEST_LOOK, 1.5 * pause)

    def close(self, patience: float = _END_SECONDS) -> None:
        """See `deeptool.columns.columns.Columns`: ends what this process fills, too.

        Parameters
        ----------
        patience : float
            Seconds to wait for the thread that fills, where rows are missing. It ends later, too.
        """
        with self._changed:
            if self._closed:
                return
            self._closed, filler = True, self._filler
            self._changed.notify_all()
            whole = self._ranges.count == self.samples
        if filler is not None:
            filler.end(_SAFE_SECONDS if whole else patience)
        self._let_go()

    def _let_go(self) -> None:
        """The last one that uses the files closes them: a thread may still be writing."""
        with self._changed:
            self._users -= 1
            if self._users:
                return
            # No circle is left that would keep the memory.
            self._filler = None
            self._store.close()
            self._journal.close()
            self._release()

    def _check(self, rows: Rows) -> None:
        if len(rows) and rows.min() < 0:
            raise IndexError(f"row {rows.min()}")
        if self._ranges.count == self.samples:
            return
        with self._changed:
            self._read_new()
            held = self._ranges.holds(rows)
        if not held:
            raise self._not_there()

    def _not_there(self) -> WorkError:
        return WorkError(
            "rows of a local copy are read before they are there",
            seen=f"{self._ranges.count:,} of {self.samples:,} rows are filled",
        )

    def _read_new(self) -> bool:
        new = self._journal.read_new() if self._users else []
        if new:
            self._store.add(new)
        for piece in new:
            self._ranges.add(piece.first, piece.stop)
        return bool(new)

    def _forked(self) -> None:
        """In a fork no thread is left that fills: it follows its parent."""
        if self._filler is not None and not self._filler.ended:
            self._filler.claim.forget()
            self._users -= 1
        self._filler = None


class _Filler:
    """The thread that fills."""

    def __init__(self, columns: GrowingColumns, claim: FillClaim) -> None:
        self.claim, self.error, self.ended = claim, None, False
        self._columns, self._stopped, self._write_lock = columns, False, threading.Lock()
        self._thread = threading.Thread(target=self._run, name="fill the local copy", daemon=True)
        self._thread.start()

    error: BaseException | None

    def end(self, seconds: float) -> None:
        """Write no more, and wait that long until the thread has ended."""
        self._stopped = True
        self._thread.join(seconds)

    def _run(self) -> None:
        columns = self._columns
        try:
            with columns._changed:
                columns._read_new()
                missing = columns._ranges.missing(0, columns.samples)
            if missing:
                columns._fill(self._write, missing)
            with columns._changed:
                columns._read_new()
                if columns._ranges.count < columns.samples:
                    raise WorkError(
                        "the samples of a dataset ended before its local copy was full",
                        seen=f"{columns._ranges.count:,} of {columns.samples:,} rows",
                    )
                columns._changed.notify_all()
            self.claim.complete()
        except FillStopped as error:
            self.error = error
        except OSError as error:
            self.error = self._no_space(error)
        except BaseException as error:
            self.error = error
        finally:
            # At once, for a fork: it must not close a descriptor again that is somebody else's now.
            with columns._changed:
                self.claim.release()
                self.ended = True
                columns._changed.notify_all()
                columns._let_go()

    def _write(self, first: int, leaves: Leaves) -> None:
        columns, end = self._columns, first + rows_of(leaves)
        if not 0 <= first <= end <= columns.samples:
            raise IndexError(f"rows {first} to {end} of {columns.samples}")
        with self._write_lock:
            if self._stopped:
                raise FillStopped
            with columns._changed:
                columns._read_new()
                missing = columns._ranges.missing(first, end)
            for start, stop in missing:
                part = slice_rows(leaves, start - first, stop - first)
                piece = columns._store.write(start, part)
                with columns._changed:
                    columns._journal.append(piece)
                    columns._changed.notify_all()

    def _no_space(self, error: OSError) -> BaseException:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            return error
        self.claim.discard()
        full = NoLocalCopy(
            "the disk is too full for a local copy of the dataset", seen=error.strerror
        )
        full.__cause__ = error
        return full


_OPEN: weakref.WeakSet[GrowingColumns] = weakref.WeakSet()
_forking: list[GrowingColumns] = []


def _before_fork() -> None:
    # So that no thread that a fork lacks is in the middle of a change.
    _forking[:] = list(_OPEN)
    for columns in _forking:
        columns._changed.acquire()


def _after_fork(in_child: bool) -> None:
    for columns in _forking:
        if in_child:
            columns._forked()
        columns._changed.release()
    _forking.clear()


os.register_at_fork(
    before=_before_fork,
    after_in_parent=lambda: _after_fork(False),
    after_in_child=lambda: _after_fork(True),
)

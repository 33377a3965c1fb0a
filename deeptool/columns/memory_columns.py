"""Columns in anonymous memory: for one process and what it forks, and gone with them."""

from __future__ import annotations

import os

from rich.filesize import decimal

from deeptool.codec.spec import Spec
from deeptool.columns.filled_rows import FillClaim, RowStore
from deeptool.columns.free_memory import available_memory
from deeptool.columns.growing_columns import (
    Fill,
    GrowingColumns,
    NoLocalCopy,
)
from deeptool.columns.piece_journal import PieceJournal
from deeptool.columns.row_store import lay_out_rows, rows_size


def columns_in_memory(
    spec: Spec, samples: int, fill: Fill, *, expected_bytes: int = 0
) -> GrowingColumns:
    """Columns that a thread of this process begins to fill now.

    Parameters
    ----------
    spec : Spec
        Of the rows.
    samples : int
        How many rows there will be.
    fill : Fill
        Called in that thread, with ``write(first_row, leaves)`` and the ranges of rows to write.
    expected_bytes : int
        About what the rows take, where their sizes differ.

    Raises
    ------
    NoLocalCopy
        They take more memory than this process can still use.
    """
    size, available = rows_size(spec, samples) or expected_bytes, available_memory()
    if size > available:
        raise NoLocalCopy(
            "there is not enough memory for a copy of the dataset",
            seen=decimal(size),
            valid=f"at most {decimal(available)}: what the machine and the job's limit leave",
        )
    try:
        store: RowStore = lay_out_rows(_memory("rows"), spec, samples)
    except OSError as error:
        raise NoLocalCopy(
            "there is not enough memory for a copy of the dataset", seen=str(error)
        ) from error
    claim = _MemoryClaim()
    columns = GrowingColumns(store, PieceJournal(_memory("journal")), fill, claim.take)
    columns.start()
    return columns


def _memory(name: str) -> int:
    return os.memfd_create(f"deeptool {name}")


class _MemoryClaim:
    """Only the process that made the columns fills them, once."""

    def __init__(self) -> None:
        self._taken = False

    def take(self) -> FillClaim | None:
        taken, self._taken = self._taken, True
        return None if taken else self

    def complete(self) -> None:
        """Nothing to keep."""

    def discard(self) -> None:
        """Gone with the process."""

    def release(self) -> None:
        """Nobody else can fill."""

    def forget(self) -> None:
        """The parent fills."""

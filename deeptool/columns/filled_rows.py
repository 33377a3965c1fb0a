"""What growing columns ask of the place where their rows are, and of the right to fill it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from deeptool.codec.values import Leaves
from deeptool.columns.columns import Rows
from deeptool.columns.piece_journal import Piece


class RowStore(Protocol):
    """Where rows are.

    Attributes
    ----------
    samples : int
    """

    samples: int

    def write(self, first: int, leaves: Leaves) -> Piece: ...

    def add(self, pieces: Sequence[Piece]) -> None:
        """Take note of rows that were written, perhaps by another process."""
        ...

    def take(self, rows: Rows) -> Leaves: ...

    def slice(self, start: int, stop: int) -> Leaves: ...

    def crc(self, piece: Piece) -> int:
        """CRC-32C of what is there for a piece."""
        ...

    def outline_crc(self) -> int:
        """CRC-32C of what is there besides the rows."""
        ...

    def finish(self) -> None:
        """All rows are written: return when they are safe."""
        ...

    def close(self) -> None: ...


class FillClaim(Protocol):
    """Held by the one process that fills."""

    def complete(self) -> None:
        """All rows are there."""
        ...

    def discard(self) -> None:
        """What is there is of no use to anybody."""
        ...

    def release(self) -> None:
        """Another process may fill."""
        ...

    def forget(self) -> None:
        """This is a fork of the process that holds the claim, and holds it no more."""
        ...

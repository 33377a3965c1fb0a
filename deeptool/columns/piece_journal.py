"""Which rows a file of columns holds so far, as a log that other processes follow."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass

import crc32c

from deeptool.columns.file_memory import write_at

_ENTRY = struct.Struct("<QQQQI")
_SEAL = struct.Struct("<I")
ENTRY_BYTES = _ENTRY.size + _SEAL.size
_AT_ONCE = 4096


@dataclass(frozen=True)
class Piece:
    """Rows that were written at once.

    Attributes
    ----------
    first, stop : int
        Rows first, ..., stop - 1.
    place, length : int
        Which bytes of the file they are, where each piece has a place of its own; else 0.
    crc : int
        CRC-32C of what was written.
    """

    first: int
    stop: int
    place: int
    length: int
    crc: int

    def encode(self) -> bytes:
        entry = _ENTRY.pack(self.first, self.stop, self.place, self.length, self.crc)
        return entry + _SEAL.pack(crc32c.crc32c(entry))


class PieceJournal:
    """Pieces in the order in which they were written. One process at a time appends.

    An entry is whole or it is not there: each has a CRC of its own, so one that a killed process
    left half-written counts for nothing.

    Parameters
    ----------
    descriptor : int
        Of its file, open to read and write; becomes the journal's own.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._read = self._end = 0

    def read_new(self) -> list[Piece]:
        """Those that were added since the last call, by whatever process."""
        found: list[Piece] = []
        while True:
            content = os.pread(self._descriptor, _AT_ONCE * ENTRY_BYTES, self._read)
            pieces = list(_whole_pieces(content))
            found += pieces
            self._read += len(pieces) * ENTRY_BYTES
            if len(pieces) < _AT_ONCE:
                return found

    def append(self, piece: Piece) -> None:
        """Add one, whose rows are written; what others appended must have been read before.

        Raises
        ------
        OSError
            The disk is full, for example.
        """
        self._end = max(self._end, self._read)
        write_at(self._descriptor, self._end, piece.encode())
        self._end += ENTRY_BYTES

    def content(self) -> bytes:
        """All entries that were read."""
        return os.pread(self._descriptor, self._read, 0)

    def synchronize(self) -> None:
        """Return when it is on the disk."""
        os.fsync(self._descriptor)

    def close(self) -> None:
        os.close(self._descriptor)


def _whole_pieces(content: bytes) -> Iterator[Piece]:
    for start in range(0, len(content) - ENTRY_BYTES + 1, ENTRY_BYTES):
        piece = Piece(*_ENTRY.unpack_from(content, start))
        if content[start : start + ENTRY_BYTES] != piece.encode():
            return
        yield piece

"""What is kept of files of rows that are full, to compare them with it later."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from deeptool.columns.filled_rows import RowStore
from deeptool.columns.piece_journal import Piece, PieceJournal
from deeptool.columns.row_ranges import RowRanges
from deeptool.files import sha256


def row_digests(rows: Path, journal: Path, outline_crc: int) -> dict[str, Any]:
    """What `find_damage` compares files with.

    Parameters
    ----------
    rows, journal : Path
        A full file of rows, and its journal: the digests of the rows are in that.
    outline_crc : int
        CRC-32C of what is in the file of rows besides them.
    """
    size = rows.stat().st_size
    return {"size": size, "outline": outline_crc, "journal": sha256(journal)}


def read_pieces(journal: Path) -> list[Piece]:
    """All entries of a journal.

    Raises
    ------
    OSError
        It cannot be read.
    """
    opened = PieceJournal(os.open(journal, os.O_RDONLY | os.O_CLOEXEC))
    try:
        return opened.read_new()
    finally:
        opened.close()


def find_damage(
    store: RowStore,
    rows: Path,
    journal: Path,
    whole: Mapping[str, Any],
    on_piece: Callable[[Piece], None] = lambda piece: None,
) -> Iterator[str]:
    """What differs from the digests that were kept, one text for each place; nothing if all is so.

    Afterwards the store knows all rows, if nothing differs.

    Parameters
    ----------
    store : RowStore
        The file of rows, of which nothing was read yet.
    rows, journal : Path
        The files.
    whole : mapping
        From `row_digests`.
    on_piece : callable
        Called with each piece that is as it was written.
    """
    size = rows.stat().st_size
    if size != whole.get("size"):
        yield f"the file of rows has {size:,} bytes, not {whole.get('size'):,}"
        return
    if sha256(journal) != whole.get("journal"):
        yield "the journal has another digest"
        return
    pieces, held, damaged = read_pieces(journal), RowRanges(), False
    for piece in pieces:
        held.add(piece.first, piece.stop)
        # Before anything is read from it as Arrow.
        if store.crc(piece) != piece.crc:
            damaged = True
            yield f"rows {piece.first:,} to {piece.stop - 1:,} have another CRC"
        else:
            on_piece(piece)
    if held.missing(0, store.samples):
        yield f"only {held.count:,} of {store.samples:,} rows are there"
        return
    if damaged:
        return
    store.add(pieces)
    if store.outline_crc() != whole.get("outline"):
        yield "the file of rows has another outline"

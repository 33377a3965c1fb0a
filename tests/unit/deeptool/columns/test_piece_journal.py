"""The journal: followers see whole entries only, whenever its writer was killed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from deeptool.columns.piece_journal import ENTRY_BYTES, Piece, PieceJournal

PIECES = [Piece(7 * n, 7 * n + 7, n * 2**33, n, 2**32 - 1 - n) for n in range(5)]


def journal(path: Path) -> PieceJournal:
    return PieceJournal(os.open(path, os.O_RDWR | os.O_CREAT))


def test_others_read_each_piece_once(tmp_path: Path) -> None:
    writer, reader = journal(tmp_path / "j"), journal(tmp_path / "j")
    writer.append(PIECES[0])
    writer.append(PIECES[1])
    assert reader.read_new() == PIECES[:2]
    assert reader.read_new() == []
    writer.append(PIECES[2])
    assert reader.read_new() == PIECES[2:3]
    assert writer.read_new() == PIECES[:3]


def test_whoever_takes_over_continues_behind_the_last_whole_entry(tmp_path: Path) -> None:
    for size in range(ENTRY_BYTES):
        path = tmp_path / str(size)
        first = journal(path)
        first.append(PIECES[0])
        # Killed while it wrote this one.
        with open(path, "ab") as file:
            file.write(PIECES[1].encode()[:size])
        second = journal(path)
        assert second.read_new() == PIECES[:1]
        second.append(PIECES[2])
        second.append(PIECES[3])
        assert journal(path).read_new() == [PIECES[0], PIECES[2], PIECES[3]]
        assert path.stat().st_size == 3 * ENTRY_BYTES


@pytest.mark.parametrize("place", range(ENTRY_BYTES))
def test_an_entry_with_a_flipped_bit_ends_it(tmp_path: Path, place: int) -> None:
    content = b"".join(piece.encode() for piece in PIECES[:3])
    damaged = bytearray(content)
    damaged[ENTRY_BYTES + place] ^= 1
    (tmp_path / "j").write_bytes(damaged)
    assert journal(tmp_path / "j").read_new() == PIECES[:1]


def test_more_entries_than_are_read_at_once(tmp_path: Path) -> None:
    writer = journal(tmp_path / "j")
    pieces = [Piece(n, n + 1, 0, 0, n) for n in range(10_000)]
    for piece in pieces:
        writer.append(piece)
    assert journal(tmp_path / "j").read_new() == pieces

"""The rows of one sealed pass of an upload: verified where they are read as records."""

from __future__ import annotations

import os
from bisect import bisect_left, bisect_right
from dataclasses import dataclass, field
from pathlib import Path

from deeptool.codec.spec import Spec
from deeptool.codec.values import Leaves
from deeptool.columns.filled_rows import RowStore
from deeptool.columns.fixed_columns import is_fixed
from deeptool.columns.piece_journal import Piece
from deeptool.columns.row_damage import read_pieces
from deeptool.columns.row_store import open_rows
from deeptool.errors import DeeptoolError, UserError, WorkError
from deeptool.files import sha256
from deeptool.sealed.manifest import SealedPass, unreadable
from deeptool.sealed.record_list import RecordList

JOURNAL, RECORDS = "journal", "records.arrow"


def rows_spec(spec: Spec) -> Spec:
    """Of the rows that are sealed of a dataset: its own, whatever the size of its batches."""
    return Spec(spec.nest(list(spec.leaves)), spec.batched).with_rows(None)


def rows_file(spec: Spec) -> str:
    """The name of the file of rows: by their form, an Arrow file or an Arrow stream."""
    return "rows.arrow" if is_fixed(spec) else "rows.arrows"


@dataclass
class SealedRows:
    """The open rows of a sealed pass.

    Attributes
    ----------
    store : RowStore
    records : RecordList
    pieces : list of Piece
        Ascending by their rows.
    path : Path
        Of their folder.
    """

    store: RowStore
    records: RecordList
    pieces: list[Piece]
    path: Path
    _verified: set[int] = field(default_factory=set)

    def verified(self, start: int, stop: int) -> Leaves:
        """Rows start, ..., stop - 1, compared with their digests when they are read first.

        Raises
        ------
        WorkError
            They are not what was sealed.
        """
        low = bisect_right(self.pieces, start, key=lambda piece: piece.first) - 1
        high = bisect_left(self.pieces, stop, key=lambda piece: piece.first)
        for number in range(max(low, 0), high):
            piece = self.pieces[number]
            if number not in self._verified and self.store.crc(piece) != piece.crc:
                raise damaged(self.path, f"rows {piece.first:,} to {piece.stop - 1:,}")
            self._verified.add(number)
        return self.store.slice(start, stop)


def damaged(path: Path, seen: str) -> WorkError:
    """The error of files that are not as they were sealed."""
    return WorkError(
        "a sealed dataset is damaged",
        seen=f"{path}: {seen}",
        valid="files as deeptool seal wrote them",
        next_step=f"deeptool check {path.parent.parent} lists what is damaged; copy the folder "
        "again, or seal the dataset again with --replace",
    )


def check_sizes(root: Path, sealed: SealedPass) -> None:
    """Return if the files of a pass are there, and as long as they were.

    Raises
    ------
    UserError
        One is missing, too short, or cannot be read.
    """
    for name, size in sealed.sizes.items():
        path = root / sealed.folder / name
        try:
            found: int | None = path.stat().st_size
            os.close(os.open(path, os.O_RDONLY))
        except FileNotFoundError:
            found = None
        except OSError as error:
            raise unreadable(path, error) from error
        if found != size:
            raise UserError(
                "a sealed dataset is not complete: its folder was copied in part, perhaps",
                seen=f"{path}: {'missing' if found is None else f'{found:,} bytes'}",
                valid=f"{size:,} bytes",
                next_step="copy the folder again, or seal the dataset again with --replace",
            )


def open_sealed_rows(root: Path, sealed: SealedPass, spec: Spec, samples: int) -> SealedRows:
    """Open the rows of a pass.

    Parameters
    ----------
    root : Path
        The folder of the dataset.
    spec : Spec
        From `rows_spec`.
    samples : int
        How many there are.

    Raises
    ------
    UserError
        A file is missing, too short, or cannot be read.
    WorkError
        Something but the rows themselves is damaged.
    """
    check_sizes(root, sealed)
    path = root / sealed.folder
    if sha256(path / RECORDS) != sealed.records_sha256:
        raise damaged(path, f"{RECORDS} has another digest")
    if sha256(path / JOURNAL) != sealed.digests["journal"]:
        raise damaged(path, f"{JOURNAL} has another digest")
    records, pieces = RecordList.read(path / RECORDS), read_pieces(path / JOURNAL)
    try:
        store = open_rows(os.open(path / sealed.rows, os.O_RDONLY | os.O_CLOEXEC), spec, samples)
        store.add(pieces)
        if store.outline_crc() != sealed.digests["outline"]:
            raise WorkError("the file of rows has another outline")
    except DeeptoolError as error:
        seen = f"{sealed.rows}: {error.what}" + (f" ({error.seen})" if error.seen else "")
        raise damaged(path, seen) from error
    return SealedRows(store, records, sorted(pieces, key=lambda piece: piece.first), path)

"""Read a sealed dataset whole, and compare it with what was kept of it."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

from deeptool.columns.piece_journal import Piece
from deeptool.columns.row_damage import find_damage
from deeptool.columns.row_store import open_rows
from deeptool.errors import DeeptoolError
from deeptool.files import sha256
from deeptool.progress import Listener, Progress
from deeptool.sealed.record_list import RecordList
from deeptool.sealed.sealed_folder import SealedFolder
from deeptool.sealed.sealed_rows import JOURNAL, RECORDS, check_sizes, rows_spec
from deeptool.store.check import Checked, Damage


def check_sealed(folder: SealedFolder, topic: str, listener: Listener) -> Checked:
    """Verify all files of one upload: their sizes, every row, and the digest of the upload.

    Parameters
    ----------
    listener : callable
        Told of the progress.
    """
    return _SealedCheck(folder, topic, listener).run()


class _SealedCheck:
    def __init__(self, folder: SealedFolder, topic: str, listener: Listener) -> None:
        self._folder, self._upload, self._listener = folder, folder.upload(topic), listener
        self._samples = self._records = self._bytes = self._epoch = 0
        self._began = time.monotonic()

    def run(self) -> Checked:
        begun, damages = self._upload.begun, []
        for epoch in range(len(self._upload.passes)):
            self._epoch = epoch
            for reason in self._damage(epoch):
                damages.append(Damage(None, None, None, f"epoch {epoch}: {reason}"))
        self._report("failed" if damages else "complete")
        counts = (self._samples, self._records, self._bytes)
        seconds = time.monotonic() - self._began
        return Checked(begun.topic, begun.upload, *counts, tuple(damages), seconds)

    def _damage(self, epoch: int) -> Iterator[str]:
        sealed, stored = self._upload.passes[epoch], self._upload.completed.epochs[epoch]
        path = self._folder.path / sealed.folder
        try:
            check_sizes(self._folder.path, sealed)
            if sha256(path / RECORDS) != sealed.records_sha256:
                yield f"{path / RECORDS} has another digest"
            elif (different := RecordList.read(path / RECORDS).differs(stored)) is not None:
                yield f"{path / RECORDS}: {different}"
            spec = rows_spec(self._upload.begun.element_spec)
            descriptor = os.open(path / sealed.rows, os.O_RDONLY | os.O_CLOEXEC)
            store = open_rows(descriptor, spec, stored.samples)
        except (DeeptoolError, OSError, ValueError) as error:
            yield " ".join(str(error).split())
            return
        damaged = False
        try:
            places = path / sealed.rows, path / JOURNAL
            for reason in find_damage(store, *places, sealed.digests, self._count):
                damaged = True
                yield f"{path}: {reason}"
        finally:
            store.close()
        if not damaged:
            self._records += stored.records
            self._bytes += stored.bytes

    def _count(self, piece: Piece) -> None:
        self._samples += piece.stop - piece.first
        self._report("running")

    def _report(self, state: str) -> None:
        epochs = self._upload.completed.epochs
        total = sum(epoch.samples for epoch in epochs)
        seconds = time.monotonic() - self._began
        self._listener(
            Progress(state, self._epoch, len(epochs), self._samples, total, self._bytes, seconds)
        )

"""An opened sealed dataset: its catalog, and its rows, opened when they are first asked for."""

from __future__ import annotations

import os
import weakref
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from deeptool.catalog import datasets
from deeptool.catalog.fold import Catalog, fold
from deeptool.catalog.stored import NotStored, Stored
from deeptool.codec import DEFAULT_CODEC
from deeptool.codec.values import Leaves
from deeptool.errors import UserError
from deeptool.fork_lock import ForkLock
from deeptool.sealed.manifest import Manifest, SealedUpload, read_manifest
from deeptool.sealed.sealed_rows import SealedRows, check_sizes, open_sealed_rows, rows_spec


class SealedFolder:
    """A sealed dataset.

    Parameters
    ----------
    path : Path
        Its folder, which may be moved while nobody has it open.

    Raises
    ------
    UserError
        The folder is no sealed dataset that this deeptool can read.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path).absolute()
        self.manifest: Manifest = read_manifest(self.path)
        self._uploads = {upload.begun.topic: upload for upload in self.manifest.uploads}
        self._open: dict[tuple[str, int], SealedRows] = {}
        self._lock = ForkLock()
        weakref.finalize(self, _close, self._open)

    def __reduce__(self) -> tuple[type[SealedFolder], tuple[Path]]:
        # Another process opens the files itself.
        return SealedFolder, (self.path,)

    @property
    def catalog(self) -> Catalog:
        """What it holds, as the catalog of a broker would say it.

        Its records are made of rows when they are read: in the codec that needs no TensorFlow,
        whatever they were uploaded in.
        """
        return fold(
            event
            for upload in self.manifest.uploads
            for event in (replace(upload.begun, codec=DEFAULT_CODEC), upload.completed)
        )

    def find(self, split: str, proc_id: int | Sequence[int] | None = None) -> Stored:
        """The uploads to read for a split; see `deeptool.catalog.datasets.find_dataset`.

        Raises
        ------
        NotStored
            It holds no such split or procID.
        UserError
            It holds several variants and none was named; or a file of it is missing or too short.
        """
        try:
            stored = datasets.find_dataset(self.catalog, self.manifest.name, split, proc_id)
        except NotStored as error:
            raise self.lacks(error) from error
        self.check_files(stored)
        return stored

    def lacks(self, error: NotStored) -> UserError:
        """The same error, of this folder: nothing can be uploaded to it."""
        held = sorted({upload.begun.split for upload in self.manifest.uploads})
        return NotStored(
            error.what,
            seen=f"{self.path}: {error.seen}",
            valid=f"split {' or '.join(held)}",
            next_step=f"deeptool inspect {self.path} lists what it holds",
        )

    def check_files(self, stored: Stored) -> None:
        """Return if all files of a dataset are there, and as long as they were.

        Raises
        ------
        UserError
            One is not, or cannot be read.
        """
        for shard in stored.shards:
            self.check_passes(self._uploads[shard.topic])

    def check_passes(self, upload: SealedUpload) -> None:
        """As `check_files`, of one upload."""
        for sealed in upload.passes:
            check_sizes(self.path, sealed)

    def upload(self, topic: str) -> SealedUpload:
        """What is sealed of a topic."""
        return self._uploads[topic]

    def samples(self, topic: str, records: int) -> list[Leaves]:
        """The samples of some records, evenly spaced over the first stored pass of an upload.

        Raises
        ------
        UserError, WorkError
            Its files are not what was sealed.
        """
        rows = self.rows(topic, 0)
        firsts, counts = rows.records.firsts, rows.records.counts
        shares = min(records, len(firsts))
        chosen = [(2 * share + 1) * len(firsts) // (2 * shares) for share in range(shares)]
        return [
            rows.verified(int(firsts[number]), int(firsts[number] + counts[number]))
            for number in chosen
        ]

    def rows(self, topic: str, epoch: int) -> SealedRows:
        """The rows of a stored pass of one upload.

        Raises
        ------
        UserError, WorkError
            Its files are not what was sealed; see `open_sealed_rows`.
        """
        with self._lock:
            if (topic, epoch) not in self._open:
                upload = self._uploads[topic]
                samples = upload.completed.epochs[epoch].samples
                spec = rows_spec(upload.begun.element_spec)
                self._open[topic, epoch] = open_sealed_rows(
                    self.path, upload.passes[epoch], spec, samples
                )
            return self._open[topic, epoch]


def _close(opened: dict[tuple[str, int], SealedRows]) -> None:
    for rows in opened.values():
        rows.store.close()

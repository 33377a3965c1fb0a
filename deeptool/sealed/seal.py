"""Write a stored dataset as files: every record read once, and compared with what was uploaded."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np
from rich.filesize import decimal

from deeptool.catalog.damage import check_legible
from deeptool.catalog.datasets import find_dataset
from deeptool.catalog.events import EpochStored
from deeptool.catalog.fold import Catalog, Upload
from deeptool.catalog.stored import Shard
from deeptool.client.topic_names import SPLITS, topic_name
from deeptool.codec import make_codec
from deeptool.codec.protocol import Codec
from deeptool.codec.records import TARGET_BYTES, checksum
from deeptool.codec.values import Leaves, concat_rows, uniform_shape
from deeptool.columns.piece_journal import PieceJournal
from deeptool.columns.row_damage import row_digests
from deeptool.columns.row_store import lay_out_rows
from deeptool.errors import UserError, WorkError
from deeptool.files import sha256
from deeptool.progress import Listener, Progress
from deeptool.rows.record_table import RecordTable, record_table
from deeptool.sealed.manifest import Manifest, SealedPass, SealedUpload
from deeptool.sealed.new_folder import new_folder
from deeptool.sealed.record_list import Column, RecordList
from deeptool.sealed.sealed_rows import JOURNAL, RECORDS, rows_file, rows_spec
from deeptool.store.read_meter import ReadMeter
from deeptool.store.record_store import RecordStore, StoredRecord

# Of records that are fetched ahead, and records that are asked for at once.
_AHEAD_BYTES, _QUEUE_BYTES, _RECORDS_LISTED = 32 << 20, 16 << 20, 4096


def uploads_to_seal(catalog: Catalog, name: str, split: str | None = None) -> list[Upload]:
    """All that is complete of a dataset: its variants, or its shards, which come all together.

    Parameters
    ----------
    split : str or None
        "train" or "val"; None: both, as far as they are stored.

    Raises
    ------
    UserError
        Nothing is, or a part of it is missing or lost to a damaged catalog.
    """
    found: list[Upload] = []
    for one in SPLITS if split is None else (split,):
        check_legible(catalog, name, one, None)
        current = [state.current for _, state in sorted(catalog.items())]
        uploads = [
            upload
            for upload in current
            if upload is not None
            # What was uploaded to a topic of another name is no part of the dataset.
            and upload.begun.topic == topic_name(name, upload.begun.proc_id, one)
        ]
        if any(upload.begun.num_procs > 1 for upload in uploads):
            uploads = [shard.upload for shard in find_dataset(catalog, name, one).shards]
        found += uploads
    if not found:
        raise UserError(
            "no complete dataset is stored under this name",
            seen=name if split is None else f"{name}, split {split}",
            valid=", ".join(
                sorted({s.current.begun.session for s in catalog.values() if s.current})
            )
            or None,
            next_step="deeptool inspect lists what is stored",
        )
    return found


def seal(
    store: RecordStore,
    name: str,
    uploads: Sequence[Upload],
    target: Path,
    *,
    replace: bool = False,
    listener: Listener = lambda progress: None,
) -> Manifest:
    """Write complete uploads to a new folder: all of them, or nothing.

    Parameters
    ----------
    store : RecordStore
        Where their records are.
    name : str
        Of the dataset.
    uploads : sequence of Upload
        From `uploads_to_seal`.
    target : Path
        The folder, which must not exist yet.
    replace : bool
        Whether a sealed dataset may be there: then the new one takes its place.
    listener : callable
        Told of the progress.

    Raises
    ------
    UserError
        The folder is there already, cannot be made, or there is not enough space for it.
    WorkError
        A record is damaged, or the disk is full.
    """
    expected = sum(upload.bytes for upload in uploads)
    try:
        with new_folder(target, replace=replace) as folder:
            free = shutil.disk_usage(folder).free
            if free < expected:
                raise UserError(
                    "there is not enough space for the sealed dataset",
                    seen=f"{decimal(free)} are free at {target.parent}",
                    valid=f"about {decimal(expected)}",
                )
            work = _Sealing(store, folder, uploads, listener)
            versions = {package: version(package) for package in ("deeptool", "pyarrow")}
            manifest = Manifest(name, time.time(), versions, tuple(work.run()))
            manifest.write(folder)
    except OSError as error:
        raise WorkError(
            "the sealed dataset could not be written",
            seen=f"{target}: {error.strerror or error}",
            next_step="free some space, or give a folder on another disk; nothing was left there",
        ) from error
    return manifest


class _Sealing:
    """One run of `seal`."""

    def __init__(
        self, store: RecordStore, folder: Path, uploads: Sequence[Upload], listener: Listener
    ) -> None:
        self._store, self._folder, self._uploads = store, folder, uploads
        self._listener, self._began = listener, time.monotonic()
        self._samples = self._bytes = 0

    def run(self) -> Iterator[SealedUpload]:
        epochs = 0
        for upload in self._uploads:
            begun, completed = upload.begun, upload.completed
            if completed is None:
                raise WorkError("this upload is not complete", seen=upload.id)
            epochs = len(completed.epochs)
            passes = tuple(self._pass(upload, epoch, completed.epochs) for epoch in range(epochs))
            yield SealedUpload(begun, completed, passes)
        self._report("complete", epochs - 1, epochs)

    def _pass(self, upload: Upload, epoch: int, epochs: Sequence[EpochStored]) -> SealedPass:
        """Write one stored pass of one upload."""
        stored, begun = epochs[epoch], upload.begun
        table = record_table(self._store, [Shard(begun.topic, upload)], [stored], epoch)
        spec = rows_spec(begun.element_spec)
        name = rows_file(spec)
        path = self._folder / begun.topic / f"pass-{epoch}"
        path.mkdir(parents=True)
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        rows = lay_out_rows(os.open(path / name, flags, 0o644), spec, stored.samples)
        try:
            journal = PieceJournal(os.open(path / JOURNAL, flags, 0o644))
            try:
                # As they were uploaded: from here on it is the same whatever they were stored in.
                codec = make_codec(begun.codec, begun.element_spec)
                crcs: Column = np.zeros(len(table.firsts), np.int64)
                ends: list[tuple[int, ...] | None] = []
                first = 0
                for leaves in _joined(self._read(table, codec, crcs, ends, len(epochs))):
                    piece = rows.write(first, leaves)
                    journal.append(piece)
                    first = piece.stop
                rows.finish()
                journal.synchronize()
            finally:
                journal.close()
            outline = rows.outline_crc()
        finally:
            rows.close()
        records = RecordList(
            table.partitions, table.offsets, table.firsts, table.counts, crcs, ends
        )
        if (different := records.differs(stored)) is not None:
            raise _damaged(begun.topic, f"epoch {epoch}: {different}")
        records.write(path / RECORDS)
        sizes = {file: (path / file).stat().st_size for file in (name, JOURNAL, RECORDS)}
        digests = row_digests(path / name, path / JOURNAL, outline)
        folder = str(path.relative_to(self._folder))
        return SealedPass(folder, name, sizes, digests, sha256(path / RECORDS))

    def _read(
        self,
        table: RecordTable,
        codec: Codec,
        crcs: Column,
        ends: list[tuple[int, ...] | None],
        epochs: int,
    ) -> Iterator[tuple[Leaves, int]]:
        """The rows of each record and its size, in the order of rows; compared with its CRC."""
        total = len(table.firsts)
        topic = table.topics[0]
        for begin in range(0, total, _RECORDS_LISTED):
            part = range(begin, min(begin + _RECORDS_LISTED, total))
            window = self._window(topic)
            blocks = [
                block
                for low in range(part.start, part.stop, window)
                for block in table.blocks(range(low, min(low + window, part.stop)))
            ]
            with self._store.open_pass(
                blocks, window=2 * window, queue_bytes=_QUEUE_BYTES, meter=ReadMeter()
            ) as source:
                for number in part:
                    record = source.take_record(table.lane(number))
                    header = table.check(number, record)
                    crcs[number] = _checked(topic, record, header.crc)
                    ends.append(header.ends)
                    size = len(record.value) + len(record.key or b"")
                    yield codec.decode(record.value, record.key), size
                    self._samples += header.count
                    self._bytes += size
                    self._report("running", table.epoch, epochs)

    def _window(self, topic: str) -> int:
        """Records that are read in turn from their partitions."""
        upload = next(one for one in self._uploads if one.begun.topic == topic)
        epochs = upload.completed.epochs if upload.completed else ()
        records = max(1, sum(epoch.records for epoch in epochs))
        return max(16, int(_AHEAD_BYTES // max(1, upload.bytes // records)) // 2)

    def _report(self, state: str, epoch: int, epochs: int) -> None:
        total = sum(upload.samples for upload in self._uploads)
        seconds = time.monotonic() - self._began
        self._listener(Progress(state, epoch, epochs, self._samples, total, self._bytes, seconds))


def _checked(topic: str, record: StoredRecord, crc: int) -> int:
    found = checksum(record.value, record.key)
    if found != crc:
        raise _damaged(
            topic, f"offset {record.offset}: its checksum is {found:08x}, {crc:08x} at its upload"
        )
    return found


def _damaged(topic: str, seen: str) -> WorkError:
    return WorkError(
        f"topic {topic} is not as it was uploaded, and was not sealed",
        seen=seen,
        next_step="deeptool check lists what is damaged; upload it again with --replace",
    )


def _joined(records: Iterator[tuple[Leaves, int]]) -> Iterator[Leaves]:
    """Rows of neighbouring records together, up to the usual size of a record.

    Records can hold single samples; rows of one piece have one shape.
    """
    waiting: list[Leaves] = []
    held = 0
    for leaves, size in records:
        if waiting and (held + size > TARGET_BYTES or _shapes(leaves) != _shapes(waiting[0])):
            yield concat_rows(waiting)
            waiting, held = [], 0
        waiting.append(leaves)
        held += size
    if waiting:
        yield concat_rows(waiting)


def _shapes(leaves: Leaves) -> list[tuple[int, ...]]:
    return [uniform_shape(value) for value in leaves]

"""Upload a sealed dataset: the same records, in the same partitions, with the same digests."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from deeptool.catalog.catalog_log import CatalogLog
from deeptool.catalog.claim import claim, upload_owner
from deeptool.catalog.events import Begun, Completed
from deeptool.catalog.fold import TopicState
from deeptool.catalog.stored import digest_of
from deeptool.client import admin
from deeptool.client.topic_names import topic_name
from deeptool.codec import make_codec
from deeptool.codec.records import Record, RecordHeader, checksum
from deeptool.errors import UserError, WorkError
from deeptool.producer import data_topic
from deeptool.producer.claimed_upload import ClaimedUpload
from deeptool.producer.commit import delete_garbage
from deeptool.producer.disk_space import DiskSpaceCheck
from deeptool.producer.sender import Sender
from deeptool.progress import Listener, Progress
from deeptool.sealed.manifest import SealedUpload
from deeptool.sealed.sealed_folder import SealedFolder

_REPORT_SECONDS = 0.1


def unseal(
    log: CatalogLog,
    folder: SealedFolder,
    upload: SealedUpload,
    name: str,
    *,
    replace_stored: bool = False,
    listener: Listener = lambda progress: None,
    on_wait: Callable[[str], None] | None = None,
) -> Completed:
    """Store one upload of a sealed dataset on a broker again, unless it is there.

    It has another id, since ids are never used again, and the digests that it had.

    Parameters
    ----------
    log : CatalogLog
        Of the cluster to write to.
    folder : SealedFolder
    upload : SealedUpload
        One of its manifest.
    name : str
        What the dataset is to be called.
    replace_stored : bool
        Whether a complete upload may be there.
    listener : callable
        Told of the progress.
    on_wait : callable, optional
        See `deeptool.catalog.claim.claim`.

    Raises
    ------
    UserError
        The topic holds another dataset, another upload writes to it, or it has too few partitions.
    WorkError
        Files are damaged, or the broker failed.
    """
    topic = topic_name(name, upload.begun.proc_id, upload.begun.split)
    current = log.read(create=True).get(topic, TopicState()).current
    there = current.completed if current and not replace_stored else None
    if there is not None and digest_of((there,)) == digest_of((upload.completed,)):
        return there
    folder.check_passes(upload)
    delete_garbage(log, topic)
    wanted = 1 + max(p for epoch in upload.completed.epochs for p in epoch.runs)
    partitions, max_message_bytes = data_topic.prepare_topic(log.connection, topic, wanted)
    if len(partitions) < wanted:
        raise UserError(
            f"topic {topic} has fewer partitions than the dataset had",
            seen=len(partitions),
            valid=f"at least {wanted}",
            next_step="give another --name",
        )
    start = admin.end_offsets(log.connection, topic, partitions)
    begun = claim(log, _begun(upload.begun, topic, name, start, replace_stored), on_wait=on_wait)
    sender = Sender(
        log.connection,
        topic,
        partitions,
        compression="none",
        max_message_bytes=max_message_bytes,
    )
    work = _SealedWork(folder, upload, listener)
    claimed = ClaimedUpload(log, begun, sender, work, "none")
    completed = claimed.run(lambda: _completed(upload, begun, sender))
    delete_garbage(log, topic)
    return completed


def _begun(
    sealed: Begun, topic: str, name: str, start: dict[int, int], replace_stored: bool
) -> Begun:
    return replace(
        sealed,
        topic=topic,
        upload=uuid.uuid4().hex,
        owner=upload_owner(),
        session=name,
        start=start,
        time=time.time(),
        takes_over=None,
        replace=replace_stored,
    )


def _completed(upload: SealedUpload, begun: Begun, sender: Sender) -> Completed:
    """What the catalog said of the upload, and where its records are now."""
    epochs = []
    for sealed, stored in zip(upload.completed.epochs, sender.ledger.epochs(), strict=True):
        if stored.digests != sealed.digests:
            raise WorkError(f"the records sent to topic {begun.topic} have another digest")
        epochs.append(replace(sealed, runs=stored.runs))
    return replace(
        upload.completed,
        topic=begun.topic,
        upload=begun.upload,
        epochs=tuple(epochs),
        time=time.time(),
    )


@dataclass
class _SealedWork:
    """The records of a sealed upload; see `deeptool.producer.claimed_upload.RecordsToSend`."""

    folder: SealedFolder
    upload: SealedUpload
    listener: Listener
    _began: float = field(default_factory=time.monotonic)
    _reported: float = 0.0
    _epoch: int = 0

    @property
    def expected(self) -> int:
        return sum(epoch.samples for epoch in self.upload.completed.epochs)

    def run(self, begun: Begun, sender: Sender, space: DiskSpaceCheck) -> None:
        codec = make_codec(begun.codec, begun.element_spec)
        for epoch in range(len(self.upload.passes)):
            self._epoch = epoch
            rows = self.folder.rows(self.upload.begun.topic, epoch)
            records = rows.records
            for number in range(len(records)):
                first, count = int(records.firsts[number]), int(records.counts[number])
                key, value = codec.to_record(rows.verified(first, first + count))
                crc = checksum(value, key)
                if crc != records.crcs[number]:
                    raise self._other_bytes(first, first + count)
                header = RecordHeader(begun.upload, epoch, first, count, crc, records.ends[number])
                record = Record(key, value, header.to_kafka(), first, count, crc)
                sender.send(epoch, record, int(records.partitions[number]))
                space.add_record(record)
                self._tell(sender)
        sender.wait()

    def report(self, state: str, sender: Sender) -> None:
        ledger, seconds = sender.ledger, time.monotonic() - self._began
        epochs = len(self.upload.passes)
        self.listener(
            Progress(
                *(state, self._epoch, epochs, ledger.samples, self.expected),
                *(ledger.bytes, seconds),
            )
        )

    def _tell(self, sender: Sender) -> None:
        now = time.monotonic()
        if now - self._reported >= _REPORT_SECONDS:
            self._reported = now
            self.report("running", sender)

    def _other_bytes(self, first: int, stop: int) -> WorkError:
        made = self.folder.manifest.versions.get("pyarrow", "of another version")
        return WorkError(
            "the records of a sealed dataset cannot be made again as they were",
            seen=f"samples {first} to {stop - 1} of {self.upload.begun.topic}",
            valid=f"the bytes that were uploaded: pyarrow {made} read them then",
            next_step=f"python -m pip install pyarrow=={made}, then unseal it again",
        )

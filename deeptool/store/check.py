"""Read a stored dataset whole, and compare it with what the catalog kept of its upload."""

from __future__ import annotations

import time
from array import array
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from confluent_kafka import Message

from deeptool.catalog.events import EpochStored
from deeptool.catalog.fold import Upload
from deeptool.client import admin
from deeptool.client.connection import Connection
from deeptool.client.consume import SILENT_SECONDS
from deeptool.client.scan import Unreadable, scan
from deeptool.codec import make_codec
from deeptool.codec.protocol import Codec
from deeptool.codec.records import Digest, checksum, headers_damaged, parse_headers
from deeptool.codec.values import rows
from deeptool.errors import DeeptoolError, WorkError
from deeptool.progress import Listener, Progress


@dataclass(frozen=True)
class Damage:
    """Something that differs from what was uploaded.

    Attributes
    ----------
    partition : int or None
        None: of an epoch as a whole.
    start, stop : int or None
        The offsets of the records, half-open; None: of the partition as a whole.
    reason : str
    """

    partition: int | None
    start: int | None
    stop: int | None
    reason: str

    def __str__(self) -> str:
        if self.partition is None:
            return self.reason
        if self.start is None or self.stop is None:
            return f"partition {self.partition}: {self.reason}"
        last = f" to {self.stop - 1}" if self.stop > self.start + 1 else ""
        return f"partition {self.partition}, offset {self.start}{last}: {self.reason}"


@dataclass(frozen=True)
class Checked:
    """What a check found.

    Attributes
    ----------
    topic, upload : str
    samples, records, bytes : int
        Found undamaged, over all epochs.
    damages : tuple of Damage
        Empty for a dataset that is as it was uploaded.
    seconds : float
    """

    topic: str
    upload: str
    samples: int
    records: int
    bytes: int
    damages: tuple[Damage, ...]
    seconds: float

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def check_upload(
    connection: Connection,
    upload: Upload,
    progress: Listener | None = None,
    *,
    silent_seconds: float = SILENT_SECONDS,
) -> Checked:
    """Read all records of a complete upload, and list those that differ from what was sent.

    Compared with each other: each record's CRC-32C in its headers, the
    digests, counts and ranges of offsets in the catalog, and the element_spec.

    Parameters
    ----------
    connection : Connection
    upload : Upload
        Complete.
    progress : callable, optional
        Told of the progress several times a second.
    silent_seconds : float
        A broker that sends nothing for so long cannot read its log at that place.

    Raises
    ------
    WorkError
        The upload is not complete, or the broker does not answer.
    """
    if upload.completed is None:
        raise WorkError("this upload is not complete", seen=upload.id)
    check = _UploadCheck(connection, upload, progress or (lambda _: None), silent_seconds)
    return check.run(upload.completed.epochs)


@dataclass
class _UploadCheck:
    connection: Connection
    upload: Upload
    listener: Listener
    silent_seconds: float
    damages: list[Damage] = field(default_factory=list)
    samples: int = 0
    records: int = 0
    size: int = 0

    def run(self, epochs: tuple[EpochStored, ...]) -> Checked:
        self._began = time.monotonic()
        begun = self.upload.begun
        self._codec: Codec = make_codec(begun.codec, begun.element_spec)
        self._total = sum(epoch.samples for epoch in epochs)
        self._epochs = len(epochs)
        starts = admin.start_offsets(self.connection, begun.topic)
        ends = admin.end_offsets(self.connection, begun.topic)
        # First sample, count, partition and offset of every record that is right, per epoch.
        self._found = [array("q") for _ in epochs]
        for partition in sorted({p for epoch in epochs for p in epoch.runs}):
            self._partition(epochs, partition, starts.get(partition), ends.get(partition))
        self.damages += self._coverage(epochs)
        self._report("failed" if self.damages else "complete", self._epochs - 1)
        return Checked(
            begun.topic,
            begun.upload,
            self.samples,
            self.records,
            self.size,
            tuple(self.damages),
            time.monotonic() - self._began,
        )

    def _partition(
        self, epochs: tuple[EpochStored, ...], partition: int, first: int | None, end: int | None
    ) -> None:
        before = len(self.damages)
        if first is None or end is None:
            runs = [run for epoch in epochs for run in epoch.runs.get(partition, ())]
            self._damaged(partition, runs[0][0], runs[-1][1], "the partition does not exist")
            return
        digests = [Digest() for _ in epochs]
        ranges = list(self._ranges(epochs, partition, first, end))
        topic = self.upload.begun.topic
        for number, found in scan(self.connection, topic, partition, ranges, self.silent_seconds):
            if isinstance(found, Unreadable):
                self._damaged(partition, found.start, found.stop, found.reason)
            else:
                self._record(partition, number, found, digests[number])
                self._report("running", number)
        # Digests of what is left would differ for certain, and say nothing new.
        if len(self.damages) > before:
            return
        for number, epoch in enumerate(epochs):
            if epoch.digests.get(partition, Digest().hexdigest()) != digests[number].hexdigest():
                reason = f"epoch {number}: the digest is not that of the upload"
                self._damaged(partition, None, None, reason)

    def _ranges(
        self, epochs: tuple[EpochStored, ...], partition: int, first: int, end: int
    ) -> Iterator[tuple[int, int, int]]:
        """(epoch, start, stop) of what is there; what is not is damage."""
        for number, epoch in enumerate(epochs):
            for start, stop in epoch.runs.get(partition, ()):
                if start < first:
                    self._damaged(partition, start, min(stop, first), "deleted from the broker")
                if stop > end:
                    self._damaged(partition, max(start, end), stop, "missing at the end of the log")
                if max(start, first) < min(stop, end):
                    yield number, max(start, first), min(stop, end)

    def _record(self, partition: int, epoch: int, message: Message, digest: Digest) -> None:
        value, key, offset = message.value() or b"", message.key(), int(message.offset())
        header = problem = None
        try:
            header = parse_headers(message.headers())
        except WorkError as error:
            problem = f"{error.what}: {error.seen}"
        crc = checksum(value, key)
        if header is None:
            kind = (
                "as they were written"
                if headers_damaged(message.headers())
                else "those of deeptool"
            )
            problem = problem or f"its headers are not {kind}"
        elif crc != header.crc:
            problem = f"its checksum is {crc:08x}, {header.crc:08x} when it was uploaded"
        elif header.upload != self.upload.id:
            problem = f"it belongs to upload {header.upload}"
        elif header.epoch != epoch:
            problem = f"it belongs to epoch {header.epoch} instead of {epoch}"
        else:
            problem = self._undecodable(value, key, header.count)
        if header is None or problem is not None:
            self._damaged(partition, offset, offset + 1, problem or "")
            return
        digest.update(header.first, header.count, crc)
        self._found[epoch].extend((header.first, header.count, partition, offset))
        self.samples += header.count
        self.records += 1
        self.size += len(value) + len(key or b"")

    def _undecodable(self, value: bytes, key: bytes | None, count: int) -> str | None:
        try:
            found = rows(self._codec.decode(value, key))
        except DeeptoolError as error:
            return f"it cannot be decoded: {error}"
        return None if found == count else f"it holds {found} samples instead of {count}"

    def _coverage(self, epochs: tuple[EpochStored, ...]) -> Iterator[Damage]:
        """Whether the records of each epoch hold the samples 0, 1, ..., each once."""
        explained = any(damage.start is not None for damage in self.damages)
        for number, epoch in enumerate(epochs):
            # As one array: a dataset of single samples has millions of records.
            unsorted = np.frombuffer(self._found[number], dtype=np.int64).reshape(-1, 4)
            found = unsorted[np.argsort(unsorted[:, 0], kind="stable")]
            firsts, stops = found[:, 0], found[:, 0] + found[:, 1]
            # Samples of the records before each, as far as they continue without a gap.
            before = np.append(0, np.maximum.accumulate(stops))
            for index in np.flatnonzero((firsts < before[:-1]) | (stops > epoch.samples)):
                first, count, partition, offset = (int(value) for value in found[index])
                samples = f"samples {first} to {first + count - 1}"
                reason = f"epoch {number}: {samples} overlap others or exceed the epoch"
                yield Damage(partition, offset, offset + 1, reason)
            missing = (firsts > before[:-1]).any() or before[-1] < epoch.samples
            # Damaged records were named already, and are why samples are missing.
            if missing and not explained:
                yield Damage(None, None, None, f"epoch {number}: samples are missing")

    def _damaged(
        self, partition: int | None, start: int | None, stop: int | None, reason: str
    ) -> None:
        self.damages.append(Damage(partition, start, stop, reason))

    def _report(self, state: str, epoch: int) -> None:
        seconds = time.monotonic() - self._began
        self.listener(
            Progress(state, epoch, self._epochs, self.samples, self._total, self.size, seconds)
        )

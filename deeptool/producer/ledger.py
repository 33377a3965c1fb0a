"""What the broker acknowledged: the offsets and digests that make up a dataset."""

from __future__ import annotations

from dataclasses import dataclass, field

from deeptool.catalog.events import EpochStored
from deeptool.codec.records import Digest, OpenShapes, Record
from deeptool.errors import WorkError


@dataclass
class _Partition:
    digest: Digest = field(default_factory=Digest)
    # [start, stop), ascending; a new one where somebody else's records lie in between.
    runs: list[list[int]] = field(default_factory=list)


@dataclass
class _Epoch:
    samples: int = 0
    records: int = 0
    bytes: int = 0
    batches: int | None = 0
    open_shapes: set[OpenShapes] = field(default_factory=set)
    partitions: dict[int, _Partition] = field(default_factory=dict)


class Ledger:
    """Acknowledged records, counted as they come: memory does not grow with their number."""

    def __init__(self) -> None:
        self._epochs: list[_Epoch] = []
        self._last: dict[int, int] = {}
        self.samples = self.records = self.bytes = 0

    def acknowledge(self, epoch: int, partition: int, offset: int, record: RecordFacts) -> None:
        """Take in one record that is stored.

        Raises
        ------
        WorkError
            The broker gave no offset, or an earlier one than to a record sent before. Then it is
            not known which record lies where, and the upload must not complete.
        """
        if offset <= self._last.get(partition, -1):
            raise WorkError(
                "the broker acknowledged a record at an impossible offset",
                seen=f"partition {partition}: offset {offset} after {self._last.get(partition)}",
                next_step="upload again",
            )
        self._last[partition] = offset
        while len(self._epochs) <= epoch:
            self._epochs.append(_Epoch())
        stored = self._epochs[epoch]
        part = stored.partitions.setdefault(partition, _Partition())
        if part.runs and part.runs[-1][1] == offset:
            part.runs[-1][1] = offset + 1
        else:
            part.runs.append([offset, offset + 1])
        if record.batches is None or stored.batches is None:
            stored.batches = None
        else:
            stored.batches += record.batches
        if len(stored.open_shapes) < 2:
            stored.open_shapes.add(record.open_shapes)
        part.digest.update(record.first, record.count, record.crc)
        for total in (self, stored):
            total.samples += record.count
            total.records += 1
            total.bytes += record.size

    def epochs(self) -> tuple[EpochStored, ...]:
        """What each stored epoch consists of."""
        return tuple(
            EpochStored(
                epoch.samples,
                epoch.records,
                epoch.bytes,
                {
                    number: tuple((start, stop) for start, stop in part.runs)
                    for number, part in sorted(epoch.partitions.items())
                },
                {n: part.digest.hexdigest() for n, part in sorted(epoch.partitions.items())},
                epoch.batches,
                (next(iter(epoch.open_shapes)) or None) if len(epoch.open_shapes) == 1 else None,
            )
            for epoch in self._epochs
        )


@dataclass(frozen=True)
class RecordFacts:
    """What the ledger keeps of a record on its way, without its value.

    Attributes
    ----------
    first, count, crc : int
        See `deeptool.codec.records.Record`.
    size : int
        Bytes of key and value.
    batches : int or None
        See `deeptool.codec.records.Record`, as for `open_shapes`.
    """

    first: int
    count: int
    crc: int
    size: int
    batches: int | None = None
    open_shapes: OpenShapes = ()

    @classmethod
    def of(cls, record: Record) -> RecordFacts:
        size = len(record.value) + len(record.key or b"")
        return cls(record.first, record.count, record.crc, size, record.batches, record.open_shapes)

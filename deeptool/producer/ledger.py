"""What the broker acknowledged: the offsets and digests that make up a dataset."""

from __future__ import annotations

from dataclasses import dataclass, field

from deeptool.catalog.events import EpochStored
from deeptool.catalog.record_runs import MOST_RUNS, RunsOfPartition
from deeptool.codec.records import Digest, OpenShapes, Record
from deeptool.errors import WorkError


@dataclass
class _Partition:
    digest: Digest = field(default_factory=Digest)
    # [start, stop), ascending; a new one where somebody else's records lie in between.
    runs: list[list[int]] = field(default_factory=list)
    records: RunsOfPartition = field(default_factory=RunsOfPartition)


@dataclass
class _Epoch:
    samples: int = 0
    records: int = 0
    bytes: int = 0
    row_bytes: int = 0
    batches: int | None = 0
    open_shapes: set[OpenShapes] = field(default_factory=set)
    partitions: dict[int, _Partition] = field(default_factory=dict)
    # Whether it is still kept which samples each record holds.
    indexed: bool = True


class Ledger:
    """Acknowledged records, counted as they come.

    Memory does not grow with the number of records of samples of one size, and is bounded else.
    """

    def __init__(self) -> None:
        self._epochs: list[_Epoch] = []
        self._last: dict[int, int] = {}
        self.samples = self.records = self.bytes = 0
        self._record_runs = 0

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
        if stored.indexed and part.records.add(record.first, record.count):
            self._record_runs += 1
            if self._record_runs > MOST_RUNS:
                self._forget_records(stored)
        stored.row_bytes += record.row_bytes
        for total in (self, stored):
            total.samples += record.count
            total.records += 1
            total.bytes += record.size

    def _forget_records(self, stored: _Epoch) -> None:
        """Keep no more of single records than the catalog would take."""
        stored.indexed = False
        for part in stored.partitions.values():
            self._record_runs -= len(part.records.runs)
            part.records.runs.clear()

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
                {n: tuple(part.records.runs) for n, part in sorted(epoch.partitions.items())}
                if epoch.indexed
                else None,
                epoch.row_bytes,
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
        See `deeptool.codec.records.Record`, as for `open_shapes` and `row_bytes`.
    """

    first: int
    count: int
    crc: int
    size: int
    batches: int | None = None
    open_shapes: OpenShapes = ()
    row_bytes: int = 0

    @classmethod
    def of(cls, record: Record) -> RecordFacts:
        size = len(record.value) + len(record.key or b"")
        return cls(
            record.first,
            record.count,
            record.crc,
            size,
            record.batches,
            record.open_shapes,
            record.row_bytes,
        )

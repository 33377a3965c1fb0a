"""Which record holds which rows of a pass, and where it is stored."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from deeptool.catalog.events import EpochStored
from deeptool.catalog.record_runs import firsts_and_counts
from deeptool.catalog.stored import Shard
from deeptool.codec.records import RecordHeader
from deeptool.errors import WorkError
from deeptool.fork_lock import ForkLock
from deeptool.orders.row_groups import Rows
from deeptool.rows import pass_plan
from deeptool.rows.pass_plan import ShardPass
from deeptool.rows.record_order import Samples, header_of_upload
from deeptool.store.read_meter import ReadMeter
from deeptool.store.record_store import Block, Lane, RecordStore, StoredRecord

_LOG = logging.getLogger(__name__)
# Records of one partition that are looked at together, and how many may be fetched ahead.
_BLOCK = 16
_AHEAD = 64
_QUEUE_BYTES = 16 << 20


@dataclass(frozen=True)
class ChosenRows:
    """Of a table of some rows only: which these are, and what each record holds.

    Attributes
    ----------
    rows : ndarray of int64
        Their numbers within the whole pass, ascending.
    firsts, counts : ndarray of int64, shape (records,)
        All rows of each record, chosen or not, numbered within the whole pass.
    """

    rows: Rows
    firsts: Rows
    counts: Rows


@dataclass(frozen=True)
class RecordTable:
    """All records of one stored epoch, by their rows.

    Attributes
    ----------
    firsts, counts : ndarray of int64, shape (records,)
        The row that each record begins with, ascending, and its number of rows; rows are numbered
        from 0 within the pass, shard after shard. No row is missing, and none is there twice.
    shards, partitions, offsets : ndarray of int64, shape (records,)
        Where it is stored.
    begins : tuple of int
        The row that each shard begins with.
    topics, uploads : tuple of str
        Of each shard.
    epoch : int
        The stored epoch.
    chosen : ChosenRows, optional
        Which rows the numbers 0, 1, ... stand for, where they are not all of the pass.
    """

    firsts: Rows
    counts: Rows
    shards: Rows
    partitions: Rows
    offsets: Rows
    begins: tuple[int, ...]
    topics: tuple[str, ...]
    uploads: tuple[str, ...]
    epoch: int
    chosen: ChosenRows | None = None

    def narrowed(self, rows: Rows) -> RecordTable:
        """The records that hold some of these rows, which are numbered 0, 1, ... from now on.

        Parameters
        ----------
        rows : ndarray of int64
            Of a table of all rows: ascending, each once.
        """
        lows = np.searchsorted(rows, self.firsts)
        highs = np.searchsorted(rows, self.firsts + self.counts)
        kept = np.flatnonzero(lows < highs)
        return replace(
            self,
            firsts=lows[kept],
            counts=(highs - lows)[kept],
            shards=self.shards[kept],
            partitions=self.partitions[kept],
            offsets=self.offsets[kept],
            chosen=ChosenRows(rows, self.firsts[kept], self.counts[kept]),
        )

    def lookup_rows(self, first: int, stop: int) -> range:
        """The numbers of the records that hold rows first, ..., stop - 1."""
        low = int(np.searchsorted(self.firsts, first, side="right")) - 1
        return range(low, int(np.searchsorted(self.firsts, stop, side="left")))

    def lane(self, record: int) -> Lane:
        return Lane(self.topics[self.shards[record]], int(self.partitions[record]))

    def rows_of(self, record: int) -> tuple[int, int]:
        """Its first row, and the one behind its last."""
        first = int(self.firsts[record])
        return first, first + int(self.counts[record])

    def blocks(self, records: Sequence[int]) -> list[Block]:
        """These records, ascending, as blocks of neighbours; in the order of their rows."""
        found: dict[Lane, list[list[int]]] = {}
        order: list[tuple[Lane, int, list[int]]] = []
        for record in records:
            lane, offset = self.lane(record), int(self.offsets[record])
            runs = found.setdefault(lane, [])
            if runs and runs[-1][1] == offset:
                runs[-1][1] = offset + 1
            else:
                runs.append([offset, offset + 1])
                order.append((lane, int(self.shards[record]), runs[-1]))
        return [Block(shard, lane, start, stop, 0.0) for lane, shard, (start, stop) in order]

    def samples(self, record: int, stored: StoredRecord, low: int, high: int) -> Samples:
        """Of a record that was read: its rows from number `low` to before `high`.

        Raises
        ------
        WorkError
            Another upload wrote it, or it holds other samples.
        """
        self.check(record, stored)
        first, stop = self.rows_of(record)
        chosen = None
        if self.chosen is not None and stop - first < int(self.chosen.counts[record]):
            chosen = self.chosen.rows[first:stop] - self.chosen.firsts[record]
        return Samples(stored.key, stored.value, first, low - first, high - first, chosen=chosen)

    def check(self, record: int, stored: StoredRecord) -> RecordHeader:
        """The header of a record that was read; it must hold what the table says.

        Raises
        ------
        WorkError
            Another upload wrote it, or it holds other samples.
        """
        shard, lane = int(self.shards[record]), self.lane(record)
        header = header_of_upload(stored, lane, self.uploads[shard])
        held = self if self.chosen is None else self.chosen
        wanted = self.epoch, int(held.firsts[record]) - self.begins[shard], int(held.counts[record])
        if (header.epoch, header.first, header.count) != wanted:
            raise WorkError(
                f"{lane} holds other samples than the catalog says",
                seen=f"offset {stored.offset}: samples from {header.first} on, {header.count} of "
                f"them, of stored epoch {header.epoch}",
                valid=f"from {wanted[1]} on, {wanted[2]} of them, of stored epoch {self.epoch}",
                next_step="deeptool check lists what is damaged; upload it again with --replace",
            )
        return header


def record_table(
    store: RecordStore, shards: Sequence[Shard], stored: Sequence[EpochStored], epoch: int
) -> RecordTable:
    """The records of stored epoch `epoch` of these shards.

    Where an upload's catalog entry does not list its records, their headers are read: once per
    process.

    Raises
    ------
    WorkError
        Records cannot be read, or do not hold each sample once.
    """
    parts, begins, begin = [], [], 0
    for number, (shard, facts) in enumerate(zip(shards, stored, strict=True)):
        if facts.record_runs is not None:
            rows = _listed(facts)
        else:
            rows = _HEADERS.rows(store, shard, facts, epoch)
        order = np.argsort(rows[0], kind="stable")
        first, count, partition, offset = (column[order] for column in rows)
        _check_complete(shard.topic, first, count, facts.samples)
        parts.append((first + begin, count, np.full(len(order), number), partition, offset))
        begins.append(begin)
        begin += facts.samples
    firsts, counts, numbers, partitions, offsets = map(np.concatenate, zip(*parts, strict=True))
    topics = tuple(shard.topic for shard in shards)
    uploads = tuple(shard.upload.id for shard in shards)
    return RecordTable(
        firsts, counts, numbers, partitions, offsets, tuple(begins), topics, uploads, epoch
    )


def first_samples(facts: EpochStored) -> Callable[[int, int], int] | None:
    """Looks up the first sample of a record by (partition, offset); None: the catalog lacks it."""
    if facts.record_runs is None:
        return None
    offsets = {partition: _offsets_of(facts, partition) for partition in facts.runs}
    firsts = {p: firsts_and_counts(runs)[0] for p, runs in facts.record_runs.items()}

    def first_sample(partition: int, offset: int) -> int:
        return int(firsts[partition][np.searchsorted(offsets[partition], offset)])

    return first_sample


def _offsets_of(facts: EpochStored, partition: int) -> Rows:
    return np.concatenate(
        [np.arange(start, stop, dtype=np.int64) for start, stop in facts.runs[partition]]
    )


def _listed(facts: EpochStored) -> tuple[Rows, ...]:
    """First sample, number of samples, partition and offset of each record, from the catalog."""
    parts = []
    for partition, runs in sorted((facts.record_runs or {}).items()):
        firsts, counts = firsts_and_counts(runs)
        parts.append(
            (firsts, counts, np.full(len(firsts), partition), _offsets_of(facts, partition))
        )
    return tuple(np.concatenate(column) for column in zip(*parts, strict=True))


class _HeadersOnce:
    """What the headers of records say, read once for each stored epoch of an upload."""

    def __init__(self) -> None:
        self._lock = ForkLock()
        self._known: dict[tuple[str, int], tuple[Rows, ...]] = {}

    def rows(
        self, store: RecordStore, shard: Shard, facts: EpochStored, epoch: int
    ) -> tuple[Rows, ...]:
        """As `_listed`."""
        key = shard.upload.id, epoch
        # Iterators in other threads wait: none is to read the same records again.
        with self._lock:
            if key not in self._known:
                _LOG.warning(
                    "topic %s: the catalog does not list the samples of each record, so all "
                    "%d records are read once to learn them (an earlier release stored them, or "
                    "they are very many of different sizes); uploading again with --replace "
                    "avoids this in the first case",
                    shard.topic,
                    facts.records,
                )
                self._known[key] = _from_headers(store, shard, facts, epoch)
            return self._known[key]


_HEADERS = _HeadersOnce()


def _from_headers(
    store: RecordStore, shard: Shard, facts: EpochStored, epoch: int
) -> tuple[Rows, ...]:
    whole = ShardPass(shard.topic, shard.upload.id, epoch, facts.runs, 0, facts.samples)
    order = pass_plan.blocks([whole], _BLOCK)
    found = []
    with store.open_pass(
        order, window=_AHEAD, queue_bytes=_QUEUE_BYTES, meter=ReadMeter()
    ) as records:
        for block in order:
            for offset in range(block.start, block.stop):
                record = records.take_record(block.lane)
                header = header_of_upload(record, block.lane, shard.upload.id)
                found.append((header.first, header.count, block.lane.partition, offset))
    return tuple(np.array(found, dtype=np.int64).reshape(-1, 4).T)


def _check_complete(topic: str, firsts: Rows, counts: Rows, samples: int) -> None:
    ends = np.cumsum(counts)
    if not np.array_equal(firsts, ends - counts) or ends[-1:].sum() != samples:
        raise WorkError(
            f"topic {topic} does not hold each sample once",
            seen=f"records of {int(counts.sum())} samples",
            valid=f"samples 0 to {samples - 1}, each in one record",
            next_step="deeptool check lists what is damaged; upload it again with --replace",
        )

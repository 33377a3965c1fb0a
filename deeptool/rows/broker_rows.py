"""The rows of a shuffled pass from the records of a store, place by place as its order says.

Rows are put into a pool as their records come. While one group is given out, the rows of the next
fill the slots that become free.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from deeptool.codec.values import Leaves
from deeptool.errors import UserError
from deeptool.orders.windowed_order import Windowed
from deeptool.rows.group_pool import GroupPool
from deeptool.rows.group_reads import GroupReads, RecordsRead, group_reads
from deeptool.rows.read_plan import MemoryShares
from deeptool.rows.record_order import Samples
from deeptool.rows.record_table import RecordTable
from deeptool.rows.row_bytes import row_bytes
from deeptool.rows.row_chunks import CHUNK_BYTES, Decoder, gathered
from deeptool.store.read_meter import ReadMeter
from deeptool.store.record_store import PassRecords, RecordStore

# About what is given out at once: so much that what a call costs is little beside it.
_GIVEN_BYTES = 4 << 20
# Records whose blocks are listed at once: the list for a whole pass could be very long.
_RECORDS_LISTED = 4096


@dataclass(frozen=True)
class BrokerRows:
    """Reads the rows of a windowed order.

    Attributes
    ----------
    store : RecordStore
    table : RecordTable
        Of the stored epoch that is read.
    order : Windowed
    decoder : Decoder
    batch_size : int
        Of the batches that are made of the rows; 1 for none.
    sample_bytes : float
        Stored bytes of a row, on average.
    memory : MemoryShares
    window : int
        Records that may be fetched ahead.
    meter : ReadMeter
    """

    store: RecordStore
    table: RecordTable
    order: Windowed
    decoder: Decoder
    batch_size: int
    sample_bytes: float
    memory: MemoryShares
    window: int
    meter: ReadMeter

    def chunks(self, start: int = 0) -> Iterator[Leaves]:
        """The rows at places start, start + 1, ... of the order, each once.

        Raises
        ------
        WorkError
            The store does not deliver what the catalog lists.
        """
        if start >= self.order.samples:
            return
        largest = self.order.most_rows
        fitting = int(self.memory.buffer / row_bytes_of(self.decoder, self.sample_bytes))
        capacity = min(self.order.samples, max(largest, fitting))
        pool = GroupPool(self.order, capacity)
        first = self.order.lookup_group(start)
        skipped = start - self.order.group(first).start
        plan = group_reads(self.order, self.table, first, capacity - largest)
        for part in _parts(plan):
            blocks = [
                block
                for group in part
                for records in _joined(group.reads)
                for block in self.table.blocks(records)
            ]
            with self.store.open_pass(
                blocks, window=self.window, queue_bytes=self.memory.queue, meter=self.meter
            ) as records:
                for group in part:
                    yield from self._load(group, pool, records)
                    pool.begin(group.number, skipped)
                    skipped = 0
        while pool.left:
            yield self._give(pool)

    def _give(self, pool: GroupPool) -> Leaves:
        """Some MB that end with a batch, where the group does not end before: none is joined."""
        wanted = int(_GIVEN_BYTES / max(self.sample_bytes, 1))
        stop = pool.place + max(self.batch_size, wanted)
        return pool.give(stop // self.batch_size * self.batch_size - pool.place)

    def _load(self, group: GroupReads, pool: GroupPool, records: PassRecords) -> Iterator[Leaves]:
        """Read a group; meanwhile, at the same pace, give out the one before it."""
        for number, read in enumerate(group.reads):
            while pool.left and (
                pool.free < read.rows or pool.given_share <= number / len(group.reads)
            ):
                yield self._give(pool)
            for chunk in gathered(self._samples(read, records), self.decoder, CHUNK_BYTES):
                pool.put(read, chunk)
        while pool.left:
            yield self._give(pool)

    def _samples(self, read: RecordsRead, records: PassRecords) -> Iterator[Samples]:
        """The records of a read, each with the rows that are kept; counted within the pass."""
        low, high = read.pieces[0].first, read.pieces[-1].stop
        for number in read.records:
            record = records.take_record(self.table.lane(number))
            first, stop = self.table.rows_of(number)
            yield self.table.samples(number, record, max(low, first), min(high, stop))


def row_bytes_of(decoder: Decoder, sample_bytes: float) -> float:
    """About the memory that a row takes, of so many bytes in its record."""
    return max(1.0, row_bytes(decoder.spec.leaves, sample_bytes))


def check_fits(order: Windowed, row_bytes: float, memory: MemoryShares) -> None:
    """Return if a group of the order fits into memory.

    Parameters
    ----------
    row_bytes : float
        That a row takes in memory.
    memory : MemoryShares

    Raises
    ------
    UserError
        It does not. The order is not changed for it: the same seed must give the same order
        wherever it is read.
    """
    needed = order.most_rows * row_bytes
    if needed > memory.buffer:
        least = int(needed * memory.total / memory.buffer) + 1
        raise UserError(
            "memory_bytes is too small to shuffle this dataset",
            seen=memory.total,
            valid=f"at least {least}: the order of samples does not depend on it",
        )


def _parts(plan: Iterable[GroupReads]) -> Iterator[list[GroupReads]]:
    part: list[GroupReads] = []
    for group in plan:
        part.append(group)
        if sum(one.records for one in part) >= _RECORDS_LISTED:
            yield part
            part = []
    if part:
        yield part


def _joined(reads: Sequence[RecordsRead]) -> list[range]:
    """The records of all reads; neighbours, which are read one after the other, together."""
    found: list[range] = []
    for read in reads:
        if found and found[-1].stop == read.records.start:
            found[-1] = range(found[-1].start, read.records.stop)
        else:
            found.append(read.records)
    return found

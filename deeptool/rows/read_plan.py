"""What is to be read, pass by pass: what the catalog lists, cut to this worker's part."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from deeptool.catalog.events import EpochStored
from deeptool.catalog.stored import Shard, Stored
from deeptool.errors import WorkError
from deeptool.orders.sample_order import (
    SampleOrder,
    in_sequence,
    permuted,
    windowed,
)
from deeptool.orders.selected_order import Selected
from deeptool.orders.windowed_order import Windowed
from deeptool.rows import pass_plan
from deeptool.rows.pass_copies import PassCopies
from deeptool.rows.pass_plan import ShardPass, WorkerShare
from deeptool.rows.record_table import RecordTable, first_samples, record_table
from deeptool.rows.row_bytes import order_row_bytes
from deeptool.rows.selection import ALL, Selection
from deeptool.store.record_store import Block, Lane, RecordStore


@dataclass(frozen=True)
class MemoryShares:
    """How the memory of one iterator is divided, in bytes."""

    total: int

    @property
    def queue(self) -> int:
        """For what the store's client has fetched."""
        return self.total // 16

    @property
    def window(self) -> int:
        """For records that wait for their turn."""
        return self.total * 3 // 32

    @property
    def buffer(self) -> int:
        """For shuffled rows. The rest is for what is on its way from one to the other."""
        return self.total * 3 // 4


@dataclass(frozen=True)
class PlannedPass:
    """One pass over the data, planned.

    Attributes
    ----------
    order : sequence of Block
        All blocks, as they are to be read.
    window : int
        Records that may be fetched ahead.
    """

    shards: Sequence[ShardPass]
    order: Sequence[Block]
    window: int
    rng: np.random.Generator

    @property
    def samples(self) -> int:
        return sum(shard.samples for shard in self.shards)


# A pass up to this size is shuffled as a whole, unless it is said otherwise: as a node has memory
# for so much of a copy, its rows can be read in any order.
GLOBAL_BYTES = 8 << 30


@dataclass
class ReadPlan:
    """A dataset, where its records are, and which part of it is read in which order.

    Attributes
    ----------
    store : RecordStore
    stored : Stored
        The uploads to read. Passes can be planned once it is complete.
    num_shards, index : int
        This is worker `index` of `num_shards`.
    seed : int or None
        None reads in sequence.
    least_block : int
        Bytes that are read at once at least, where a seek costs more than usual.
    share : WorkerShare, optional
        What of its part this process reads; by default all of it.
    shuffling : str
        "windowed", "global", or "auto": see `deeptool.reader.read_request.ReadRequest`, as for
        `cache`.
    cache : str
    copies : PassCopies
        Those that this process has open.
    selection : Selection
        What of the dataset is read. Parts, and places in orders, are those of the selected rows.
    """

    store: RecordStore
    stored: Stored
    memory: MemoryShares
    num_shards: int = 1
    index: int = 0
    seed: int | None = None
    least_block: int = 0
    share: WorkerShare | None = None
    shuffling: str = "windowed"
    cache: str = "off"
    copies: PassCopies = field(default_factory=PassCopies)
    _parts: dict[tuple[int, int], list[ShardPass]] = field(default_factory=dict)
    selection: Selection = ALL
    _tables: dict[int, RecordTable] = field(default_factory=dict)

    @cached_property
    def record_bytes(self) -> float:
        """Of a record, on average over all that is stored."""
        epochs = [epoch for k in range(self.stored.epochs) for epoch in self._stored(k)]
        records = sum(epoch.records for epoch in epochs)
        return sum(epoch.bytes for epoch in epochs) / max(records, 1)

    @cached_property
    def sample_bytes(self) -> float:
        """Of a sample in its record, on average over all that is stored."""
        epochs = [epoch for k in range(self.stored.epochs) for epoch in self._stored(k)]
        samples = sum(epoch.samples for epoch in epochs)
        return sum(epoch.bytes for epoch in epochs) / max(samples, 1)

    def shared(self, share: WorkerShare) -> ReadPlan:
        """The same plan, for one of several processes that read this part together."""
        return replace(self, share=share, _parts={})

    def samples(self, k: int) -> int:
        """How many samples pass k holds for this worker."""
        start, stop = self.part(k)
        return stop - start

    def part(self, k: int) -> tuple[int, int]:
        """Selected rows start, ..., stop - 1 of pass k are this worker's."""
        return self._range(sum(self._counts(k)))

    def shard_samples(self, k: int) -> list[int]:
        """The rows of each shard of pass k, selected or not."""
        return [epoch.samples for epoch in self._stored(k % self.stored.epochs)]

    def _counts(self, k: int) -> list[int]:
        """The selected rows of each shard of pass k."""
        counts, rows = self.shard_samples(k), self.selection.rows
        if rows is None:
            return counts
        ends = np.searchsorted(rows, np.cumsum([0, *counts]))
        return [int(count) for count in np.diff(ends)]

    def _range(self, samples: int) -> tuple[int, int]:
        """Samples start, ..., stop - 1 of a pass are this worker's."""
        start, stop = pass_plan.part_of(samples, self.num_shards, self.index)
        return (start, stop) if self.share is None else self.share.within(start, stop)

    def batches(self, k: int) -> int | None:
        """How many of the pipeline's batches pass k holds; None where that was not kept."""
        counts = [epoch.batches for epoch in self._stored(k % self.stored.epochs)]
        parted = self.num_shards > 1 or self.share is not None or self.selection.rows is not None
        if parted or None in counts:
            # A part may begin within a batch.
            return None
        return sum(count for count in counts if count is not None)

    def whole_batches(self, k: int, batch_size: int) -> int:
        """How many whole ones pass k holds of batches that end with each shard."""
        return sum(epoch.samples // batch_size for epoch in self._stored(k % self.stored.epochs))

    def order(self, k: int) -> SampleOrder:
        """The order of the rows of pass k, by their numbers within the whole pass."""
        start, stop = self.part(k)
        order: SampleOrder
        if self.seed is None:
            order = in_sequence(stop - start, start, self.row_bytes)
        elif self.is_global(k):
            order = permuted(sum(self._counts(k)), self.name, self.seed, k, start, stop)
        else:
            order = self.windowed_order(k)
        rows = self.selection.rows
        return order if rows is None else Selected(order, rows)

    def windowed_order(self, k: int) -> Windowed:
        """The order of the rows of pass k, shuffled in groups, by numbers of selected rows."""
        counts, (start, stop) = self._counts(k), self.part(k)
        return windowed(counts, self.name, self.row_bytes, self.seed or 0, k, start, stop)

    @property
    def name(self) -> str:
        """What orders are drawn with, besides seeds: of the samples, not of their upload."""
        return f"{self.stored.session}/{self.stored.split}"

    def fill_orders(self, k: int) -> list[SampleOrder]:
        """What the parts of pass k, all read at the same time, need first of a copy of it."""
        share = self.share
        shares = [share] if share is None else [share.of(n) for n in range(share.workers)]
        parts = [
            replace(self, index=index, share=each)
            for index in range(self.num_shards)
            for each in shares
        ]
        if self.is_global(k):
            parts = [replace(part, seed=None) for part in parts]
        return [part.order(k) for part in parts]

    def is_global(self, k: int) -> bool:
        """Whether pass k is shuffled as a whole.

        Decided by the dataset alone: never by what is selected, is free, or is there already.
        """
        if self.seed is None or self.shuffling != "auto":
            return self.seed is not None and self.shuffling == "global"
        fits = self.stored.samples(k) * self.row_bytes < GLOBAL_BYTES
        return self.cache != "off" and k >= self.stored.epochs and fits

    @cached_property
    def row_bytes(self) -> int:
        """About what a row takes, alike for all uploads of the same samples."""
        epochs = [epoch for number in range(self.stored.epochs) for epoch in self._stored(number)]
        return order_row_bytes(self.stored.spec.leaves, epochs)

    def stored_bytes(self, k: int) -> int:
        """What pass k takes in the store, all parts of it."""
        return sum(epoch.bytes for epoch in self._stored(k % self.stored.epochs))

    def selected_table(self, k: int) -> RecordTable:
        """Which record holds which of the selected rows of pass k, numbered from 0.

        Raises
        ------
        WorkError
            As `record_table`.
        """
        table, rows = self.record_table(k), self.selection.rows
        return table if rows is None else table.narrowed(rows)

    def record_table(self, k: int) -> RecordTable:
        """Which record holds which rows of pass k, selected or not.

        Raises
        ------
        WorkError
            It had to be read from the records, and could not.
        """
        epoch = k % self.stored.epochs
        if epoch not in self._tables:
            self._tables[epoch] = record_table(
                self.store, self.stored.shards, self._stored(epoch), epoch
            )
        return self._tables[epoch]

    @property
    def window(self) -> int:
        """Records that may be fetched ahead."""
        return self._records_in(self.memory.window)

    def plan(self, k: int, skipped: int = 0) -> PlannedPass:
        """Pass k: stored pass ``k % epochs``, in an order of blocks of records of its own.

        Of all rows: blocks know no selected ones.

        Parameters
        ----------
        skipped : int
            So many samples at the beginning of this worker's part are left out.

        Raises
        ------
        WorkError
            Where this worker's part begins cannot be looked up.
        """
        shards = self._shards(k % self.stored.epochs, skipped)
        records = sum(shard.records for shard in shards)
        window, held = self.window, self._records_in(self.memory.buffer)
        # NumPy's generators take several numbers as one seed; none is negative.
        rng = np.random.default_rng([(self.seed or 0) % 2**64, k])
        if self.seed is None:
            lanes = sum(len(shard.runs) for shard in shards)
            most = window // max(lanes, 1)
        else:
            most = min(held, records) // pass_plan.BLOCKS_IN_BUFFER
        length = pass_plan.block_length(
            self.record_bytes, max(most, self._records_in(self.least_block))
        )
        order = pass_plan.blocks(shards, length)
        if self.seed is not None:
            order = pass_plan.shuffled(order, max(1, held // length), rng)
        return PlannedPass(shards, order, window, rng)

    def _records_in(self, size: int) -> int:
        return max(1, int(size / max(self.record_bytes, 1)))

    def _shards(self, epoch: int, skipped: int) -> list[ShardPass]:
        if (epoch, skipped) not in self._parts:
            stored = self._stored(epoch)
            counts = [one.samples for one in stored]
            start, stop = self._range(sum(counts))
            ranges = pass_plan.cut(counts, min(start + skipped, stop), stop)
            self._parts[epoch, skipped] = [
                self._part(shard, one, epoch, first, last)
                for shard, one, (first, last) in zip(
                    self.stored.shards, stored, ranges, strict=True
                )
            ]
        return self._parts[epoch, skipped]

    def _part(
        self, shard: Shard, stored: EpochStored, epoch: int, first: int, stop: int
    ) -> ShardPass:
        topic, upload = shard.topic, shard.upload.id
        if (first, stop) == (0, stored.samples):
            return ShardPass(topic, upload, epoch, stored.runs, first, stop)
        if (listed := first_samples(stored)) is not None:
            runs = pass_plan.narrow(stored, first, stop, listed)
            return ShardPass(topic, upload, epoch, runs, first, stop)
        # The catalog does not list the samples of single records: where a part begins is looked up.
        with self.store.open_index(upload) as index:
            runs = pass_plan.narrow(
                stored, first, stop, lambda number, at: index.first_sample(Lane(topic, number), at)
            )
        return ShardPass(topic, upload, epoch, runs, first, stop)

    def _stored(self, epoch: int) -> list[EpochStored]:
        found = []
        for shard in self.stored.shards:
            if shard.upload.completed is None:
                raise WorkError(f"topic {shard.topic} is still being uploaded")
            found.append(shard.upload.completed.epochs[epoch])
        return found

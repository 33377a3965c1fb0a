"""One pass from a copy of it: which copy, who fills it, and its rows in any order."""

from __future__ import annotations

from collections.abc import Iterator

from deeptool.codec.values import Leaves, rows
from deeptool.columns.columns import Columns
from deeptool.columns.growing_columns import NoLocalCopy
from deeptool.orders.sample_order import InSequence, SampleOrder
from deeptool.rows.copy_fill import CopyFill
from deeptool.rows.pass_copies import PassToCopy
from deeptool.rows.read_plan import ReadPlan
from deeptool.rows.row_chunks import Decoder
from deeptool.store.read_meter import ReadMeter

# Batches that are taken at once: so many that what a call costs is little beside them.
_BATCHES = 16
_LEAST_BYTES, _MOST_BYTES = 1 << 20, 32 << 20


def pass_to_copy(plan: ReadPlan, k: int, decoder: Decoder) -> PassToCopy:
    """All rows of pass k, as this decoder makes them."""
    stored, epoch = plan.stored, k % plan.stored.epochs
    return PassToCopy(
        name=f"{stored.session}, split {stored.split}",
        uploads=[shard.upload.id for shard in stored.shards],
        epoch=epoch,
        spec=decoder.spec,
        samples=stored.samples(epoch),
        size=plan.stored_bytes(epoch),
    )


class CopiedPass:
    """Pass k of a plan, read from a copy where there can be one.

    Parameters
    ----------
    decoder : Decoder
        Of the rows.
    batch_size : int or None
        Pieces are cut between batches.

    Attributes
    ----------
    place : int
        Behind the last row that was given out, in the order of the pass.
    """

    def __init__(
        self,
        plan: ReadPlan,
        k: int,
        decoder: Decoder,
        batch_size: int | None,
        meter: ReadMeter,
        place: int,
    ) -> None:
        self._plan, self._k, self._decoder, self._meter = plan, k, decoder, meter
        self._batch_size, self.place = batch_size or 1, place
        self._wanted = pass_to_copy(plan, k, decoder)

    def chunks(self) -> Iterator[Leaves]:
        """The rows from `place` on; ends early where there is no copy, or no more of it.

        Where the store has the rows as columns, they serve as the copy: at once if they are near,
        else if there is no other.

        Raises
        ------
        NoLocalCopy
            The order is one of all rows, and they fit neither on the disk nor in memory.
        WorkError
            What fills the copy failed.
        """
        order = self._plan.order(self._k)
        held = None
        if self._plan.cache != "memory":
            held = self._plan.store.columns(
                self._plan.stored, self._wanted.epoch, self._wanted.spec
            )
        if held is not None and held.near and self._plan.cache == "auto":
            yield from self._rows(held.columns, order)
            return
        if self._plan.cache != "memory":
            columns: Columns | None = self._plan.copies.on_disk(
                self._plan.cache, self._wanted, self._fill
            )
            if columns is not None:
                try:
                    yield from self._rows(columns, order)
                    return
                except NoLocalCopy as error:
                    self._plan.copies.lost(self._plan.cache, self._wanted, error)
        if held is not None:
            yield from self._rows(held.columns, order)
            return
        if self._plan.cache == "memory" or self._plan.is_global(self._k):
            yield from self._rows(self._plan.copies.in_memory(self._wanted, self._fill), order)

    def _rows(self, columns: Columns, order: SampleOrder) -> Iterator[Leaves]:
        piece, first = self._piece_rows, self.place
        for group in order.groups():
            if group.stop <= self.place:
                continue
            columns.wait(group.windows)
            while self.place < group.stop:
                # Where a group ends within a piece, the next one is shorter.
                stop = min(self.place - (self.place - first) % piece + piece, group.stop)
                if isinstance(order, InSequence):
                    leaves = columns.slice(order.first + self.place, order.first + stop)
                else:
                    leaves = columns.take(order.rows(self.place, stop))
                self.place = stop
                self._meter.count(samples=rows(leaves))
                yield leaves

    @property
    def _piece_rows(self) -> int:
        batch_bytes = self._plan.row_bytes * self._batch_size
        wanted = max(_BATCHES, _LEAST_BYTES // batch_bytes)
        return self._batch_size * max(1, min(wanted, _MOST_BYTES // batch_bytes))

    @property
    def _fill(self) -> CopyFill:
        return CopyFill(self._plan, self._k, self._decoder, self._meter)

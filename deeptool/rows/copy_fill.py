"""Fills a copy of a stored pass from its records: each record is read once, whole."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest

from deeptool.columns.growing_columns import Write
from deeptool.orders.row_groups import Group
from deeptool.rows.pass_copies import PassCopies
from deeptool.rows.read_plan import ReadPlan
from deeptool.rows.record_order import Samples
from deeptool.rows.record_table import RecordTable
from deeptool.rows.row_chunks import Decoder
from deeptool.store.read_meter import ReadMeter

# Records that are asked for at once, and of these, how many may be fetched ahead.
_RECORDS_LISTED = 4096


@dataclass(frozen=True)
class CopyFill:
    """What `deeptool.columns` calls to fill a copy; see `deeptool.columns.growing_columns.Fill`.

    Attributes
    ----------
    plan : ReadPlan
    k : int
        What its parts need first of this pass is filled first.
    decoder : Decoder
        Of the rows.
    meter : ReadMeter
        Counts what is fetched and what it costs; not the samples, which readers of the copy count.
    """

    plan: ReadPlan
    k: int
    decoder: Decoder
    meter: ReadMeter

    def __post_init__(self) -> None:
        # A copy holds what fills it: if that held the plan's copies, none would ever be closed.
        object.__setattr__(self, "plan", replace(self.plan, copies=PassCopies()))

    def __call__(self, write: Write, missing: Sequence[tuple[int, int]]) -> None:
        """Write all rows of these ranges.

        Raises
        ------
        WorkError
            The store does not deliver what the catalog lists.
        """
        table = self.plan.record_table(self.k)
        for records in _parts(self._records(table, missing)):
            self._copy(table, records, write)

    def _copy(self, table: RecordTable, records: Sequence[Sequence[int]], write: Write) -> None:
        """Read these records: those of one group after those of another."""
        numbers = {
            (table.lane(number), int(table.offsets[number])): number
            for group in records
            for number in group
        }
        blocks = [block for group in records for block in table.blocks(group)]
        fetched = ReadMeter()
        with self.plan.store.open_pass(
            blocks,
            window=self.plan.window,
            queue_bytes=self.plan.memory.queue,
            meter=fetched,
        ) as source:
            for block in blocks:
                for offset in range(block.start, block.stop):
                    with self.meter.working():
                        stored = source.take_record(block.lane)
                        number = numbers[block.lane, offset]
                        header = table.check(number, stored)
                        samples = Samples(stored.key, stored.value, header.first, 0, header.count)
                        write(table.rows_of(number)[0], self.decoder.rows([samples]))
                    size = len(stored.value) + len(stored.key or b"")
                    self.meter.count(records=1, size=size)
        # Of the client's own threads.
        self.meter.count(cpu=fetched.cpu_seconds)

    def _records(
        self, table: RecordTable, missing: Sequence[tuple[int, int]]
    ) -> Iterator[list[int]]:
        """Each record that holds a row of `missing` once, in the order of the groups."""
        wanted = {number for low, high in missing for number in table.lookup_rows(low, high)}
        for groups in zip_longest(*(order.groups() for order in self.plan.fill_orders(self.k))):
            found = {
                number
                for group in groups
                for low, high in _windows(group)
                for number in table.lookup_rows(low, high)
            }
            yield sorted(found & wanted)
            wanted -= found
        yield sorted(wanted)


def _windows(group: Group | None) -> Iterable[tuple[int, int]]:
    return () if group is None else group.windows


def _parts(groups: Iterable[list[int]]) -> Iterator[list[list[int]]]:
    """Neighbouring groups of records, together."""
    part: list[list[int]] = []
    for group in groups:
        part.append(group)
        if sum(map(len, part)) >= _RECORDS_LISTED:
            yield part
            part = []
    if any(part):
        yield part

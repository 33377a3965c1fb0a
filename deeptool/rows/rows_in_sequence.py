"""Rows in the order in which they are stored, from the records that hold them only."""

from __future__ import annotations

from collections.abc import Iterator

from deeptool.rows.read_plan import ReadPlan
from deeptool.rows.record_order import Samples
from deeptool.rows.record_table import RecordTable
from deeptool.store.read_meter import ReadMeter

# Records whose blocks are listed at once: the list for a whole pass could be very long.
_RECORDS_LISTED = 4096


def rows_in_sequence(
    plan: ReadPlan, table: RecordTable, start: int, stop: int, meter: ReadMeter
) -> Iterator[Samples]:
    """Rows start, ..., stop - 1 of a table, record after record.

    Raises
    ------
    WorkError
        The store does not deliver what the catalog lists.
    """
    records = table.lookup_rows(start, stop) if start < stop else range(0)
    for begin in range(0, len(records), _RECORDS_LISTED):
        part = records[begin : begin + _RECORDS_LISTED]
        # Records of all partitions are taken in turn: a block is no longer than what is fetched
        # ahead, so that no partition keeps the others waiting.
        pieces = (part[place : place + plan.window] for place in range(0, len(part), plan.window))
        blocks = [block for piece in pieces for block in table.blocks(piece)]
        with plan.store.open_pass(
            blocks, window=plan.window, queue_bytes=plan.memory.queue, meter=meter
        ) as source:
            for number in part:
                stored = source.take_record(table.lane(number))
                first, end = table.rows_of(number)
                yield table.samples(number, stored, max(first, start), min(end, stop))

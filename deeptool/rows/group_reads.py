"""Which records are read for each group of a windowed order, and which of their rows are kept.

A record may hold rows of several groups: windows begin and end anywhere within records. When it is
read for one of them, the others' rows are kept as well, while there is room for them; where there
is none, the record is read again when their turn comes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from deeptool.orders.windowed_order import GroupPiece, Windowed
from deeptool.rows.record_table import RecordTable

# Rows of a group this far ahead may fill half of the room only: they wait for long, and would keep
# those of the next groups from it.
_FAR = 4


@dataclass(frozen=True)
class RecordsRead:
    """Neighbouring records, read one after the other.

    Attributes
    ----------
    records : range
        By their numbers in the table.
    pieces : tuple of GroupPiece
        Which of their rows are kept, ascending by row.
    """

    records: range
    pieces: tuple[GroupPiece, ...]

    @property
    def rows(self) -> int:
        """How many rows are kept."""
        return sum(piece.stop - piece.first for piece in self.pieces)


@dataclass(frozen=True)
class GroupReads:
    """What is read so that group `number` is complete, after the groups before it."""

    number: int
    reads: tuple[RecordsRead, ...]

    @property
    def records(self) -> int:
        return sum(len(read.records) for read in self.reads)


def group_reads(
    order: Windowed, table: RecordTable, first_group: int, room: int
) -> Iterator[GroupReads]:
    """The reads of each group from `first_group` on.

    Parameters
    ----------
    room : int
        Rows that may be kept for later groups.
    """
    planner = _Planner(order, table, room)
    for number in range(first_group, len(order.groups())):
        yield planner.reads_of(number)


class _Planner:
    def __init__(self, order: Windowed, table: RecordTable, room: int) -> None:
        self._order, self._table, self._room = order, table, room
        # Per later group, the records whose rows of it are kept, and how many rows these are.
        self._kept_records: dict[int, set[int]] = {}
        self._kept_rows: dict[int, int] = {}
        self._kept = 0

    def reads_of(self, number: int) -> GroupReads:
        done = self._kept_records.pop(number, set())
        self._kept -= self._kept_rows.pop(number, 0)
        reads: list[RecordsRead] = []
        for first, stop in self._order.group(number).windows:
            reads += self._reads_of_window(number, first, stop, done)
        return GroupReads(number, tuple(reads))

    def _reads_of_window(
        self, number: int, first: int, stop: int, done: set[int]
    ) -> Iterator[RecordsRead]:
        records = self._table.lookup_rows(first, stop)
        low, high = records.start, records.stop
        # Only at the edges of a window can a record have rows of other groups.
        begins_before = self._table.rows_of(low)[0] < first
        ends_behind = self._table.rows_of(high - 1)[1] > stop
        inner = range(low + begins_before, high - ends_behind)
        if begins_before and low not in done:
            yield self._edge(number, low, done)
        if inner:
            begin, end = self._table.rows_of(inner.start)[0], self._table.rows_of(inner[-1])[1]
            yield RecordsRead(inner, tuple(self._order.pieces(begin, end)))
        if ends_behind and high - 1 not in done:
            yield self._edge(number, high - 1, done)

    def _edge(self, number: int, record: int, done: set[int]) -> RecordsRead:
        done.add(record)
        first, stop = self._table.rows_of(record)
        pieces = self._order.pieces(max(first, self._order.first), min(stop, self._order.stop))
        sizes: dict[int, int] = {}
        for piece in pieces:
            sizes[piece.group] = sizes.get(piece.group, 0) + piece.stop - piece.first
        kept = {
            group for group in sorted(sizes) if self._keeps(number, group, sizes[group], record)
        }
        return RecordsRead(
            range(record, record + 1), tuple(piece for piece in pieces if piece.group in kept)
        )

    def _keeps(self, number: int, group: int, rows: int, record: int) -> bool:
        """Whether rows of `group` are kept when their record is read for group `number`."""
        if group <= number:
            return group == number
        if record in self._kept_records.get(group, ()):
            return False
        room = self._room if group < number + _FAR else self._room // 2
        if self._kept + rows > room:
            return False
        self._kept += rows
        self._kept_rows[group] = self._kept_rows.get(group, 0) + rows
        self._kept_records.setdefault(group, set()).add(record)
        return True

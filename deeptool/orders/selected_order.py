"""The order of selected rows: of any order, with the n-th selected row in place of row n."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from deeptool.orders.row_groups import Group, LazyGroups, Rows
from deeptool.orders.sample_order import SampleOrder


@dataclass(frozen=True)
class Selected:
    """See `deeptool.orders.sample_order.SampleOrder`.

    Attributes
    ----------
    order : SampleOrder
        Of as many rows as were selected.
    selected : ndarray of int64
        Numbers of rows within the whole pass, ascending.
    """

    order: SampleOrder
    selected: Rows

    @property
    def samples(self) -> int:
        return self.order.samples

    def rows(self, start: int, stop: int) -> Rows:
        """See `SampleOrder`."""
        found: Rows = self.selected[self.order.rows(start, stop)]
        return found

    def groups(self) -> Sequence[Group]:
        """See `SampleOrder`."""
        return LazyGroups(len(self._groups), self)

    def group(self, number: int) -> Group:
        """Group `number`, counted from 0."""
        group = self._groups[number]
        windows = tuple(
            (int(self.selected[low]), int(self.selected[high - 1]) + 1)
            for low, high in group.windows
        )
        return Group(group.start, group.stop, windows)

    @cached_property
    def _groups(self) -> Sequence[Group]:
        return self.order.groups()

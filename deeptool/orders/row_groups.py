"""Groups of rows: the pieces of a sample order, and what orders are drawn with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, overload

import numpy as np
import numpy.typing as npt

Rows = npt.NDArray[np.int64]

# Half of what an iterator may take by default (`read_request.MEMORY`): records that are used in
# part, and those on their way, take the rest.
GROUP_BYTES = 128 << 20
# The first group is so much smaller, and each of the next is twice as large as the one before it:
# so the first batch comes early.
FIRST_GROUP_SHARE = 16
# Rows are numbered in memory as well: of very small ones, a group holds no more than 4 million.
_LEAST_ROW_BYTES = GROUP_BYTES >> 22


@dataclass(frozen=True)
class Group:
    """Places start, ..., stop - 1 of an order, and the rows at these places.

    Attributes
    ----------
    windows : tuple of (int, int)
        The half-open ranges of rows that exactly these places consist of, disjoint, in no order.
        For a part of a permuted pass only: the range that its rows are drawn from; where rows were
        selected: ranges that hold these rows, and others.
    """

    start: int
    stop: int
    windows: tuple[tuple[int, int], ...]


class GroupsByNumber(Protocol):
    """Makes its groups one by one."""

    def group(self, number: int) -> Group: ...


class LazyGroups(Sequence[Group]):
    """Made when they are asked for: large datasets have very many windows."""

    def __init__(self, number: int, order: GroupsByNumber) -> None:
        self._number, self._order = number, order

    def __len__(self) -> int:
        return self._number

    @overload
    def __getitem__(self, index: int) -> Group: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Group]: ...

    def __getitem__(self, index: int | slice) -> Group | Sequence[Group]:
        numbers = range(self._number)[index]
        if isinstance(numbers, range):
            return tuple(map(self._order.group, numbers))
        return self._order.group(numbers)


def group_rows_of(row_bytes: int) -> int:
    """How many rows a full group has, of so many bytes each."""
    return max(1, GROUP_BYTES // max(row_bytes, _LEAST_ROW_BYTES))


def random_source(*entropy: int) -> np.random.RandomState:
    """Random numbers that stay the same with every release of NumPy, unlike those of Generator."""
    return np.random.RandomState(np.random.PCG64(np.random.SeedSequence(entropy)))


def check_places(start: int, stop: int, samples: int) -> None:
    if not 0 <= start <= stop <= samples:
        raise IndexError(f"places {start} to {stop} of {samples}")

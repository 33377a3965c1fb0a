"""A pass that is shuffled in groups of rows from everywhere, with little memory."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from deeptool.orders.row_groups import (
    FIRST_GROUP_SHARE,
    Group,
    LazyGroups,
    Rows,
    check_places,
    random_source,
)

# Windows of a group: one from each of so many equal stretches of the pass.
STRETCHES = 64


class GroupPiece(NamedTuple):
    """Rows first, ..., stop - 1 are rows begin, begin + 1, ... of a group.

    Rows of a group are counted from 0 through its windows, one after the other.
    """

    group: int
    begin: int
    first: int
    stop: int


@dataclass(frozen=True)
class Windowed:
    """What `deeptool.orders.sample_order.windowed` returns.

    The part is cut into stretches. Each is read forward from a point of its own, drawn at random,
    and behind its end from its beginning: so a record whose rows are in two groups is needed by
    groups that follow each other, and can be read once. All stretches are read at the same pace.
    """

    counts: tuple[int, ...]
    name: str
    group_rows: int
    seed: int
    k: int
    first: int
    stop: int
    # The group looked at last; replaced at once, so that threads need no lock.
    _last: dict[str, tuple[int, Rows]] = field(default_factory=dict, compare=False, repr=False)

    @property
    def samples(self) -> int:
        return self.stop - self.first

    def rows(self, start: int, stop: int) -> Rows:
        """See `deeptool.orders.sample_order.SampleOrder`."""
        check_places(start, stop, self.samples)
        found: list[Rows] = [np.zeros(0, np.int64)]
        number = self.lookup_group(start)
        while start < stop:
            begin, end = int(self._starts[number]), int(self._starts[number + 1])
            last = min(stop, end)
            found.append(self._rows_of(number)[start - begin : last - begin])
            start, number = last, number + 1
        return np.concatenate(found)

    def groups(self) -> Sequence[Group]:
        """See `deeptool.orders.sample_order.SampleOrder`. Windows lie within a shard each."""
        return LazyGroups(len(self._starts) - 1, self)

    def group(self, number: int) -> Group:
        """Group `number`, counted from 0."""
        edges = np.unique(np.cumsum(self.counts, dtype=np.int64))
        windows: list[tuple[int, int]] = []
        for low, high in self._windows(number):
            inside = edges[(edges > low) & (edges < high)].tolist()
            windows.extend(pairwise([low, *inside, high]))
        return Group(int(self._starts[number]), int(self._starts[number + 1]), tuple(windows))

    def lookup_group(self, place: int) -> int:
        """The number of the group that a place is in."""
        return int(np.searchsorted(self._starts, place, side="right")) - 1

    @property
    def most_rows(self) -> int:
        """Of the largest group."""
        return int(np.diff(self._starts).max(initial=0))

    def draw(self, number: int) -> Rows:
        """Which row of group `number` comes at each of its places.

        Rows are counted from 0 through the group's windows, one after the other.
        """
        size = int(self._starts[number + 1] - self._starts[number])
        drawn: Rows = random_source(self.seed % 2**64, self.k, number).permutation(size)
        return drawn.astype(np.int64, copy=False)

    def pieces(self, first: int, stop: int) -> list[GroupPiece]:
        """Of which groups rows first, ..., stop - 1 of this part are; ascending by row."""
        found = []
        begins, shifts = self._stretches
        stretch = int(np.searchsorted(begins, first, side="right")) - 1
        while first < stop:
            begin, end = int(begins[stretch]), int(begins[stretch + 1])
            turn = begin + int(shifts[stretch])
            for low, high, back in ((begin, turn, turn - (end - begin)), (turn, end, turn)):
                found += self._pieces_of(stretch, max(low, first), min(high, stop), back)
            first, stretch = min(end, stop), stretch + 1
        return found

    def _pieces_of(self, stretch: int, first: int, stop: int, back: int) -> list[GroupPiece]:
        """The same for rows of a stretch which is begun at row `back`."""
        found = []
        edges, before = self._edges[:, stretch], self._before[:, stretch]
        while first < stop:
            group = int(np.searchsorted(edges, first - back, side="right")) - 1
            last = min(stop, back + int(edges[group + 1]))
            begin = int(before[group]) + first - back - int(edges[group])
            found.append(GroupPiece(group, begin, first, last))
            first = last
        return found

    def _rows_of(self, number: int) -> Rows:
        last = self._last.get("group")
        if last is None or last[0] != number:
            windows = self._windows(number)
            ranges = [np.arange(low, high, dtype=np.int64) for low, high in windows]
            last = number, np.concatenate(ranges)[self.draw(number)]
            self._last["group"] = last
        return last[1]

    def _windows(self, number: int) -> list[tuple[int, int]]:
        """One for each stretch, or two where it begins again within the window."""
        found = []
        begins, shifts = self._stretches
        edges = self._edges
        for stretch, (begin, end) in enumerate(pairwise(begins.tolist())):
            size, shift = end - begin, int(shifts[stretch])
            low = int(edges[number, stretch]) + shift
            high = int(edges[number + 1, stretch]) + shift
            for one, other in ((low, min(high, size)), (max(low, size) - size, high - size)):
                if one < other:
                    found.append((begin + one, begin + other))
        return found

    @cached_property
    def _stretches(self) -> tuple[Rows, Rows]:
        """Between which rows each stretch lies, and how far into it it is begun."""
        number = max(1, min(STRETCHES, self.samples))
        begins: Rows = self.first + self.samples * np.arange(number + 1) // number
        shifts = self._shared_source("begin").random_sample(number) * np.diff(begins)
        return begins, shifts.astype(np.int64)

    @cached_property
    def _edges(self) -> Rows:
        """How far into each stretch each group begins; shape (groups + 1, stretches)."""
        begins, _ = self._stretches
        sizes = np.diff(begins)
        # Where a window is a fraction of a row, stretches round differently.
        rounding = (np.arange(len(sizes)) + 0.5) / len(sizes)
        self._shared_source("rounding").shuffle(rounding)
        edges: list[Rows] = [np.zeros_like(sizes)]
        end = 0
        for group in _group_sizes(self.samples, self.group_rows):
            end += group
            wanted = sizes * (end / self.samples)
            edges.append(_rounded(wanted, rounding, edges[-1], sizes, end))
        return np.stack(edges)

    @cached_property
    def _before(self) -> Rows:
        """How many rows of each group come before those of each stretch; as `_edges`."""
        sizes = np.diff(self._edges, axis=0)
        before: Rows = np.cumsum(sizes, axis=1) - sizes
        return before

    @cached_property
    def _starts(self) -> Rows:
        starts: Rows = self._edges.sum(axis=1)
        return starts

    def _shared_source(self, purpose: str) -> np.random.RandomState:
        """The same for all trials, whatever their seeds."""
        text = json.dumps([purpose, self.name, self.counts]).encode()
        return random_source(int.from_bytes(hashlib.sha256(text).digest()[:16], "big"), self.k)


def _rounded(
    wanted: npt.NDArray[np.float64],
    rounding: npt.NDArray[np.float64],
    least: Rows,
    most: Rows,
    total: int,
) -> Rows:
    """Whole numbers from `least` to `most` near those wanted, which add up to `total`."""
    found: Rows = np.clip(np.floor(wanted + rounding).astype(np.int64), least, most)
    while (lacking := total - int(found.sum())) != 0:
        step = 1 if lacking > 0 else -1
        free = np.flatnonzero(found < most if lacking > 0 else found > least)
        # Those first that are farthest from what is wanted.
        nearest = np.argsort(step * (found[free] - wanted[free]), kind="stable")
        found[free[nearest[: abs(lacking)]]] += step
    return found


def _group_sizes(samples: int, most: int) -> list[int]:
    """From a small first group on, about doubling; then all of the same size, at most `most`."""
    sizes = []
    size, rest = max(1, most // FIRST_GROUP_SHARE), samples
    while size < most and rest > 2 * size:
        sizes.append(size)
        rest -= size
        size *= 2
    number = max(1, -(-rest // most))
    ends = [rest * one // number for one in range(number + 1)]
    return [*sizes, *(end - start for start, end in pairwise(ends))] if samples else []

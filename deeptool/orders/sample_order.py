"""Which sample comes when: pure functions of what is stored, a seed and the number of the pass.

The rows of a pass are numbered 0, 1, ...: shard after shard, by the index of the sample within its
stored epoch. An order says which row comes at which *place*. It knows nothing of records: uploads
of the same samples are read in the same order, wherever each of them cut its records.

A *windowed* order needs little memory: it consists of groups of rows that are read one after the
other, and only within a group are rows in random order. Each group has *windows* (neighbouring
rows) from everywhere in the pass. Which rows are a group does not depend on the trial's seed, so
that trials with many seeds read the same rows at about the same time. A *permuted* order is a
permutation of all rows, for who has all of them at hand.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
import numpy.typing as npt

from deeptool.orders.row_bijection import RowBijection
from deeptool.orders.row_groups import (
    FIRST_GROUP_SHARE,
    Group,
    LazyGroups,
    Rows,
    check_places,
    group_rows_of,
    random_source,
)
from deeptool.orders.windowed_order import Windowed

# From here on a permutation is computed in blocks: held whole, it would take 400 MB for 10**8 rows.
MOST_PERMUTED = 10**7
_BLOCK = 100_000


class SampleOrder(Protocol):
    """Which row of a pass comes at which place.

    Attributes
    ----------
    samples : int
        How many places there are: the rows of this worker's part of the pass.
    """

    @property
    def samples(self) -> int: ...

    def rows(self, start: int, stop: int) -> Rows:
        """The rows at places start, ..., stop - 1.

        Returns
        -------
        ndarray of int64, shape (stop - start,)
            Numbers of rows within the whole pass.
        """
        ...

    def groups(self) -> Sequence[Group]:
        """All places, in pieces to be read one after the other."""
        ...


def in_sequence(samples: int, first: int = 0, row_bytes: int = 1) -> InSequence:
    """Rows first, ..., first + samples - 1 as they are stored.

    Parameters
    ----------
    row_bytes : int
        Of one row: groups are as large as the first one of a windowed order.
    """
    return InSequence(samples, first, max(1, group_rows_of(row_bytes) // FIRST_GROUP_SHARE))


def windowed(
    counts: Sequence[int], name: str, row_bytes: int, seed: int, k: int, first: int, stop: int
) -> Windowed:
    """Rows first, ..., stop - 1 of pass k, shuffled in groups.

    Parameters
    ----------
    counts : sequence of int
        The rows of each shard.
    name : str
        Of the dataset; with `counts` and `k`, it decides which rows are a group.
    row_bytes : int
        Of one row: see `deeptool.rows.row_bytes.order_row_bytes`.
    seed : int
        With `k`, it decides the order of rows within each group.
    """
    return Windowed(tuple(counts), name, group_rows_of(row_bytes), seed, k, first, stop)


def permuted(samples: int, name: str, seed: int, k: int, start: int, stop: int) -> Permuted:
    """A permutation of all `samples` rows, drawn for pass k; of several parts, one of them.

    Parameters
    ----------
    name : str
        Of the dataset. It decides which rows each part has, so that parts are disjoint whatever
        seeds their workers have.
    start, stop : int
        The part, as a range of 0, ..., samples.
    """
    return Permuted(samples, name, seed, k, start, stop)


@dataclass(frozen=True)
class InSequence:
    """What `in_sequence` returns."""

    samples: int
    first: int
    group_rows: int

    def rows(self, start: int, stop: int) -> Rows:
        """See `SampleOrder`."""
        check_places(start, stop, self.samples)
        return np.arange(self.first + start, self.first + stop, dtype=np.int64)

    def groups(self) -> Sequence[Group]:
        """See `SampleOrder`."""
        return LazyGroups(-(-self.samples // self.group_rows), self)

    def group(self, number: int) -> Group:
        """Group `number`, counted from 0."""
        start = number * self.group_rows
        stop = min(start + self.group_rows, self.samples)
        return Group(start, stop, ((self.first + start, self.first + stop),))


@dataclass(frozen=True)
class Permuted:
    """What `permuted` returns. Its rows come from everywhere: it is one group."""

    all_samples: int
    name: str
    seed: int
    k: int
    start: int
    stop: int

    @property
    def samples(self) -> int:
        return self.stop - self.start

    def rows(self, start: int, stop: int) -> Rows:
        """See `SampleOrder`."""
        check_places(start, stop, self.samples)
        own = _drawn_at(self._own, np.arange(start, stop))
        return own if self._dealt is None else _drawn_at(self._dealt, own + self.start)

    def groups(self) -> Sequence[Group]:
        """See `SampleOrder`."""
        return (Group(0, self.samples, ((0, self.all_samples),)),) if self.samples else ()

    @cached_property
    def _own(self) -> Drawn:
        """In which order the rows of this part come."""
        return _drawn(self.samples, random_source(self.seed % 2**64, self.k))

    @cached_property
    def _dealt(self) -> Drawn | None:
        """Which rows are this part's; None where all are."""
        if self.samples == self.all_samples:
            return None
        digest = hashlib.sha256(f"{self.name}/{self.all_samples}".encode()).digest()
        return _drawn(self.all_samples, random_source(int.from_bytes(digest[:16], "big"), self.k))


Drawn = RowBijection | npt.NDArray[np.int32]


def _drawn(samples: int, source: np.random.RandomState) -> Drawn:
    """A permutation of so many rows."""
    if samples > MOST_PERMUTED:
        return RowBijection(samples, source)
    drawn = np.arange(samples, dtype=np.int32)
    source.shuffle(drawn)
    return drawn


def _drawn_at(drawn: Drawn, places: Rows) -> Rows:
    if not isinstance(drawn, RowBijection):
        return drawn[places].astype(np.int64)
    found = np.empty(len(places), np.int64)
    for begin in range(0, len(places), _BLOCK):
        found[begin : begin + _BLOCK] = drawn.lookup(places[begin : begin + _BLOCK])
    return found

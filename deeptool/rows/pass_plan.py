"""Which records a pass reads, and in which order: pure functions of the catalog and a seed.

A *lane* is one partition of one topic; a *block* is a run of neighbouring records of a lane. A pass
reads every block once. Where a seek costs something, it is paid once per block.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise

import numpy as np

from deeptool.catalog.events import EpochStored, OffsetRun
from deeptool.store.record_store import Block, Lane

# Bytes of a block at most, and how many blocks the buffer holds at least. With fewer blocks in it,
# neighbouring samples, which are often alike (sorted by label), would dominate the buffer.
LONGEST_BLOCK = 16 << 20
BLOCKS_IN_BUFFER = 64


@dataclass(frozen=True)
class ShardPass:
    """What one shard contributes to a pass.

    Attributes
    ----------
    runs : mapping of int to sequence of (int, int)
        Per partition, the half-open ranges of offsets to read, ascending.
    first, stop : int
        Samples first, ..., stop - 1 of the stored epoch; the records at the edges of `runs` may
        hold others as well.
    """

    topic: str
    upload: str
    epoch: int
    runs: Mapping[int, Sequence[OffsetRun]]
    first: int
    stop: int

    @property
    def records(self) -> int:
        return sum(stop - start for runs in self.runs.values() for start, stop in runs)

    @property
    def samples(self) -> int:
        return self.stop - self.first


def part_of(samples: int, num_shards: int, index: int) -> tuple[int, int]:
    """Samples start, ..., stop - 1 of a pass are the part of worker `index` of `num_shards`."""
    return samples * index // num_shards, samples * (index + 1) // num_shards


@dataclass(frozen=True)
class WorkerShare:
    """What one of several processes reads of a part: whole batches, and the last one what is left.

    So all of them together make as many batches, of the same sizes, as one process would.

    Attributes
    ----------
    workers, worker : int
        This is process `worker` of `workers`.
    batch_size : int
    """

    workers: int
    worker: int
    batch_size: int

    def of(self, worker: int) -> WorkerShare:
        """The share of another one of these processes."""
        return replace(self, worker=worker)

    def within(self, start: int, stop: int) -> tuple[int, int]:
        """The share of samples start, ..., stop - 1."""
        batches = -(-(stop - start) // self.batch_size)
        first, last = part_of(batches, self.workers, self.worker)
        return min(start + first * self.batch_size, stop), min(start + last * self.batch_size, stop)


def cut(counts: Sequence[int], start: int, stop: int) -> list[tuple[int, int]]:
    """Samples start, ..., stop - 1 of shards laid end to end, as a range within each shard."""
    ranges = []
    before = 0
    for count in counts:
        first = min(max(start - before, 0), count)
        ranges.append((first, max(first, min(stop - before, count))))
        before += count
    return ranges


def narrow(
    stored: EpochStored, first: int, stop: int, first_sample: Callable[[int, int], int]
) -> dict[int, tuple[OffsetRun, ...]]:
    """The runs of offsets that hold samples first, ..., stop - 1 of a stored epoch.

    Parameters
    ----------
    first_sample : callable of (partition, offset)
        The index of a record's first sample, ascending with the offset; asked about
        log2(records) times for either end.
    """
    narrowed = {}
    for partition, runs in stored.runs.items():
        offsets = _Offsets(runs)
        key = partial(first_sample, partition)
        # The record that holds `first` is the last one that begins at or before it.
        low = bisect_right(offsets, first, key=key) - 1
        high = bisect_left(offsets, stop, key=key)
        narrowed[partition] = offsets.between(max(low, 0), high) if first < stop else ()
    return narrowed


def block_length(record_bytes: float, most: int, longest: int = LONGEST_BLOCK) -> int:
    """How many neighbouring records are read at once.

    At most `most` of them, at most about `longest` bytes, and at least one.
    """
    return max(1, min(int(longest / max(record_bytes, 1)), most))


def blocks(shards: Sequence[ShardPass], length: int) -> list[Block]:
    """All records of a pass as blocks of at most `length`, in about the order of samples."""
    found = []
    for number, shard in enumerate(shards):
        for partition, runs in sorted(shard.runs.items()):
            total = sum(stop - start for start, stop in runs)
            lane, before = Lane(shard.topic, partition), 0
            for start, stop in runs:
                for begin in range(start, stop, length):
                    end = min(begin + length, stop)
                    found.append(Block(number, lane, begin, end, before / total))
                    before += end - begin
    return sorted(found, key=lambda block: (block.shard, block.place, block.lane))


def shuffled(ordered: Sequence[Block], buffer_blocks: int, rng: np.random.Generator) -> list[Block]:
    """The blocks in random order, so that a buffer always holds some of everywhere.

    The pass is cut into as many strata as the buffer holds blocks. Each is read in an order of its
    own, evenly over the whole pass: each block is as likely at each point as any other, but at no
    point does one part of the dataset lack, as it would by chance under a plain permutation.
    """
    count = len(ordered)
    strata = max(1, min(buffer_blocks, count // 2))
    edges = np.linspace(0, count, strata + 1).astype(int)
    when = np.empty(count)
    for low, high in pairwise(edges):
        size = high - low
        when[low:high] = (rng.permutation(size) + rng.random(size)) / size
    return [ordered[i] for i in np.argsort(when, kind="stable")]


class _Offsets:
    """The offsets of several runs, by their number from 0."""

    def __init__(self, runs: Sequence[OffsetRun]) -> None:
        self._runs = list(runs)
        self._ends = np.cumsum([stop - start for start, stop in runs], dtype=np.int64)

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    def __getitem__(self, number: int) -> int:
        run = int(np.searchsorted(self._ends, number, side="right"))
        return self._runs[run][1] - int(self._ends[run] - number)

    def between(self, low: int, high: int) -> tuple[OffsetRun, ...]:
        """The runs of offsets number low, ..., high - 1."""
        kept = []
        for (start, stop), end in zip(self._runs, self._ends, strict=True):
            begin = int(end) - (stop - start)
            first, last = max(low - begin, 0), min(high - begin, stop - start)
            if first < last:
                kept.append((start + first, start + last))
        return tuple(kept)

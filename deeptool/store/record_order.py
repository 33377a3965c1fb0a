"""What a pass reads, wherever it comes from: records in the order of the plan, held against it."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from deeptool.codec.records import RecordHeader
from deeptool.errors import WorkError
from deeptool.store.pass_plan import Block, Lane, ShardPass


class Stored(NamedTuple):
    """One record as it lies on the broker; `header` is None where deeptool did not write it."""

    offset: int
    key: bytes | None
    value: bytes
    header: RecordHeader | None


class Samples(NamedTuple):
    """Rows low, ..., high - 1 of one record belong to the pass; `first` is the index of row 0."""

    key: bytes | None
    value: bytes
    first: int
    low: int
    high: int


# The next record of a lane, block by block in the order of the plan.
Take = Callable[[Lane], Stored]


def in_plan_order(
    order: Iterable[Block], shards: Sequence[ShardPass], take: Take
) -> Iterator[Samples]:
    """The samples of a pass, block after block.

    Raises
    ------
    WorkError
        At the end, if they are not as many as the catalog says.
    """
    counts = [_Count(shard) for shard in shards]
    for block in order:
        yield from counts[block.shard].of([block], take)
    for count in counts:
        count.check()


def in_sample_order(
    order: Sequence[Block], shards: Sequence[ShardPass], take: Take
) -> Iterator[Samples]:
    """The samples of a pass as the producers' pipelines yielded them, shard after shard.

    Raises
    ------
    WorkError
        If one is missing.
    """
    for number, shard in enumerate(shards):
        lanes: dict[Lane, list[Block]] = {}
        for block in order:
            if block.shard == number:
                lanes.setdefault(block.lane, []).append(block)
        count = _Count(shard)
        streams = [count.of(blocks, take) for blocks in lanes.values()]
        yield from heapq.merge(*streams, key=lambda samples: samples.first)
        count.check()


class _Count:
    """Picks the samples of one shard's part of a pass, and counts them."""

    def __init__(self, shard: ShardPass) -> None:
        self._shard = shard
        self._samples = 0

    def of(self, blocks: Iterable[Block], take: Take) -> Iterator[Samples]:
        shard = self._shard
        for block in blocks:
            for _ in range(len(block)):
                record = take(block.lane)
                header = record.header
                if header is None or (header.upload, header.epoch) != (shard.upload, shard.epoch):
                    continue
                low = max(shard.first - header.first, 0)
                high = min(shard.stop - header.first, header.count)
                if low < high:
                    self._samples += high - low
                    yield Samples(record.key, record.value, header.first, low, high)

    def check(self) -> None:
        if self._samples != self._shard.samples:
            raise WorkError(
                f"topic {self._shard.topic} does not hold all that was uploaded to it",
                seen=f"{self._samples} samples of stored epoch {self._shard.epoch}",
                valid=str(self._shard.samples),
                next_step="deeptool check says what is damaged; upload it again with --replace",
            )

"""The samples of a pass in the order of its plan, whichever store the records come from.

Every record is compared with the plan: what is missing is an error, never a shorter pass, and what
another upload wrote is never taken for the dataset.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from deeptool.codec.records import RecordHeader
from deeptool.errors import WorkError
from deeptool.orders.row_groups import Rows
from deeptool.rows.pass_plan import ShardPass
from deeptool.store.record_store import (
    Block,
    Lane,
    PassRecords,
    StoredRecord,
    replaced_while_read,
)


class Samples(NamedTuple):
    """Rows low, ..., high - 1 of one record belong to the pass; `first` is the index of row 0.

    `ends` says before which rows of the record a batch ended, where that was kept. Where only some
    of the record's rows were selected, `chosen` says which, and the other numbers count these.
    """

    key: bytes | None
    value: bytes
    first: int
    low: int
    high: int
    ends: tuple[int, ...] | None = None
    chosen: Rows | None = None


def in_plan_order(
    order: Iterable[Block], shards: Sequence[ShardPass], records: PassRecords
) -> Iterator[Samples]:
    """The samples of a pass, block after block.

    Raises
    ------
    WorkError
        At the end, if they are not as many as the catalog says.
    """
    counts = [_ShardCount(shard) for shard in shards]
    for block in order:
        yield from counts[block.shard].of([block], records)
    for count in counts:
        count.check()


def in_sample_order(
    order: Sequence[Block], shards: Sequence[ShardPass], records: PassRecords
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
        count = _ShardCount(shard)
        streams = [count.of(blocks, records) for blocks in lanes.values()]
        yield from heapq.merge(*streams, key=lambda samples: samples.first)
        count.check()


def header_of_upload(record: StoredRecord, lane: Lane, upload: str) -> RecordHeader:
    """The header of a record that must be of this upload.

    Raises
    ------
    WorkError
        It is not: the catalog lists only offsets that were acknowledged to the upload, so the topic
        was deleted and made again since.
    """
    header = record.header
    if header is None or header.upload != upload:
        by = f"upload {header.upload}" if header else "another program"
        raise replaced_while_read(lane.topic, f"{lane}, offset {record.offset}, is by {by}")
    return header


class _ShardCount:
    """Picks the samples of one shard's part of a pass, and counts them."""

    def __init__(self, shard: ShardPass) -> None:
        self._shard = shard
        self._samples = 0

    def of(self, blocks: Iterable[Block], records: PassRecords) -> Iterator[Samples]:
        shard = self._shard
        for block in blocks:
            for _ in range(len(block)):
                record = records.take_record(block.lane)
                header = header_of_upload(record, block.lane, shard.upload)
                if header.epoch != shard.epoch:
                    continue
                low = max(shard.first - header.first, 0)
                high = min(shard.stop - header.first, header.count)
                if low < high:
                    self._samples += high - low
                    yield Samples(record.key, record.value, header.first, low, high, header.ends)

    def check(self) -> None:
        if self._samples != self._shard.samples:
            raise WorkError(
                f"topic {self._shard.topic} does not hold all samples that were uploaded to it",
                seen=f"{self._samples} samples of stored epoch {self._shard.epoch}",
                valid=str(self._shard.samples),
                next_step="deeptool check lists what is damaged; upload it again with --replace",
            )

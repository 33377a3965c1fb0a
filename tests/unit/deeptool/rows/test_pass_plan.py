"""Which records a pass reads, and in which order: for any runs of offsets, any part, any seed."""

from __future__ import annotations

from collections import Counter
from itertools import accumulate

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from deeptool.catalog.events import EpochStored
from deeptool.rows import pass_plan
from deeptool.rows.pass_plan import ShardPass

# Per partition, (gap before a run, its records) in turn.
RUNS = st.dictionaries(
    st.integers(0, 4),
    st.lists(st.tuples(st.integers(1, 5), st.integers(1, 20)), min_size=1, max_size=4),
    min_size=1,
    max_size=4,
)


def runs_of(drawn: dict[int, list[tuple[int, int]]]) -> dict[int, tuple[tuple[int, int], ...]]:
    found = {}
    for partition, pieces in drawn.items():
        ends = list(accumulate(gap + size for gap, size in pieces))
        found[partition] = tuple((end - pieces[i][1], end) for i, end in enumerate(ends))
    return found


def records(runs: dict[int, tuple[tuple[int, int], ...]]) -> list[tuple[int, int]]:
    return [
        (p, offset) for p, r in runs.items() for start, stop in r for offset in range(start, stop)
    ]


@given(RUNS, st.integers(1, 9), st.integers(0, 2**32), st.integers(1, 100))
def test_every_record_is_in_one_block(
    drawn: dict[int, list[tuple[int, int]]], length: int, seed: int, held: int
) -> None:
    runs = runs_of(drawn)
    shards = [ShardPass(f"t{n}", "u", 0, runs, 0, 1) for n in range(2)]
    ordered = pass_plan.blocks(shards, length)
    shuffled = pass_plan.shuffled(ordered, held, np.random.default_rng(seed))
    for blocks in (ordered, shuffled):
        assert all(1 <= len(block) <= length for block in blocks)
        read = Counter(
            (block.lane, offset) for block in blocks for offset in range(block.start, block.stop)
        )
        assert set(read.values()) == {1}
        assert len(read) == 2 * len(records(runs))
    again = pass_plan.shuffled(ordered, held, np.random.default_rng(seed))
    assert again == shuffled
    for shard in (0, 1):
        lanes = [b for b in ordered if b.shard == shard]
        for lane in {b.lane for b in lanes}:
            starts = [b.start for b in lanes if b.lane == lane]
            assert starts == sorted(starts)


@given(RUNS, st.data())
def test_a_part_of_a_pass_reads_the_records_that_hold_it(
    drawn: dict[int, list[tuple[int, int]]], data: st.DataObject
) -> None:
    runs = runs_of(drawn)
    # Samples are dealt out in the order of offsets, partition after partition in turn.
    order = sorted(records(runs), key=lambda place: (place[1], place[0]))
    counts = data.draw(st.lists(st.integers(1, 5), min_size=len(order), max_size=len(order)))
    firsts = dict(zip(order, accumulate([0, *counts[:-1]]), strict=True))
    size = dict(zip(order, counts, strict=True))
    samples = sum(counts)
    first, stop = sorted(data.draw(st.tuples(*[st.integers(0, samples)] * 2)))
    stored = EpochStored(samples, len(order), 1, runs, {})
    narrowed = pass_plan.narrow(stored, first, stop, lambda p, offset: firsts[p, offset])
    needed = {r for r in order if firsts[r] < stop and firsts[r] + size[r] > first}
    kept = set(records(narrowed))
    assert needed <= kept or first == stop
    # At most one more record at the beginning of each partition.
    assert len(kept - needed) <= len(runs)


@given(st.lists(st.integers(0, 50), min_size=1, max_size=5), st.integers(1, 7))
def test_parts_are_disjoint_and_together_all(counts: list[int], num_shards: int) -> None:
    total = sum(counts)
    parts = [pass_plan.part_of(total, num_shards, index) for index in range(num_shards)]
    sizes = [stop - start for start, stop in parts]
    assert sum(sizes) == total
    assert max(sizes) - min(sizes) <= 1
    for shard, count in enumerate(counts):
        covered = [n for part in parts for n in range(*pass_plan.cut(counts, *part)[shard])]
        assert covered == list(range(count))


@given(
    samples=st.integers(0, 300),
    batch_size=st.integers(1, 40),
    workers=st.integers(1, 9),
    start=st.integers(0, 50),
)
def test_workers_share_whole_batches(
    samples: int, batch_size: int, workers: int, start: int
) -> None:
    stop, place, batches = start + samples, start, []
    for worker in range(workers):
        first, last = pass_plan.WorkerShare(workers, worker, batch_size).within(start, stop)
        # Where one ends the next one begins, and only the last batch of all is smaller.
        assert first == place
        place = last
        batches += [min(batch_size, last - n) for n in range(first, last, batch_size)]
    assert place == stop
    assert batches == [min(batch_size, stop - n) for n in range(start, stop, batch_size)]

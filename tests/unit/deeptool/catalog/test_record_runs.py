"""Which samples each record holds: kept in few numbers, and checked where they are read."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import accumulate
from typing import Any

import pytest
from catalog_builders import completed
from hypothesis import given, settings
from hypothesis import strategies as st

from deeptool.catalog import events
from deeptool.catalog.event_schema import MalformedEvent
from deeptool.catalog.events import Completed, EpochStored
from deeptool.catalog.record_runs import RunsOfPartition, firsts_and_counts
from deeptool.errors import UserError

COUNTS = st.lists(st.tuples(st.integers(1, 9), st.integers(1, 3)), min_size=1, max_size=30)


@given(COUNTS, st.integers(1, 4))
@settings(deadline=None)
def test_runs_describe_every_record_exactly(pieces: list[tuple[int, int]], number: int) -> None:
    counts = [count for length, count in pieces for _ in range(length)]
    firsts = [end - count for end, count in zip(accumulate(counts), counts, strict=True)]
    for partition in range(number):
        kept = RunsOfPartition()
        wanted = list(zip(firsts, counts, strict=True))[partition::number]
        made = [kept.add(first, count) for first, count in wanted]
        assert sum(made) == len(kept.runs)
        found = firsts_and_counts(kept.runs)
        assert list(zip(*(part.tolist() for part in found), strict=True)) == wanted


def test_records_of_one_size_are_one_run() -> None:
    kept = RunsOfPartition()
    for number in range(100_000):
        kept.add(85 * 4 * number + 170, 85)
    assert kept.runs == [(100_000, 85, 170, 340)]


def epoch(**fields: Any) -> EpochStored:
    runs = {0: ((3, 5), (9, 10)), 1: ((0, 2),)}
    records = {0: ((3, 10, 0, 20),), 1: ((1, 10, 10, 0), (1, 7, 20, 0))}
    return replace(
        EpochStored(47, 5, 470, runs, {0: "a", 1: "b"}, record_runs=records),
        **fields,
    )


def test_they_come_back_as_they_were() -> None:
    event = replace(completed("u"), epochs=(epoch(row_bytes=460), epoch(record_runs=None)))
    assert events.from_json(events.to_json(event)) == event
    values = json.loads(events.to_json(event))
    for stored in values["epochs"]:
        del stored["record_runs"], stored["row_bytes"]
    earlier = events.from_values(values)
    assert isinstance(earlier, Completed)
    assert [stored.record_runs for stored in earlier.epochs] == [None, None]
    assert [stored.row_bytes for stored in earlier.epochs] == [None, None]


@pytest.mark.parametrize(
    ("records", "said"),
    [
        ({0: ((3, 10, 0, 20),)}, "other partitions"),
        ({0: ((2, 10, 0, 20),), 1: ((2, 10, 10, 20),)}, "2 records of partition 0, .* 3 offsets"),
        ({0: ((3, 10, 0, 20),), 1: ((2, 10, 10, 20),)}, "50 samples, not 47"),
        ({0: ((3, 10, 0, 20),), 1: ((1, 10, 10, 0), (1, 7, -20, 0))}, "for a run of records"),
        ({0: ((3, 10, 0),), 1: ((2, 10, 10, 20),)}, "for a run of records"),
        ({0: ((3, 10, 0, True),), 1: ((2, 10, 10, 20),)}, "for a run of records"),
        ({0: ((0, 10, 0, 1),), 1: ((2, 10, 10, 20),)}, "for a run of records"),
        ({0: ((3, 10, 0, 2**62),), 1: ((2, 10, 10, 20),)}, "last possible sample"),
    ],
)
def test_those_that_contradict_the_totals_are_no_event(records: Any, said: str) -> None:
    event = replace(completed("u"), epochs=(epoch(record_runs=records),))
    with pytest.raises(UserError, match="cannot keep this event") as caught:
        events.to_json(event)
    assert isinstance(caught.value.__cause__, MalformedEvent)
    with pytest.raises(MalformedEvent, match=said):
        raise caught.value.__cause__

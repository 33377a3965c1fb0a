"""Acknowledged offsets -> runs, totals and digests."""

from __future__ import annotations

import pytest

from deeptool.codec.records import Digest, Record
from deeptool.errors import WorkError
from deeptool.producer.ledger import Ledger, RecordFacts


def facts(first: int, count: int = 10) -> RecordFacts:
    return RecordFacts(first, count, 1000 + first, 100, row_bytes=90)


def test_runs_break_where_others_wrote() -> None:
    ledger = Ledger()
    for offset, first in ((5, 0), (6, 10), (9, 20), (10, 30)):
        ledger.acknowledge(0, 2, offset, facts(first))
    ledger.acknowledge(0, 0, 0, facts(40, count=3))
    (epoch,) = ledger.epochs()
    assert epoch.runs == {0: ((0, 1),), 2: ((5, 7), (9, 11))}
    assert (epoch.samples, epoch.records, epoch.bytes, epoch.row_bytes) == (43, 5, 500, 450)
    assert (ledger.samples, ledger.records, ledger.bytes) == (43, 5, 500)
    digest = Digest()
    for first in (0, 10, 20, 30):
        digest.update(first, 10, 1000 + first)
    assert epoch.digests[2] == digest.hexdigest()


def test_epochs_are_kept_apart() -> None:
    ledger = Ledger()
    ledger.acknowledge(0, 0, 0, facts(0))
    ledger.acknowledge(1, 0, 1, facts(0))
    ledger.acknowledge(1, 0, 2, facts(10))
    first, second = ledger.epochs()
    assert (first.runs, second.runs) == ({0: ((0, 1),)}, {0: ((1, 3),)})
    assert (first.samples, second.samples) == (10, 20)
    assert first.digests != second.digests


@pytest.mark.parametrize("offset", [-1, -1001, 4, 3])
def test_an_offset_that_nobody_can_rely_on_is_an_error(offset: int) -> None:
    ledger = Ledger()
    ledger.acknowledge(0, 0, 4, facts(0))
    with pytest.raises(WorkError, match="impossible offset"):
        ledger.acknowledge(0, 0, offset, facts(10))
    assert ledger.records == 1


def test_the_size_counts_the_key() -> None:
    record = Record(b"key", b"value", [], 7, 2, 99)
    assert RecordFacts.of(record) == RecordFacts(7, 2, 99, 8)


def test_records_of_one_size_are_one_run_per_partition() -> None:
    ledger = Ledger()
    for number in range(1000):
        count = 10 if number < 999 else 4
        ledger.acknowledge(0, number % 3, number // 3, facts(10 * number, count))
    ledger.acknowledge(1, 1, 333, facts(0))
    first, second = ledger.epochs()
    assert first.record_runs == {
        0: ((333, 10, 0, 30), (1, 4, 30, 0)),
        1: ((333, 10, 10, 30),),
        2: ((333, 10, 20, 30),),
    }
    assert second.record_runs == {1: ((1, 10, 0, 0),)}


def test_very_many_runs_are_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deeptool.producer.ledger.MOST_RUNS", 3)
    ledger = Ledger()
    sizes = {0: [5, 5, 6], 1: [5, 6, 5, 6, 5], 2: [7, 7, 7]}
    for epoch, counts in sizes.items():
        first = 0
        for offset, count in enumerate(counts):
            ledger.acknowledge(epoch, 0, 10 * epoch + offset, facts(first, count))
            first += count
    kept = [epoch.record_runs for epoch in ledger.epochs()]
    assert kept == [{0: ((2, 5, 0, 5), (1, 6, 5, 0))}, None, {0: ((3, 7, 0, 7),)}]

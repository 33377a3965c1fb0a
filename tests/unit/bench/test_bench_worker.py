"""A worker verifies what a contender reads, and times whole passes of it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.contenders import Pass, Timed, Work
from bench.peers.java_clients import consumed_rate, produced_rate
from bench.rows import WorkerPlan
from bench.worker import Worker
from bench.worker_process import WorkerFailed, WorkerProcess
from bench.workloads import SIZES

TINY = SIZES["tiny"]["images"]


class Reader:
    """Yields the labels in batches, as many as it is made with, and notes the passes."""

    def __init__(self, labels: Any) -> None:
        self.labels, self.passes = labels, [-1]

    def batches(self, number: int) -> Iterator[Any]:
        self.passes.append(number)
        for start in range(0, len(self.labels), 100):
            yield self.labels[start : start + 100]


def worker(contender: Any) -> Worker:
    return Worker(found={"it": contender}, workload=TINY)


def test_a_shuffled_pass_is_verified_by_its_labels() -> None:
    reader = Reader(np.random.default_rng(1).permutation(TINY.labels()))
    answer = worker(Pass(reader.batches)).verify(name="it", most_seconds=60)
    assert answer["whole"]
    assert 3.0 < answer["entropy"] < np.log2(10)


def test_a_contender_that_stores_a_part_is_to_read_all_of_that() -> None:
    part = TINY.labels()[::3]
    assert worker(Pass(Reader(part).batches, 3)).verify(name="it", most_seconds=60)["whole"]
    with pytest.raises(ValueError, match="other samples than were stored"):
        worker(Pass(Reader(part[1:]).batches, 3)).verify(name="it", most_seconds=60)


@pytest.mark.parametrize("change", ["missing", "doubled", "another"])
def test_a_pass_that_lost_or_doubled_a_sample_is_an_error(change: str) -> None:
    labels = TINY.labels()
    changed = {
        "missing": labels[:-1],
        "doubled": np.append(labels, 3),
        "another": np.append(labels[:-1], 0),
    }
    with pytest.raises(ValueError, match="other samples than were stored"):
        worker(Pass(Reader(changed[change]).batches)).verify(name="it", most_seconds=60)


def test_whole_passes_are_timed_each_of_another_number() -> None:
    reader = Reader(TINY.labels())
    it = worker(Pass(reader.batches))
    it.verify(name="it", most_seconds=60)
    answer = it.measure(name="it", number=0, least_seconds=0.02, most_seconds=60)
    assert answer["whole"]
    assert answer["seconds"] >= 0.02
    passes = len(reader.passes) - 2
    assert answer["samples"] == passes * 600
    assert reader.passes[1:] == list(range(1, passes + 2))


def test_a_pass_that_takes_too_long_is_cut() -> None:
    answer = worker(Pass(Reader(TINY.labels()).batches)).measure(
        name="it", number=0, least_seconds=1, most_seconds=0
    )
    assert (answer["samples"], answer["whole"]) == (100, False)


def test_work_says_its_own_time() -> None:
    answer = worker(Work(lambda number: Timed(600, number + 0.5))).measure(
        name="it", number=2, least_seconds=9, most_seconds=9
    )
    assert (answer["samples"], answer["seconds"]) == (600, 2.5)


def test_a_worker_answers_in_a_process_of_its_own(tmp_path: Path) -> None:
    process = WorkerProcess(WorkerPlan("a worker", sys.prefix, ()), tmp_path)
    try:
        versions = process.ask("versions", timeout=60, packages=["numpy", "no-such-package"])
        assert versions == {"numpy": np.__version__}
        with pytest.raises(WorkerFailed, match="KeyError: 'nobody'"):
            process.ask("verify", timeout=60, name="nobody", most_seconds=1)
    finally:
        process.stop()


def test_an_environment_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(WorkerFailed, match=r"\.venv-none"):
        WorkerProcess(WorkerPlan("a worker", ".venv-none", ()), tmp_path)


def test_what_java_prints_is_read_in_bytes() -> None:
    produced = (
        "500 records sent, 100.0 records/sec (95.37 MB/sec), 4.9 ms avg latency, 9 ms max.\n"
        "938 records sent, 178.7 records/sec (178.70 MB/sec), 600.52 ms avg latency, 702.00 ms "
        "max latency, 622 ms 50th, 696 ms 95th, 701 ms 99th, 702 ms 99.9th.\n"
    )
    assert produced_rate(produced) == pytest.approx(178.70 * 1048576)
    consumed = (
        "2026-11-29 14:00:00:000, 2026-11-29 14:00:02:000, 937.5, 468.75, 938, 469.0, 500, 1500, "
        "625.0, 625.3\n"
    )
    assert consumed_rate(consumed) == pytest.approx(468.75 * 1048576)

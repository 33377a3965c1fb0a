"""An upload that ends before, or when, a broker's disk is full."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from types import SimpleNamespace

import pytest

from deeptool.client.connection import Connection
from deeptool.client.log_dirs import LogDir
from deeptool.errors import WorkError
from deeptool.producer.disk_watch import SPARE_BYTES, DiskWatch, Look, free_here

FOLDER = Path("/runs/broker/data/kafka")
MIB = 1 << 20


class Brokers:
    """What the brokers answer, one after the other: free bytes, or None for no answer."""

    cluster_id = "abc"

    def __init__(self, answers: Iterable[int | None], path: Path = FOLDER) -> None:
        self._answers, self._path = iter(answers), path

    def ask(self, topic: str, partitions: object) -> tuple[LogDir, ...]:
        free = next(self._answers)
        if free is None:
            raise OSError("no answer")
        unused = LogDir(1, Path("/full"), 0)
        return (LogDir(1, self._path, free, used=True), unused)

    def close(self) -> None:
        pass


Seen = Callable[..., WorkError | None]


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Seen:
    def look(*answers: int | None, path: Path = FOLDER, seconds: float = 1.0) -> WorkError | None:
        """The error after looks that find this, so many seconds apart."""
        watch = DiskWatch(Connection(("s:1",)), "t", (0,), lambda error: None)
        monkeypatch.setattr(watch, "_brokers", Brokers(answers, path))
        found = None
        for number in range(len(answers)):
            assert found is None
            found = watch._look(1 + number * seconds)
        return found

    return look


def test_an_upload_ends_before_the_disk_is_full(seen: Seen) -> None:
    assert seen(SPARE_BYTES) is None
    error = seen(SPARE_BYTES - 1)
    assert error is not None
    assert error.what == "the disk of broker 1 is full"
    assert f"{SPARE_BYTES - 1:,} bytes are free in {FOLDER}" == error.seen
    # As much as since the last look may be gone at the next.
    assert seen(500 * MIB, 300 * MIB) is None
    assert seen(300 * MIB, 165 * MIB) is not None
    # What others have freed is not counted twice.
    assert seen(100 * MIB, 300 * MIB) is None


def test_a_broker_that_never_says_or_only_starts_again_ends_nothing(seen: Seen) -> None:
    assert seen(*[None] * 20) is None
    assert seen(10_000 * MIB, *[None] * 50) is None
    assert seen(10_000 * MIB, None, None, 9_000 * MIB) is None


def test_a_broker_elsewhere_that_was_almost_full_and_stopped(seen: Seen) -> None:
    almost = SPARE_BYTES + 10 * MIB
    assert seen(almost, *[None] * 6) is None
    error = seen(almost, *[None] * 7)
    assert error is not None
    assert error.what == "broker 1 has stopped: its disk is full"
    assert f"no answer for 6 s; before, {almost:,} bytes were free in {FOLDER}" == error.seen
    assert "deeptool-hpc broker up --dir /runs/broker --detach" in str(error.next_step)


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """The log folder of an embedded broker on this machine."""
    logs = tmp_path / "data" / "kafka"
    logs.mkdir(parents=True)
    (logs / "meta.properties").write_text("#\nversion=0\ncluster.id=abc\nbroker.id=1\n")
    return logs


def test_a_broker_of_this_machine_that_stopped_of_a_full_disk(
    seen: Seen, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert free_here(here, "abc") == pytest.approx(shutil.disk_usage(here).free, rel=0.1)
    assert seen(10_000 * MIB, None, path=here) is None
    state = here.parent.parent / "state.json"
    state.write_text(json.dumps({"kind": "broker", "state": "failed", "disk_full": True}))
    error = seen(10_000 * MIB, None, path=here)
    assert error is not None
    assert error.what == "broker 1 has stopped: its disk is full"
    # Started again: what its file system says counts.
    state.write_text(json.dumps({"kind": "broker", "state": "starting", "disk_full": False}))
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=SPARE_BYTES - 1))
    assert seen(10_000 * MIB, None, path=here) is not None
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=SPARE_BYTES))
    assert seen(10_000 * MIB, None, path=here) is None


@pytest.mark.parametrize("cluster", ["another", None])
def test_the_folder_of_another_broker_says_nothing(here: Path, cluster: str | None) -> None:
    assert free_here(here, cluster) is None


def test_only_folders_that_keep_the_topic_count() -> None:
    folders = [LogDir(1, Path("/a"), 5), LogDir(2, Path("/a"), 9, used=True)]
    folder, left = Look.of(folders, 0.0).shortest(None)
    assert folder == folders[1]
    assert left == 9
    assert Look.of(folders[:1], 0.0).shortest(None) == (None, 0)

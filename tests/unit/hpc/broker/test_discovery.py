"""Discovery: what brokers say of themselves, and who believes it."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from deeptool.errors import WorkError
from hpc.broker.discovery import DEAD_SECONDS, Descriptor, Discovery


def descriptor(**facts: object) -> Descriptor:
    values = {"run": "r", "job": "7", "restarts": 0, "node": 0, "nodes": 2, **facts}
    return Descriptor(**values)  # type: ignore[arg-type]


def nothing() -> None:
    pass


def test_what_is_written_is_read(tmp_path: Path) -> None:
    discovery = Discovery(tmp_path / "services", "r")
    assert discovery.read() is None
    assert discovery.all() == ()
    before = time.time()
    written = discovery.write(descriptor(state="ready", bootstrap="h:1"))
    assert written.heartbeat >= before
    assert discovery.read() == written
    discovery.write(descriptor(node=1, state="ready", bootstrap="h:2"))
    assert discovery.servers() == "h:1,h:2"


def test_other_runs_formats_and_starts_do_not_count(tmp_path: Path) -> None:
    discovery = Discovery(tmp_path, "r")
    discovery.write(descriptor(run="another"))
    assert discovery.read() is None
    discovery.write(descriptor(restarts=1, state="ready", bootstrap="h:1"))
    discovery.write(descriptor(node=1, restarts=0, state="ready", bootstrap="h:2"))
    assert discovery.servers() == "h:1"
    path = tmp_path / "broker-0.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": 2}))
    assert discovery.read() is None


def test_a_silent_broker_is_dead_and_an_ended_one_is_not() -> None:
    late = time.time() + DEAD_SECONDS + 1
    assert descriptor(heartbeat=time.time(), state="ready").dead(late)
    assert not descriptor(heartbeat=time.time(), state="ready").dead(time.time() + 1)
    assert not descriptor(heartbeat=time.time(), state="stopped").dead(late)


def test_waiting_for_one_that_is_ready(tmp_path: Path) -> None:
    discovery = Discovery(tmp_path, "r")
    steps = iter(["starting", "ready"])

    def check() -> None:
        discovery.write(descriptor(state=next(steps)))

    assert discovery.wait_ready(10, check).state == "ready"


def test_one_that_will_not_come_back_ends_the_waiting(tmp_path: Path) -> None:
    discovery = Discovery(tmp_path, "r")
    discovery.write(descriptor(state="failed", note="the disk is full", log="/runs/broker.log"))
    with pytest.raises(WorkError, match="broker has failed") as caught:
        discovery.wait_ready(10, nothing)
    assert caught.value.seen == "the disk is full"
    assert "/runs/broker.log" in str(caught.value.next_step)


def test_one_that_does_not_come_in_time(tmp_path: Path) -> None:
    discovery = Discovery(tmp_path, "r")
    with pytest.raises(WorkError, match="not ready within 0 s") as caught:
        discovery.wait_ready(0, nothing, log="/runs/broker.log")
    assert caught.value.seen == "no heartbeat received"
    gone = discovery.write(descriptor(state="ready"))
    with pytest.raises(WorkError, match="not ready") as caught:
        discovery.wait_ready(0, nothing, after=gone.generation)
    assert "ready, job 7" in str(caught.value.seen)
    # One that stopped to be started again is waited for.
    discovery.write(descriptor(state="stopped", resumes=True))
    with pytest.raises(WorkError, match="not ready within"):
        discovery.wait_ready(0, nothing)

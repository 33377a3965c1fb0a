"""One process from its start to its end, with small shell scripts."""

from __future__ import annotations

import contextlib
import signal
from pathlib import Path

import psutil
import pytest

from deeptool.errors import WorkError
from hpc.processes.service import Service
from hpc.processes.to_the_end import run_to_the_end


def make(tmp_path: Path, script: str) -> Service:
    return Service("worker", ["sh", "-c", script], tmp_path / "log")


def test_how_it_ended(tmp_path: Path) -> None:
    end = run_to_the_end(make(tmp_path, "seq 100; exit 7"), lambda: False, 1.0)
    assert end.exit_code == 7
    assert end.tail == tuple(map(str, range(61, 101)))
    assert end.cpu_seconds > 0


def test_it_is_asked_once_and_killed_after_the_grace(tmp_path: Path) -> None:
    script = "trap 'echo asked' TERM; echo there; while :; do sleep 0.05; done"
    service = make(tmp_path, script)
    end = run_to_the_end(service, lambda: "there" in service.output(), 0.5)
    assert end.exit_code == 128 + signal.SIGKILL
    assert end.tail == ("there", "asked")


def test_nothing_of_its_group_is_left(tmp_path: Path) -> None:
    seen: list[int] = []
    service = make(tmp_path, "sleep 60 & echo $!")
    end = run_to_the_end(service, lambda: False, 1.0, lambda: seen.append(service.group))
    assert len(seen) == 1
    (child,) = map(int, end.tail)
    with contextlib.suppress(psutil.NoSuchProcess):
        psutil.Process(child).wait(10)


def test_a_program_that_cannot_be_started(tmp_path: Path) -> None:
    service = Service("worker", [str(tmp_path / "nothing")], tmp_path / "log")
    with pytest.raises(WorkError, match="could not be started"):
        run_to_the_end(service, lambda: False, 1.0)

"""Processes of this machine, distinguished from later ones with the same id."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping

import psutil

_STEP = 0.05


def identity(pid: int) -> dict[str, float]:
    """What tells a process from a later one with the same id."""
    try:
        return {"pid": pid, "started": psutil.Process(pid).create_time()}
    except psutil.NoSuchProcess:
        return {"pid": pid, "started": 0.0}


def alive(process: Mapping[str, float] | None) -> bool:
    """Whether the process of an `identity` still runs."""
    if process is None:
        return False
    try:
        seen = psutil.Process(int(process["pid"]))
        # The clock that start times are derived from may be set meanwhile, by a little.
        same = abs(float(seen.create_time()) - process["started"]) < 2.0
        return same and seen.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def wait_gone(processes: Iterable[Mapping[str, float]], timeout: float) -> bool:
    """Wait up to `timeout` seconds for all `processes` to end: whether they did."""
    left = list(processes)
    deadline = time.monotonic() + timeout
    while left := [process for process in left if alive(process)]:
        if time.monotonic() > deadline:
            return False
        time.sleep(_STEP)
    return True

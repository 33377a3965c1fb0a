"""The CPU time of this process with its children, and of its single threads, as Linux tells it."""

from __future__ import annotations

import os
import resource
from pathlib import Path

_TASKS = Path("/proc/self/task")
_TICK = os.sysconf("SC_CLK_TCK")


def seconds_with_children() -> float:
    """CPU seconds of this process, and of its children that have ended and were waited for."""
    of = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in of)


def tells_threads_apart() -> bool:
    """Whether this system says anything about single threads."""
    return _TASKS.is_dir()


def librdkafka_threads() -> set[int]:
    """The native ids of librdkafka's threads, which it names ``rdk:...``; empty without /proc."""
    found = set()
    try:
        for task in _TASKS.iterdir():
            try:
                if (task / "comm").read_text().startswith("rdk:"):
                    found.add(int(task.name))
            except OSError:
                continue  # It ended after it was listed.
    except OSError:
        return set()
    return found


def thread_seconds(native_id: int) -> float | None:
    """CPU seconds of one thread so far; None where it has ended or the system does not say."""
    task = _TASKS / str(native_id)
    try:
        # In nanoseconds; kernels without scheduler statistics write zeros.
        nanoseconds = int((task / "schedstat").read_text().split()[0])
        if nanoseconds:
            return nanoseconds / 1e9
    except (OSError, ValueError, IndexError):
        pass
    try:
        # After the name, which may hold anything: fields 14 and 15, utime and stime, in ticks.
        fields = (task / "stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICK
    except (OSError, ValueError, IndexError):
        return None

"""The CPU time of the input pipeline alone, out of a process that also encodes and sends."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_TASKS = Path("/proc/self/task")
_TICK = os.sysconf("SC_CLK_TCK")


class PipelineCpuMeter:
    """Charges an input pipeline with the CPU time that is nobody else's.

    TensorFlow runs a pipeline in threads of its own, which cannot be told apart. So its part is
    what remains of the process's CPU time, while `measure` is entered, without the calling thread's
    (but what it spends within `pipeline`), librdkafka's threads (named ``rdk:...``), and those
    given to `leave_out`.
    """

    def __init__(self) -> None:
        self._left_out: list[threading.Thread] = []
        self._seconds = 0.0
        self._known = _TASKS.is_dir()

    def leave_out(self, thread: threading.Thread) -> None:
        """Do not charge what this thread does."""
        self._left_out.append(thread)

    @contextmanager
    def measure(self) -> Iterator[None]:
        """Charge what happens within; entered by the thread that iterates."""
        before = self._not_others()
        try:
            yield
        finally:
            self._seconds += self._not_others() - before

    @contextmanager
    def pipeline(self) -> Iterator[None]:
        """What the calling thread does within is the pipeline's."""
        before = time.thread_time()
        try:
            yield
        finally:
            self._seconds += time.thread_time() - before

    @property
    def seconds(self) -> float | None:
        """CPU seconds charged so far; None where the system does not tell threads apart."""
        return max(self._seconds, 0.0) if self._known else None

    def _not_others(self) -> float:
        others = self._left_out_seconds() if self._known else 0.0
        return time.process_time() - time.thread_time() - others

    def _left_out_seconds(self) -> float:
        ids = {str(thread.native_id) for thread in self._left_out}
        total = 0.0
        for task in _TASKS.iterdir():
            try:
                name = (task / "comm").read_text().strip()
                if name.startswith("rdk:") or task.name in ids:
                    # After the name, which may hold anything: fields 14 and 15, utime and stime.
                    fields = (task / "stat").read_text().rpartition(")")[2].split()
                    total += (int(fields[11]) + int(fields[12])) / _TICK
            except (FileNotFoundError, ProcessLookupError):
                continue  # It ended meanwhile.
        return total

"""The CPU time of the input pipeline alone, out of a process that also encodes and sends."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from deeptool import cpu_clock


class PipelineCpuMeter:
    """Charges an input pipeline with the CPU time that no other part of the process used.

    TensorFlow runs a pipeline in threads of its own, which cannot be told apart. So its part is
    what remains of the process's CPU time, while `measure` is entered, without the calling thread's
    (but what it spends within `pipeline`), librdkafka's threads (named ``rdk:...``), and those
    given to `leave_out`.
    """

    def __init__(self) -> None:
        self._left_out: list[threading.Thread] = []
        self._seconds = 0.0
        self._known = cpu_clock.tells_threads_apart()

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
        named = {thread.native_id for thread in self._left_out if thread.native_id is not None}
        threads = cpu_clock.librdkafka_threads() | named
        return sum(cpu_clock.thread_seconds(thread) or 0.0 for thread in threads)

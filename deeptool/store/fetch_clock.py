"""The CPU time that librdkafka's threads spend on fetching."""

from __future__ import annotations

import time
from typing import ClassVar

from deeptool import cpu_clock
from deeptool.fork_lock import ForkLock

_LOOK_SECONDS = 0.5


class FetchClock:
    """The CPU time of the librdkafka threads of one client, which is made after its clock.

    Threads do not say whose they are, and some begin late: with several clients at once, one that
    is new counts for the clock that sees it first, so that the sum over all clocks is right.
    """

    _guard = ForkLock()
    _claimed: ClassVar[set[int]] = set()
    _running: ClassVar[list[FetchClock]] = []

    def __init__(self) -> None:
        self._seconds: dict[int, float] = {}
        self._counted = 0.0
        self._looked = time.monotonic()
        with self._guard:
            if self._running:
                self._running[-1]._claim()
            else:
                FetchClock._claimed = cpu_clock.librdkafka_threads()
            self._running.append(self)

    def seconds_more(self, at_once: bool = False) -> float:
        """The CPU time since the last call; looked up twice a second, or `at_once`."""
        now = time.monotonic()
        if now < self._looked + _LOOK_SECONDS and not at_once:
            return 0.0
        self._looked = now
        with self._guard:
            alive = self._claim()
        for thread in self._seconds.keys() & alive:
            self._seconds[thread] = cpu_clock.thread_seconds(thread) or self._seconds[thread]
        total = sum(self._seconds.values())
        more, self._counted = total - self._counted, total
        return more

    def stop(self) -> None:
        """To be called when the client is closed."""
        with self._guard:
            self._running.remove(self)

    def _claim(self) -> set[int]:
        alive = cpu_clock.librdkafka_threads()
        for thread in alive - self._claimed:
            self._seconds[thread] = 0.0
        # Forget the ended ones: the system gives their numbers to new threads.
        FetchClock._claimed = alive
        return alive

"""What reading has cost so far, and the error that ended it."""

from __future__ import annotations

import threading
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, TypeVar

from deeptool.errors import DeeptoolError
from deeptool.store import shutdown

T = TypeVar("T")


class _End:
    """Comes after the last item."""


_END = _End()

_TASKS = Path("/proc/self/task")
_LOOK_SECONDS = 0.5


@dataclass
class ReadMeter:
    """Counts what datasets read, while they do; one meter can be given to several.

    Attributes
    ----------
    samples, records, bytes : int
        Taken from the broker, those read ahead included. Bytes are those of record keys and values,
        after decompression.
    cpu_seconds : float
        Of fetching and decoding: of librdkafka's threads and of the generator's body. What
        TensorFlow does with the tensors (batching, copying) is not in it; with ``reader='tfio'``,
        where TensorFlow's threads fetch, neither is that.
    error : DeeptoolError or None
        What ended a reading, as it was raised; TensorFlow passes on no more than its text.
    """

    samples: int = 0
    records: int = 0
    bytes: int = 0
    cpu_seconds: float = 0.0
    error: DeeptoolError | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    def count(self, *, samples: int = 0, records: int = 0, size: int = 0, cpu: float = 0.0) -> None:
        """Add to the counts; from any thread."""
        with self._lock:
            self.samples += samples
            self.records += records
            self.bytes += size
            self.cpu_seconds += cpu

    @contextmanager
    def raising(self) -> Iterator[None]:
        """Around code that iterates over a dataset: its errors come out as they were raised.

        Raises
        ------
        DeeptoolError
            Instead of the ``tf.errors.OpError`` that TensorFlow made of it, which is its cause.
        """
        self.error = None
        try:
            yield
        except Exception as error:
            if self.error is not None and self.error is not error:
                raise self.error from error
            raise

    @contextmanager
    def working(self) -> Iterator[None]:
        """Around what TensorFlow's threads call: counts its CPU time, and keeps its error."""
        before = time.thread_time()
        try:
            with shutdown.working():
                yield
        except DeeptoolError as error:
            self.error = error
            raise
        finally:
            self.count(cpu=time.thread_time() - before)

    def metered(self, generator: Generator[T, None, None]) -> Generator[T, None, None]:
        """The same generator, `working` whenever it is asked for an item."""
        try:
            while True:
                with self.working():
                    item = next(generator, _END)
                if isinstance(item, _End):
                    return
                yield item
        finally:
            generator.close()


class FetchClock:
    """The CPU time of the librdkafka threads of a client, which is made after its clock.

    Threads do not say whose they are, and some begin late: with several clients at once, one that
    is new counts for the clock that sees it first, so that the sum over all clocks is right.
    """

    _guard = threading.Lock()
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
                FetchClock._claimed = _fetch_threads()
            self._running.append(self)

    def seconds_more(self, at_once: bool = False) -> float:
        """The CPU time since it last said one; looked up twice a second, or `at_once`."""
        now = time.monotonic()
        if now < self._looked + _LOOK_SECONDS and not at_once:
            return 0.0
        self._looked = now
        with self._guard:
            alive = self._claim()
        for thread in self._seconds.keys() & alive:
            self._seconds[thread] = _cpu_seconds(thread, self._seconds[thread])
        total = sum(self._seconds.values())
        more, self._counted = total - self._counted, total
        return more

    def stop(self) -> None:
        """To be called when the client is closed."""
        with self._guard:
            self._running.remove(self)

    def _claim(self) -> set[int]:
        alive = _fetch_threads()
        for thread in alive - self._claimed:
            self._seconds[thread] = 0.0
        # Not the ended ones: their numbers can come again.
        FetchClock._claimed = alive
        return alive


def _fetch_threads() -> set[int]:
    found = set()
    try:
        for task in _TASKS.iterdir():
            try:
                if (task / "comm").read_text().startswith("rdk:"):
                    found.add(int(task.name))
            except OSError:
                continue  # It has ended meanwhile.
    except OSError:
        return set()  # No /proc: not Linux.
    return found


def _cpu_seconds(thread: int, before: float) -> float:
    try:
        return int((_TASKS / str(thread) / "schedstat").read_text().split()[0]) / 1e9
    except (OSError, ValueError):
        return before

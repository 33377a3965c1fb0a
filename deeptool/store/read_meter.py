"""What reading has cost so far, and the error that ended it: `deeptool.ReadMeter`."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

from deeptool.errors import DeeptoolError
from deeptool.fork_lock import ForkLock
from deeptool.store import read_shutdown

T = TypeVar("T")


class _End:
    """Comes after the last item."""


_END = _End()


@dataclass
class ReadMeter:
    """Counts what datasets read, while they do, and keeps the error that ends a read.

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
    _lock: ForkLock = field(default_factory=ForkLock, repr=False, compare=False)

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
            with read_shutdown.working():
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

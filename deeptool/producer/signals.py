"""Signals that arrive while TensorFlow is at work."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def signals_held() -> Iterator[None]:
    """Handle SIGINT, SIGTERM and SIGHUP at the end of the block.

    An iterator of TensorFlow makes and finalizes an object for each element. What a signal's
    handler raises in a finalizer is dropped by Python, and one half made crashes the process.

    Outside the main thread, where no signal is handled, and for signals whose handler is not a
    Python function, nothing is changed.
    """
    arrived: list[int] = []

    def hold(number: int, frame: FrameType | None) -> None:
        arrived.append(number)

    handlers = {}
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if callable(signal.getsignal(number)):
                handlers[number] = signal.signal(number, hold)
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for late in arrived:
            signal.raise_signal(late)

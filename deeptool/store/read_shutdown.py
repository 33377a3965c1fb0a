"""Ends reading when Python ends.

A thread of TensorFlow that calls Python while the interpreter shuts down waits forever, and the
interpreter waits for it. So an iterator that still reads ahead has to stop before that.

A signal waits too: its handler runs in the main thread, which is inside TensorFlow until the next
element is there. So every reader checks by itself whether a signal has arrived.
"""

from __future__ import annotations

import atexit
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from deeptool.errors import WorkError
from deeptool.fork_lock import ForkLock

_LONGEST_SECONDS = 3.0
# Longer than TensorFlow needs to come back for the next element.
_QUIET_SECONDS = 0.1

_ending = threading.Event()
_lock = ForkLock()
_busy = 0
_last = 0.0
_told_to_end: list[Callable[[], bool]] = []


def check() -> None:
    """To be called where reading may wait.

    Raises
    ------
    WorkError
        The program is ending.
    """
    if _ending.is_set() or any(told() for told in list(_told_to_end)):
        raise WorkError("the program ended while a dataset was read")


@contextmanager
def ending_when(told: Callable[[], bool]) -> Iterator[None]:
    """Within the block, what reads ends once `told` says so; any thread asks it."""
    _told_to_end.append(told)
    try:
        yield
    finally:
        _told_to_end.remove(told)


@contextmanager
def working() -> Iterator[None]:
    """Around what TensorFlow's threads call."""
    global _busy, _last
    check()
    with _lock:
        _busy += 1
    try:
        yield
    finally:
        with _lock:
            _busy -= 1
            _last = time.monotonic()


@atexit.register
def _end() -> None:
    _ending.set()
    deadline = time.monotonic() + _LONGEST_SECONDS
    while time.monotonic() < deadline:
        with _lock:
            if not _busy and time.monotonic() - _last > _QUIET_SECONDS:
                return
        time.sleep(0.01)

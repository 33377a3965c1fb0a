"""Signals that ask the process to end: how a command, an upload and a trial take them.

A command raises at once, so that it unwinds (`raise_on_signals`). That is not enough where
TensorFlow runs Python code, and it fails in two different ways, so there are two more:
`signals_held` keeps signals out of the short calls of an upload that must not be interrupted, and
`RememberedSignals` keeps a signal that arrives in a trial's long call, where its exception may get
lost.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any, NoReturn

# What a terminal (Ctrl-C, hang-up), a batch system and an operator send.
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Terminated(BaseException):
    """A signal asked the process to end; like KeyboardInterrupt, not to be caught as an error."""

    def __init__(self, signum: int) -> None:
        super().__init__(signal.Signals(signum).name)
        self.exit_code = 128 + signum


def raise_on_signals() -> None:
    """From here on SIGTERM and SIGHUP raise `Terminated`, as SIGINT raises KeyboardInterrupt."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        # Under nohup SIGHUP is ignored, and must stay so.
        if number == signal.SIGTERM or signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _raise_terminated)


def end_on_signals() -> None:
    """From here on a signal ends the process on the spot."""
    for number in SIGNALS:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)


def _raise_terminated(signum: int, frame: FrameType | None) -> NoReturn:
    raise Terminated(signum)


@contextmanager
def signals_held() -> Iterator[None]:
    """For an upload: handle SIGINT, SIGTERM and SIGHUP at the end of the block, not inside it.

    An iterator of TensorFlow makes and finalizes an object for each element. What a signal's
    handler raises in a finalizer is dropped by Python, and a half made object crashes the process.

    Outside the main thread, where no signal is handled, and for signals whose handler is not a
    Python function, nothing is changed.
    """
    arrived: list[int] = []

    def hold(number: int, frame: FrameType | None) -> None:
        arrived.append(number)

    handlers = {}
    if threading.current_thread() is threading.main_thread():
        for number in SIGNALS:
            if callable(signal.getsignal(number)):
                handlers[number] = signal.signal(number, hold)
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for late in arrived:
            signal.raise_signal(late)


class RememberedSignals:
    """For a trial: while entered, SIGTERM and SIGINT raise, and are remembered.

    They raise `Terminated` and KeyboardInterrupt. TensorFlow turns what is raised in its Python
    callbacks into errors of its own, and Python drops what is raised in a finalizer. So whoever
    gets to run next asks `check` or `caught`. Only the main thread can install handlers; in another
    one nothing is changed.

    Attributes
    ----------
    deferred : bool
        Set it while a trial writes how it ended: a signal is then only remembered.
    """

    def __init__(self) -> None:
        self._caught: int | None = None
        self._before: dict[int, Any] = {}
        self._pipe: tuple[int, int] | None = None
        self._pipe_before = -1
        self._pipe_lock = threading.Lock()
        self._arrived = False
        self.deferred = False

    @property
    def caught(self) -> BaseException | None:
        """What the signal that arrived is to raise; None when there was none."""
        if self._caught is None:
            return None
        if self._caught == signal.SIGINT:
            return KeyboardInterrupt()
        return Terminated(self._caught)

    def check(self) -> None:
        """Raise for a signal whose exception got lost."""
        caught = self.caught
        if caught is not None:
            raise caught

    def arrived(self) -> bool:
        """Whether a signal is there, even if the main thread had no chance to handle it yet.

        From any thread.
        """
        with self._pipe_lock:
            if not self._arrived and self._pipe is not None:
                # Every signal that Python handles leaves its number.
                with contextlib.suppress(BlockingIOError):
                    numbers = set(os.read(self._pipe[0], 4096))
                    self._arrived = not numbers.isdisjoint({signal.SIGTERM, signal.SIGINT})
            return self._arrived

    def __enter__(self) -> RememberedSignals:
        if threading.current_thread() is threading.main_thread():
            self._pipe = os.pipe()
            for end in self._pipe:
                os.set_blocking(end, False)
            self._pipe_before = signal.set_wakeup_fd(self._pipe[1], warn_on_full_buffer=False)
            for number in (signal.SIGTERM, signal.SIGINT):
                self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if self._pipe is not None:
            signal.set_wakeup_fd(self._pipe_before)
            with self._pipe_lock:
                for end in self._pipe:
                    os.close(end)
                self._pipe = None

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self._caught = number
        if not self.deferred:
            self.check()

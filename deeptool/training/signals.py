"""Signals that end a trial, whatever code they meet."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from types import FrameType, TracebackType
from typing import Any

from deeptool.errors import Terminated


class Signals:
    """While entered, SIGTERM and SIGINT raise `Terminated` and KeyboardInterrupt.

    TensorFlow turns what is raised in its Python callbacks into errors of its own, and Python drops
    what is raised in a finalizer: so a signal is also remembered. Only the main thread can ask for
    signals; in another one nothing is changed.
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

    def __enter__(self) -> Signals:
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

"""Signals that end a trial, whatever code they meet."""

from __future__ import annotations

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

    def __enter__(self) -> Signals:
        if threading.current_thread() is threading.main_thread():
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

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self._caught = number
        if not self.deferred:
            self.check()

"""The signals that end long processes, as flags that are looked at where it is safe."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from deeptool.errors import Terminated

# What a terminal, a shell that is closed, and whoever ends a process politely send.
USUAL = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

_Handler = Callable[[int, FrameType | None], Any] | int | None


class CaughtSignals:
    """Notes signals instead of dying of them: nothing is interrupted halfway.

    Parameters
    ----------
    *numbers : int
        The signals that ask for the end.
    dropped : tuple of int
        Signals that are caught and forgotten. Unlike ignored ones, they have their usual effect in
        the processes that this one starts.
    """

    def __init__(self, *numbers: int, dropped: tuple[int, ...] = ()) -> None:
        self._numbers, self._dropped = numbers, dropped
        self.seen: tuple[int, ...] = ()

    @property
    def end(self) -> bool:
        """Whether this process is asked to end."""
        return bool(self.seen)

    @property
    def insistent(self) -> bool:
        """Whether it was asked more than once."""
        return len(self.seen) > 1

    def check(self) -> None:
        """Raise `Terminated` once a signal came, with the first one."""
        if self.seen:
            raise Terminated(self.seen[0])

    def install(self) -> dict[int, _Handler]:
        """Catch them from now on, in the main thread; returns the handlers they had before."""
        before: dict[int, _Handler] = {}
        for number in self._numbers:
            before[number] = signal.signal(number, self._note)
        for number in self._dropped:
            before[number] = signal.signal(number, lambda signum, frame: None)
        return before

    @contextmanager
    def caught(self) -> Iterator[None]:
        """Catch them for a block."""
        before = self.install()
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _note(self, signum: int, frame: FrameType | None) -> None:
        self.seen = (*self.seen, signum)

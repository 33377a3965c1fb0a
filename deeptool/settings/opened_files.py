"""Which files the user's code opens to read, seen by Python's audit events."""

from __future__ import annotations

import linecache
import os
import sys
import threading
import tokenize
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from deeptool.settings.user_modules import is_users

_DEEPTOOL = str(Path(__file__).parents[1]) + os.sep
# Source lines that are shown or read for autograph, and what importing opens, are no data.
_SOURCE_READERS = (linecache.__file__, tokenize.__file__, "<frozen importlib")
_MOST_FILES = 1000

_collectors: list[Callable[[str, bool], None]] = []
_here = threading.local()
_hooked = False


class OpenedFiles:
    """The files that user code read while a settings file ran, and while its pipeline did.

    Attributes
    ----------
    by_statement : dict
        Index of a top-level statement -> absolute paths opened while it ran.
    by_pipeline : set of str
        Absolute paths opened since, in any thread. At most 1,000: which ones beyond is not kept.
    """

    def __init__(self) -> None:
        self.by_statement: dict[int, set[str]] = {}
        self.by_pipeline: set[str] = set()
        self._written: set[str] = set()
        self._now: set[str] = set()

    @contextmanager
    def loading(self) -> Iterator[None]:
        """Record what is opened in the block; `statement_ran` says for which statement."""
        self._now = set()
        with _collecting(self._collect):
            yield

    def statement_ran(self, index: int) -> None:
        self.by_statement.setdefault(index, set()).update(self._now)
        self._now.clear()

    def follow_pipeline(self) -> None:
        """Record what the pipeline opens from now on, until another settings file is loaded."""
        self._now = self.by_pipeline
        _collectors[:] = [self._collect]

    def read_only(self, paths: set[str]) -> set[str]:
        """Those that this process did not write itself."""
        return paths - self._written

    def _collect(self, path: str, writes: bool) -> None:
        if writes:
            self._written.add(path)
        elif len(self._now) < _MOST_FILES:
            self._now.add(path)


@contextmanager
def _collecting(collect: Callable[[str, bool], None]) -> Iterator[None]:
    global _hooked
    if not _hooked:
        # An audit hook cannot be taken away: one for the whole process, idle most of the time.
        sys.addaudithook(_audit)
        _hooked = True
    _collectors[:] = [collect]
    try:
        yield
    finally:
        _collectors.clear()


@contextmanager
def unseen() -> Iterator[None]:
    """What this thread opens in the block is not recorded."""
    before = getattr(_here, "unseen", False)
    _here.unseen = True
    try:
        yield
    finally:
        _here.unseen = before


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    if event != "open" or not _collectors or getattr(_here, "unseen", False):
        return
    path, mode, flags = arguments
    if isinstance(path, int) or path is None or not _from_user_code(sys._getframe(1)):
        return
    writes = any(c in mode for c in "wxa+") if mode else bool(flags & (os.O_WRONLY | os.O_RDWR))
    for collect in tuple(_collectors):
        collect(os.path.abspath(os.fsdecode(path)), writes)


def _from_user_code(frame: FrameType | None) -> bool:
    """Whether the innermost code of anybody's but a library's is the user's."""
    while frame is not None:
        file = frame.f_code.co_filename
        if file.startswith(_SOURCE_READERS) or file.startswith(_DEEPTOOL):
            return False
        if is_users(file):
            return True
        frame = frame.f_back
    return False

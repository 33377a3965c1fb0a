"""A file as memory that is only read, and writes to it that never touch memory."""

from __future__ import annotations

import mmap
import os

import pyarrow as pa

from deeptool.codec.values import Array
from deeptool.columns.free_memory import available_memory


def write_at(descriptor: int, place: int, data: bytes | memoryview) -> None:
    """Write all of `data`, which are single bytes, at an offset.

    A write to memory that stands for a file would end the process (SIGBUS) where the disk is full.

    Raises
    ------
    OSError
        The disk is full, for example.
    """
    remaining = memoryview(data)
    while remaining:
        written = os.pwrite(descriptor, remaining, place)
        place, remaining = place + written, remaining[written:]


class FileMemory:
    """The bytes of an open file, as long as it is now.

    Parameters
    ----------
    descriptor : int
        May be closed afterwards.

    Attributes
    ----------
    buffer : pa.Buffer
        Over the whole file; what is written to the file shows in it.
    """

    def __init__(self, descriptor: int) -> None:
        size = os.fstat(descriptor).st_size
        # There is no mapping of nothing.
        self._map = mmap.mmap(descriptor, size, prot=mmap.PROT_READ) if size else None
        self.buffer = pa.py_buffer(self._map if self._map is not None else b"")
        self._random = False
        self._too_large: bool | None = None

    def offset_of(self, inside: Array) -> int:
        """Where in the file an array lies that is a view of `buffer`."""
        address: int = inside.__array_interface__["data"][0]
        return address - int(self.buffer.address)

    def expect_random(self, random: bool) -> None:
        """Say whether reads come in random order: then nothing is read ahead that is dropped again.

        Where all of the file finds place in memory, reading ahead is faster all the same.
        """
        if random == self._random or self._map is None:
            return
        if random and self._too_large is None:
            self._too_large = self.buffer.size > available_memory()
        if self._too_large:
            self._map.madvise(mmap.MADV_RANDOM if random else mmap.MADV_NORMAL)
        self._random = random

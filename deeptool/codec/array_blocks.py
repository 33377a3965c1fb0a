"""Large arrays whose memory is used again: the pages of fresh memory cost more than filling them.

They begin at a multiple of 64 bytes, as TensorFlow and JAX want of arrays that they use in place.
"""

from __future__ import annotations

import mmap
from collections import deque
from contextlib import suppress
from typing import Any

import numpy as np

from deeptool.codec.values import Array

ALIGNMENT = 64
# Smaller arrays are left to NumPy, which keeps some of their memory itself.
LEAST_BYTES = 256 << 10
# What is kept for arrays to come, besides what is in use.
_MOST_IDLE_BYTES = 32 << 20


def empty_array(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """As ``numpy.empty``; any thread may ask, and let go of it."""
    size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    if dtype.hasobject or size < LEAST_BYTES:
        return np.empty(shape, dtype)
    found: Array = np.asarray(_Block(_memory(size)))[:size].view(dtype).reshape(shape)
    return found


def writable(array: Array) -> Array:
    """The array, or a copy of one that is read-only.

    TensorFlow writes results over an array once nothing else of TensorFlow's refers to it; where it
    lies in a file that is only read, that would end the process (SIGSEGV).
    """
    if array.flags.writeable:
        return array
    copy = empty_array(array.shape, array.dtype)
    copy[...] = array
    return copy


def is_aligned(array: Array) -> bool:
    """Whether it is one piece of memory that begins where such arrays do."""
    address: int = array.__array_interface__["data"][0]
    return array.flags.c_contiguous and not address % ALIGNMENT


class _Block:
    """Memory that is idle again when the last array over it is gone."""

    def __init__(self, memory: mmap.mmap) -> None:
        self._memory = memory
        address = np.frombuffer(memory, np.uint8).__array_interface__["data"][0]
        self.__array_interface__ = {
            "data": (address, False),
            "shape": (len(memory),),
            "typestr": "|u1",
            "version": 3,
        }

    def __del__(self) -> None:
        _idle.append(self._memory)
        while sum(map(len, tuple(_idle))) > _MOST_IDLE_BYTES:
            with suppress(IndexError):
                _idle.popleft()


# Neither this nor what is done with it needs a lock: a block may be let go of at any moment, within
# any other call.
_idle: deque[mmap.mmap] = deque()


def _memory(size: int) -> mmap.mmap:
    for _ in range(len(_idle)):
        with suppress(IndexError):
            memory = _idle.popleft()
            if size <= len(memory) <= 2 * size:
                return memory
            _idle.append(memory)
    # Private: a fork must not write to what its parent reads.
    memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    with suppress(AttributeError, OSError):
        memory.madvise(mmap.MADV_HUGEPAGE)
    return memory

"""Memory of large arrays is used again when nobody has the array any more, and never before."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import numpy as np
import pytest

from deeptool.codec import array_blocks
from deeptool.codec.array_blocks import LEAST_BYTES, empty_array, is_aligned, writable
from deeptool.codec.values import Array

FLOATS = np.dtype(np.float32)


@pytest.fixture(autouse=True)
def nothing_idle() -> Iterator[None]:
    array_blocks._idle.clear()
    yield
    array_blocks._idle.clear()


def address(array: Array) -> int:
    found: int = array.__array_interface__["data"][0]
    return found


def test_memory_is_used_again_after_the_last_view_of_it_is_gone() -> None:
    first = empty_array((1000, 100), FLOATS)
    first[:] = 1
    view, place = first[500:501], address(first)
    del first
    other = empty_array((1000, 100), FLOATS)
    other[:] = 2
    assert address(other) != place
    assert (view == 1).all()
    del view
    again = empty_array((250, 4, 100), FLOATS)
    assert address(again) == place
    assert again.shape == (250, 4, 100)
    assert again.flags.writeable


@pytest.mark.parametrize("dtype", ["int8", "float64", "complex128", "bool"])
def test_arrays_are_aligned_and_of_any_dtype(dtype: str) -> None:
    array = empty_array((LEAST_BYTES, 1), np.dtype(dtype))
    assert is_aligned(array)
    assert (array.dtype, array.shape) == (np.dtype(dtype), (LEAST_BYTES, 1))
    assert not is_aligned(array.reshape(-1).view(np.int8)[1:])
    assert not is_aligned(array[::2])


def test_small_arrays_and_objects_are_numpys() -> None:
    assert empty_array((3,), FLOATS).base is None
    texts = empty_array((LEAST_BYTES,), np.dtype(object))
    assert texts[0] is None


def test_idle_memory_is_bounded() -> None:
    arrays = [empty_array((3 << 20,), np.dtype(np.uint8)) for _ in range(20)]
    assert not array_blocks._idle
    arrays.clear()
    assert 0 < sum(map(len, array_blocks._idle)) <= 32 << 20


def test_threads_never_have_the_same_memory() -> None:
    wrong: list[int] = []

    def work(number: int) -> None:
        for _ in range(200):
            array = empty_array((LEAST_BYTES,), np.dtype(np.uint8))
            array[:] = number
            wrong.extend(array[array != number][:1].tolist())

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_only_what_is_read_only_is_copied_to_be_written_to() -> None:
    own = np.arange(12, dtype=np.float32)[:8]
    assert writable(own) is own
    held = own.view()
    held.flags.writeable = False
    copy = writable(held)
    assert copy.flags.writeable
    assert not np.shares_memory(copy, held)
    np.testing.assert_array_equal(copy, held)

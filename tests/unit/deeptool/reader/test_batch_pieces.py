"""Pieces hold the batches that the NumPy face makes, and are copied only where they have to be."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from deeptool.codec.array_blocks import empty_array, is_aligned
from deeptool.codec.values import Array, Leaves
from deeptool.reader.batch_pieces import batch_pieces
from deeptool.reader.numpy_batches import _rebatched


def cut(lengths: list[int], width: int = 2) -> list[Leaves]:
    """Chunks of so many rows each: numbers, and texts of the same numbers."""
    count = sum(lengths)
    numbers = np.arange(count * width).reshape(count, width)
    texts = np.array([b"%d" % row for row in range(count)], object)
    edges = np.cumsum([0, *lengths])
    return [(numbers[low:high], texts[low:high]) for low, high in pairwise(edges.tolist())]


def batches_of(pieces: list[Leaves]) -> list[list[list[object]]]:
    """The leaves of each batch, as lists."""
    return [
        [np.asarray(value)[number].tolist() for value in piece]
        for piece in pieces
        for number in range(len(piece[0]))
    ]


@pytest.mark.parametrize("drop", [False, True])
@pytest.mark.parametrize("batches", [1, 3, 1000])
def test_batches_are_those_of_the_numpy_face(drop: bool, batches: int) -> None:
    rng = np.random.default_rng(batches)
    for _ in range(200):
        lengths = rng.integers(1, 40, rng.integers(0, 12)).tolist()
        size = int(rng.integers(1, 30))
        pieces = list(batch_pieces(cut(lengths), size, drop, batches))
        expected = [
            [np.asarray(value).tolist() for value in batch]
            for batch in _rebatched(cut(lengths), size, drop)
        ]
        assert batches_of(pieces) == expected, (lengths, size)
        assert all(piece[0].shape[1] == size for piece in pieces[:-1])


def test_the_first_piece_is_one_batch_and_later_ones_grow() -> None:
    pieces = list(batch_pieces(cut([5] * 100), 10, False, 8))
    assert [len(piece[0]) for piece in pieces] == [1, 2, 4, 8, 8, 8, 8, 8, 3]


def test_an_array_of_whole_batches_is_used_in_place() -> None:
    array = empty_array((4, 100_000), np.dtype(np.float32))
    (piece,) = batch_pieces([(array,)], 2, False, 1)
    assert np.shares_memory(piece[0], array)
    assert piece[0].shape == (2, 2, 100_000)


@pytest.mark.parametrize("begin", [0, 1])
def test_what_tensorflow_would_copy_is_copied_to_where_it_does_not(begin: int) -> None:
    array = empty_array((401_000,), np.dtype(np.uint8))[begin:]
    chunks: list[Leaves] = [(array[:100_000],), (array[100_000:400_000],)]
    found: list[Array] = [np.asarray(piece[0]) for piece in batch_pieces(chunks, 200_000, True, 1)]
    assert all(is_aligned(piece) for piece in found)
    assert not any(np.shares_memory(piece, array) for piece in found)

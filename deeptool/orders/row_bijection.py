"""A permutation of very many rows that is computed where it is needed, and never held whole."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Rows = npt.NDArray[np.int64]

_ROUNDS = 6
# The finalizer of MurmurHash3: each bit that goes in changes half of those that come out.
_FIRST_FACTOR = np.uint64(0x85EBCA6B)
_SECOND_FACTOR = np.uint64(0xC2B2AE35)
_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(16)
_THIRTEEN = np.uint64(13)
_WORD = np.uint64(32)


class RowBijection:
    """A permutation of 0, ..., samples - 1: a Feistel network, walked until it ends inside.

    A number is written as (quotient, remainder) by about the square root of `samples`; each round
    adds a keyed hash of one to the other. The rectangle that these pairs fill is hardly larger than
    `samples`, so that few numbers leave it and have to be sent through once more.

    Parameters
    ----------
    samples : int
        Below 2**62.
    source : RandomState
        Draws the keys of the rounds.
    """

    def __init__(self, samples: int, source: np.random.RandomState) -> None:
        self._samples = np.uint64(samples)
        height = max(1, int(np.ceil(np.sqrt(samples))))
        self._sizes = np.uint64(height), np.uint64(max(1, -(-samples // height)))
        keys = source.randint(0, 2**32, _ROUNDS, dtype=np.uint64)
        self._keys = [np.uint64(key) for key in keys]

    def lookup(self, places: Rows) -> Rows:
        """The rows at these places.

        Parameters
        ----------
        places : ndarray of int64, shape (n,)
            From 0 to samples - 1.

        Returns
        -------
        ndarray of int64, shape (n,)
        """
        found = self._through(places.astype(np.uint64))
        # Ends: a bijection that begins inside comes back inside.
        while len(outside := np.flatnonzero(found >= self._samples)):
            found[outside] = self._through(found[outside])
        return found.astype(np.int64)

    def _through(self, numbers: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
        width = self._sizes[1]
        halves = [numbers // width, numbers % width]
        for number, key in enumerate(self._keys):
            changed = number % 2
            size = self._sizes[changed]
            moved = halves[changed]
            moved += _hashed(halves[1 - changed], key) * size >> _WORD
            # Below 2 * size: a comparison costs less than a division.
            moved -= np.where(moved >= size, size, np.uint64(0))
        return halves[0] * width + halves[1]


def _hashed(numbers: npt.NDArray[np.uint64], key: np.uint64) -> npt.NDArray[np.uint64]:
    """32 bits for each number below 2**32."""
    mixed = numbers ^ key
    mixed ^= mixed >> _HALF
    mixed *= _FIRST_FACTOR
    mixed &= _LOW
    mixed ^= mixed >> _THIRTEEN
    mixed *= _SECOND_FACTOR
    mixed &= _LOW
    mixed ^= mixed >> _HALF
    return mixed

"""Values of scattered rows, copied together from a file that is memory, without a loop over rows.

A *run* is a range of neighbouring elements: of one row, say.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from deeptool.codec.values import Array

Int64 = npt.NDArray[np.int64]

# Bytes of a run from which on a copy of its own is cheaper than an index for each of its items.
_LONG = 256


def splits_of(lengths: Int64) -> Int64:
    """0, and the sums of the first 1, 2, ... lengths."""
    splits = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=splits[1:])
    return splits


def indices_of(starts: Int64, lengths: Int64) -> Int64:
    """The elements of all runs, one run after the other."""
    splits = splits_of(lengths)
    found: Int64 = np.repeat(starts - splits[:-1], lengths)
    found += np.arange(splits[-1])
    return found


def copied_runs(content: Array, starts: Int64, lengths: Int64, unit: int) -> Array:
    """The bytes of all runs, one run after the other.

    Parameters
    ----------
    content : ndarray of uint8
        The file.
    starts, lengths : ndarray of int64
        Of the runs, in bytes; multiples of `unit`.
    unit : int
        1, 2, 4 or 8.
    """
    total = int(lengths.sum())
    if total > _LONG * len(lengths):
        ends = starts + lengths
        parts = zip(starts.tolist(), ends.tolist(), strict=True)
        return np.concatenate([content[start:end] for start, end in parts])
    items = content[: len(content) // unit * unit].view(f"u{unit}")
    taken: Array = np.take(items, indices_of(starts // unit, lengths // unit))
    return taken.view(np.uint8)


def copied_texts(content: Array, starts: Int64, stops: Int64) -> Array:
    """One bytes object for each range of bytes, as an array of objects."""
    texts = np.empty(len(starts), object)
    memory = content.data
    ranges = zip(starts.tolist(), stops.tolist(), strict=True)
    texts[:] = [bytes(memory[start:stop]) for start, stop in ranges]
    return texts

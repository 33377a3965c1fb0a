"""Leaf values outside TensorFlow: what codecs encode, and what readers slice and concatenate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from deeptool.errors import UserError

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Ragged:
    """A ragged batch: `flat_values` cut by `row_splits`, outermost first, as in tf.RaggedTensor.

    Attributes
    ----------
    flat_values : ndarray, shape (number of innermost rows, ...)
    row_splits : tuple of ndarray of int64 or int32
        One per ragged dimension; row i of a dimension is splits[i]:splits[i + 1] of the next.
    """

    flat_values: Array
    row_splits: tuple[Array, ...]

    def __len__(self) -> int:
        return len(self.row_splits[0]) - 1


# Dense: an ndarray whose axis 0 counts samples (strings: dtype object, of bytes).
Value = Array | Ragged
# The leaves of one batch, in the order of Spec.leaves.
Leaves = tuple[Value, ...]


def numpy_dtype(name: str) -> np.dtype[Any]:
    """NumPy's dtype for TensorFlow's name of one; object (of bytes) for strings.

    Raises
    ------
    UserError
        bfloat16 needs ml_dtypes, which comes with TensorFlow and is not installed.
    """
    if name == "string":
        return np.dtype(object)
    if name != "bfloat16":
        return np.dtype(name)
    try:
        import ml_dtypes
    except ImportError as error:
        raise UserError(
            "bfloat16 values need the Python package ml_dtypes",
            next_step="python -m pip install ml-dtypes",
        ) from error
    bfloat16: np.dtype[Any] = np.dtype(ml_dtypes.bfloat16)
    return bfloat16


def uniform_shape(value: Value) -> tuple[int, ...]:
    """The inner shape that all rows share: of the samples, or of a ragged leaf's flat values."""
    flat = value.flat_values if isinstance(value, Ragged) else value
    return tuple(int(size) for size in flat.shape[1:])


def rows(leaves: Leaves) -> int:
    """The number of samples of a batch."""
    return len(leaves[0])


def slice_rows(leaves: Leaves, start: int, stop: int) -> Leaves:
    """Samples start, ..., stop - 1, without copying dense leaves."""
    return tuple(_slice(value, start, stop) for value in leaves)


def take_rows(leaves: Leaves, chosen: Array) -> Leaves:
    """Samples at these places in this order, as arrays of their own.

    Parameters
    ----------
    leaves : Leaves
    chosen : ndarray of int64, shape (count,)
        From 0 on; one may come several times.
    """
    return tuple(_take(value, chosen) for value in leaves)


def concat_rows(parts: Sequence[Leaves]) -> Leaves:
    """Samples of all parts, in order."""
    if len(parts) == 1:
        return parts[0]
    return tuple(_concat(list(column)) for column in zip(*parts, strict=True))


def _slice(value: Value, start: int, stop: int) -> Value:
    if not isinstance(value, Ragged):
        return value[start:stop]
    splits = []
    for outer in value.row_splits:
        cut = outer[start : stop + 1]
        start, stop = int(cut[0]), int(cut[-1])
        splits.append(cut - cut[0])
    return Ragged(value.flat_values[start:stop], tuple(splits))


def _take(value: Value, chosen: Array) -> Value:
    if not isinstance(value, Ragged):
        return np.take(value, chosen, axis=0)
    splits = []
    for outer in value.row_splits:
        starts = outer[chosen].astype(np.int64)
        lengths = outer[chosen + 1] - starts
        ends = np.cumsum(lengths)
        splits.append(np.concatenate([[0], ends]).astype(outer.dtype))
        # All elements of the chosen rows, one row after the other.
        chosen = np.repeat(starts - ends + lengths, lengths) + np.arange(lengths.sum())
    return Ragged(np.take(value.flat_values, chosen, axis=0), tuple(splits))


def _concat(column: list[Value]) -> Value:
    ragged = [value for value in column if isinstance(value, Ragged)]
    if not ragged:
        return np.concatenate([value for value in column if isinstance(value, np.ndarray)])
    splits = []
    for depth in range(len(ragged[0].row_splits)):
        parts = [value.row_splits[depth] for value in ragged]
        ends = np.cumsum([0] + [part[-1] for part in parts])
        shifted = [part[1:] + end for part, end in zip(parts, ends, strict=False)]
        splits.append(np.concatenate([parts[0][:1], *shifted]).astype(parts[0].dtype))
    return Ragged(np.concatenate([value.flat_values for value in ragged]), tuple(splits))

"""A running digest over samples, whatever batches they come in."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from deeptool.codec.spec import Spec
from deeptool.codec.structure import Leaf
from deeptool.codec.values import Array, Leaves, Ragged, Value, rows, slice_rows
from deeptool.settings.contract import Padding
from deeptool.settings.pipeline_facts import checkpoint_counts


class SampleDigest:
    """The digest of the first n samples, for each n that is kept.

    Parameters
    ----------
    spec : Spec
        Of the batches.
    padding : scalar, mapping of str to scalar or None
        Where that fills up the ends of open dimensions, it is left out: by how much a pipeline pads
        depends on its batch size.

    Attributes
    ----------
    samples : int
        How many it has taken in.
    checkpoints : list of (int, str)
        Ascending.
    """

    def __init__(self, spec: Spec, padding: Padding | Mapping[str, Padding] | None = None) -> None:
        self._spec = spec
        by_path = padding if isinstance(padding, Mapping) else dict.fromkeys(spec.paths, padding)
        self._padding = [
            None if leaf.fixed or leaf.ragged_rank else by_path.get(path)
            for path, leaf in zip(spec.paths, spec.leaves, strict=True)
        ]
        # One a leaf: a batch's columns are hashed as they lie, and where batches are cut is lost.
        self._hashers = [hashlib.sha256() for _ in spec.leaves]
        self.samples = 0
        self.checkpoints: list[tuple[int, str]] = []

    def add(self, leaves: Leaves) -> None:
        """Take in one batch."""
        first, last = self.samples, self.samples + rows(leaves)
        start = first
        for count in [*checkpoint_counts(first + 1, last), last]:
            if count == start:
                continue
            part = slice_rows(leaves, start - first, count - first)
            for leaf, padding, hasher, value in zip(
                self._spec.leaves, self._padding, self._hashers, part, strict=True
            ):
                _update(hasher, value, leaf, padding)
            self.samples = start = count
            if count != last or checkpoint_counts(count, count):
                self.keep()

    def keep(self) -> None:
        """Keep the digest of all samples so far."""
        if self.samples and (not self.checkpoints or self.checkpoints[-1][0] != self.samples):
            whole = hashlib.sha256(b"".join(hasher.digest() for hasher in self._hashers))
            self.checkpoints.append((self.samples, whole.hexdigest()[:32]))


def _update(hasher: Any, value: Value, leaf: Leaf, padding: Padding | None) -> None:
    if leaf.fixed and isinstance(value, np.ndarray) and value.dtype != object:
        hasher.update(np.ascontiguousarray(value).tobytes())
        return
    for index in range(len(value)):
        # What lies within a row has no known length: each is told by its shape.
        (row,) = slice_rows((value,), index, index + 1)
        splits, flat = (row.row_splits, row.flat_values) if isinstance(row, Ragged) else ((), row)
        for outer in splits:
            _update_array(hasher, outer.astype(np.int64))
        _update_array(hasher, flat if padding is None else _unpadded(flat, leaf, padding))


def _unpadded(array: Array, leaf: Leaf, padding: Padding) -> Array:
    """`array` without the ends of its open dimensions that hold nothing but `padding`."""
    text = padding.encode() if isinstance(padding, str) else padding
    for axis, size in enumerate(leaf.shape):
        if axis == 0 or size is not None:
            continue
        others = tuple(each for each in range(array.ndim) if each != axis)
        filled = np.flatnonzero(np.any(array != text, axis=others))
        array = array.take(range(filled[-1] + 1 if len(filled) else 0), axis)
    return array


def _update_array(hasher: Any, array: Array) -> None:
    hasher.update(f"{array.shape}".encode())
    if array.dtype != object:
        hasher.update(np.ascontiguousarray(array).tobytes())
        return
    for text in array.reshape(-1):
        hasher.update(len(text).to_bytes(8, "big") + bytes(text))

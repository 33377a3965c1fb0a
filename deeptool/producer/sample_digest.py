"""A running digest over samples, whatever batches they come in."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

from deeptool.codec.spec import Spec
from deeptool.codec.values import Array, Leaves, Ragged, Value, rows, slice_rows
from deeptool.settings.pipeline_facts import checkpoint_counts


class SampleDigest:
    """The digest of the first n samples, for each n that is kept.

    Parameters
    ----------
    spec : Spec
        Of the batches.

    Attributes
    ----------
    samples : int
        How many it has taken in.
    checkpoints : list of (int, str)
        Ascending.
    """

    def __init__(self, spec: Spec) -> None:
        self._spec = spec
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
            for leaf, hasher, value in zip(self._spec.leaves, self._hashers, part, strict=True):
                _update(hasher, value, leaf.fixed)
            self.samples = start = count
            if count != last or checkpoint_counts(count, count):
                self.keep()

    def keep(self) -> None:
        """Keep the digest of all samples so far."""
        if self.samples and (not self.checkpoints or self.checkpoints[-1][0] != self.samples):
            whole = hashlib.sha256(b"".join(hasher.digest() for hasher in self._hashers))
            self.checkpoints.append((self.samples, whole.hexdigest()[:32]))


def _update(hasher: Any, value: Value, fixed: bool) -> None:
    if fixed and isinstance(value, np.ndarray) and value.dtype != object:
        hasher.update(np.ascontiguousarray(value).tobytes())
        return
    for index in range(len(value)):
        # What lies within a row has no known length: each is told by its shape.
        (row,) = slice_rows((value,), index, index + 1)
        splits, flat = (row.row_splits, row.flat_values) if isinstance(row, Ragged) else ((), row)
        for outer in splits:
            _update_array(hasher, outer.astype(np.int64))
        _update_array(hasher, flat)


def _update_array(hasher: Any, array: Array) -> None:
    hasher.update(f"{array.shape}".encode())
    if array.dtype != object:
        hasher.update(np.ascontiguousarray(array).tobytes())
        return
    for text in array.reshape(-1):
        hasher.update(len(text).to_bytes(8, "big") + bytes(text))

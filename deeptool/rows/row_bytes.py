"""About how much memory rows take."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from deeptool.catalog.events import EpochStored
from deeptool.codec.structure import Leaf, as_ragged_leaf

# What Python keeps around one object in a column of objects.
_OBJECT_BYTES = 64
_ARRAY_BYTES = 160


def row_bytes(leaves: tuple[Leaf, ...], stored: float) -> float:
    """About the memory that one row takes.

    Parameters
    ----------
    leaves : tuple of Leaf
    stored : float
        The bytes that it takes in a record, which tell of what has no fixed size.
    """
    total = 0.0
    for leaf in leaves:
        if leaf.ragged_rank:
            total += _ARRAY_BYTES * leaf.ragged_rank
        elif leaf.dtype == "string":
            total += _OBJECT_BYTES * _size(leaf)
        else:
            total += _size(leaf) * np.dtype(_plain(leaf.dtype)).itemsize
    return total if all(map(_sized, leaves)) else total + stored


def _sized(leaf: Leaf) -> bool:
    return leaf.fixed and leaf.dtype != "string"


def _size(leaf: Leaf) -> int:
    return int(np.prod([size or 1 for size in leaf.shape[1:]], dtype=np.int64))


def _plain(dtype: str) -> str:
    return "uint16" if dtype == "bfloat16" else dtype


def order_row_bytes(leaves: Sequence[Leaf], epochs: Sequence[EpochStored]) -> int:
    """About the bytes of a row in memory, alike for all uploads of the same samples.

    From the spec, where that fixes all sizes. Else from the sizes of the samples, as the catalog
    keeps them. Uploads of earlier releases lack these: what is stored depends a little on where
    records were cut, so that is rounded up to a power of 4 per sample.

    Parameters
    ----------
    leaves : sequence of Leaf
        Of the stored spec.
    epochs : sequence of EpochStored
        All that is stored.
    """
    samples = sum(epoch.samples for epoch in epochs)
    sizes = [epoch.row_bytes for epoch in epochs if epoch.row_bytes is not None]
    if len(sizes) == len(epochs):
        each = sum(sizes) / max(samples, 1)
    else:
        each = 1
        while each * samples < sum(epoch.bytes for epoch in epochs):
            each *= 4
    ragged = tuple(map(as_ragged_leaf, leaves))
    return max(1, int(row_bytes(ragged, each)))

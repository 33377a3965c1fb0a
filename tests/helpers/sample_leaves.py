"""Random rows for any spec, and what each row of a batch is, to be compared."""

from __future__ import annotations

from typing import Any

import numpy as np

from deeptool.codec.spec import Spec
from deeptool.codec.structure import Leaf
from deeptool.codec.values import Leaves, Ragged, Value, numpy_dtype


def random_leaves(spec: Spec, count: int, seed: int = 0) -> Leaves:
    """Rows of any bits that the dtypes allow; lengths of ragged and open dimensions from 0 to 4."""
    rng = np.random.default_rng(seed)
    return tuple(_random_value(leaf, count, rng) for leaf in spec.leaves)


def _random_value(leaf: Leaf, count: int, rng: np.random.Generator) -> Value:
    splits = []
    for _ in range(leaf.ragged_rank):
        lengths = rng.integers(0, 5, count)
        splits.append(np.concatenate([[0], np.cumsum(lengths)]).astype(leaf.row_splits_dtype))
        count = int(splits[-1][-1])
    shape = (count, *(int(rng.integers(1, 5)) if n is None else n for n in leaf.inner))
    flat = _random_array(leaf.dtype, shape, rng)
    return Ragged(flat, tuple(splits)) if splits else flat


def _random_array(dtype: str, shape: tuple[int, ...], rng: np.random.Generator) -> Any:
    size = int(np.prod(shape))
    if dtype == "string":
        texts = np.empty(size, object)
        texts[:] = [rng.bytes(int(rng.integers(0, 12))) for _ in range(size)]
        return texts.reshape(shape)
    if dtype == "bool":
        return rng.integers(0, 2, shape).astype(bool)
    kind = numpy_dtype(dtype)
    return np.frombuffer(rng.bytes(size * kind.itemsize), kind).reshape(shape)


def as_rows(leaves: Leaves) -> list[list[Any]]:
    """Each row as nested lists that end in dtype, shape and bytes."""
    return [[_row(value, number) for value in leaves] for number in range(len(leaves[0]))]


def _row(value: Value, number: int, depth: int = 0) -> Any:
    if not isinstance(value, Ragged):
        return _content(value[number])
    if depth == len(value.row_splits):
        return _content(value.flat_values[number])
    start, stop = value.row_splits[depth][number : number + 2].tolist()
    kind = str(value.row_splits[depth].dtype)
    return kind, [_row(value, inner, depth + 1) for inner in range(start, stop)]


def _content(array: Any) -> Any:
    if isinstance(array, bytes):
        return array
    if array.dtype == object:
        return array.shape, array.reshape(-1).tolist()
    return str(array.dtype), array.shape, array.tobytes()

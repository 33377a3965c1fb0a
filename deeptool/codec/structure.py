"""How the elements of a dataset are nested: tensors in tuples, named tuples and mappings."""

from __future__ import annotations

import functools
from collections import namedtuple
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from deeptool.errors import WorkError

# TensorFlow's names of all dtypes that can be stored: those that tf.data can batch (it cannot
# batch float8 and the 4-bit integers).
DTYPES = (
    *("bool", "string", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
    *("float16", "float32", "float64", "bfloat16", "complex64", "complex128"),
)


# With fewer leaves, each is handled by itself (see `deeptool.codec.leaf_groups`).
MANY = 64


@dataclass(frozen=True)
class Leaf:
    """One tensor of an element: a batch whose axis 0 counts samples.

    Attributes
    ----------
    dtype : str
        TensorFlow's name of the dtype ("float32", "bfloat16", "string", "bool", ...).
    shape : tuple of (int or None)
        The whole shape, axis 0 included (None where unknown). For a ragged leaf, the shape of its
        RaggedTensorSpec.
    ragged_rank : int
        0 for a dense tensor.
    row_splits_dtype : str
        "int64" or "int32"; means something for ragged leaves only.
    """

    dtype: str
    shape: tuple[int | None, ...]
    ragged_rank: int = 0
    row_splits_dtype: str = "int64"

    @property
    def fixed(self) -> bool:
        """Whether every sample has the same, known shape."""
        return self.ragged_rank == 0 and None not in self.inner

    @property
    def inner(self) -> tuple[int | None, ...]:
        """The uniform dimensions: of a sample, or of one row of a ragged leaf's flat values."""
        return self.shape[self.ragged_rank + 1 :]

    def fits(self, inner: Sequence[int]) -> bool:
        """Whether `inner` is what these uniform dimensions can be."""
        return len(inner) == len(self.inner) and all(
            size in (None, seen) for size, seen in zip(self.inner, inner, strict=True)
        )

    def __str__(self) -> str:
        shape = ", ".join("?" if size is None else str(size) for size in self.shape)
        return f"{'ragged ' if self.ragged_rank else ''}{self.dtype}[{shape}]"


def as_ragged_leaf(leaf: Leaf) -> Leaf:
    """A dense leaf with open inner dimensions, as a ragged one that holds the same rows."""
    if leaf.fixed or leaf.ragged_rank:
        return leaf
    depth = len(leaf.shape) - 1 - leaf.shape[::-1].index(None)
    return replace(leaf, shape=(None,) * (depth + 1) + leaf.shape[depth + 1 :], ragged_rank=depth)


# A leaf, a tuple (perhaps a named one) of structures, or a mapping from a name to a structure.
Structure = Leaf | tuple["Structure", ...] | Mapping[str, "Structure"]


def _items(structure: Mapping[str, Structure] | tuple[Structure, ...]) -> list[tuple[Any, Any]]:
    """Keys and inner structures in the order of tf.nest: dicts by their sorted keys."""
    if isinstance(structure, Mapping):
        return sorted(structure.items())
    return list(enumerate(structure))


def walk(structure: Structure, keys: tuple[str | int, ...]) -> Iterator[tuple[Any, Leaf]]:
    """Each leaf in tf.nest's order, with the keys that lead to it behind `keys`."""
    if isinstance(structure, Leaf):
        yield keys, structure
        return
    for key, inner in _items(structure):
        yield from walk(inner, (*keys, key))


def flatten(structure: Structure, element: Any, path: str) -> Iterator[Any]:
    """The components of an element, one per leaf; `path` is where it is, for the error.

    Raises
    ------
    WorkError
        It is nested in another way than `structure`.
    """
    if isinstance(structure, Leaf):
        yield element
        return
    if isinstance(structure, Mapping):
        same = isinstance(element, Mapping) and set(element) == set(structure)
    else:
        same = isinstance(element, (tuple, list)) and len(element) == len(structure)
    if not same:
        raise WorkError(
            "an element is nested in another way than the dataset's element_spec says",
            seen=f"{type(element).__name__} at '{path}'",
            valid=describe(structure),
        )
    for key, inner in _items(structure):
        yield from flatten(inner, element[key], f"{path}/{key}" if path else str(key))


def nest(structure: Structure, components: Iterator[Any]) -> Any:
    """The inverse of `flatten`."""
    if isinstance(structure, Leaf):
        return next(components)
    inner = {key: nest(value, components) for key, value in _items(structure)}
    if isinstance(structure, Mapping):
        return {key: inner[key] for key in structure}
    return like(structure, inner.values())


def pruned(structure: Structure, kept: Iterator[bool]) -> Structure | None:
    """The same structure with some of its leaves; what is left without any is left out.

    Parameters
    ----------
    kept : iterator of bool
        For each leaf, in the order of `walk`.
    """
    if isinstance(structure, Leaf):
        return structure if next(kept) else None
    found = {key: pruned(inner, kept) for key, inner in _items(structure)}
    inner = {key: value for key, value in found.items() if value is not None}
    if not inner:
        return None
    if isinstance(structure, Mapping):
        return {key: inner[key] for key in structure if key in inner}
    if not hasattr(structure, "_fields"):
        return tuple(inner.values())
    fields = tuple(structure._fields[place] for place in inner)
    made: Structure = named_tuple(type(structure).__name__, fields)(*inner.values())
    return made


def like(structure: tuple[Any, ...], values: Iterable[Any]) -> tuple[Any, ...]:
    """A tuple of `values`, with the names of `structure` where that has some."""
    make = getattr(type(structure), "_make", tuple)
    made: tuple[Any, ...] = make(values)
    return made


@functools.cache
def named_tuple(name: str, fields: tuple[str, ...]) -> Any:
    """One class for each name and fields: TensorFlow takes those of two classes for other ones.

    Its tuples can be pickled, though no module has the class.

    Raises
    ------
    ValueError
        They are no names.
    """
    return _picklable(namedtuple(name, fields))


def _picklable(kind: Any) -> Any:
    kind.__reduce__ = lambda self: (_tuple_named, (kind.__name__, kind._fields, *self))
    return kind


def _tuple_named(name: str, fields: tuple[str, ...], *values: Any) -> Any:
    return named_tuple(name, fields)(*values)


def describe(structure: Structure) -> str:
    """For people, on one line."""
    if isinstance(structure, Leaf):
        return str(structure)
    if isinstance(structure, Mapping):
        return "{" + ", ".join(f"{k}: {describe(v)}" for k, v in sorted(structure.items())) + "}"
    names = [f"{name}: " for name in getattr(structure, "_fields", ())] or [""] * len(structure)
    inner = [f"{n}{describe(v)}" for n, v in zip(names, structure, strict=True)]
    return f"{type_name(structure)}({', '.join(inner)})"


def type_name(structure: tuple[Structure, ...]) -> str:
    """Of a named tuple; empty for a plain one."""
    return type(structure).__name__ if hasattr(structure, "_fields") else ""

"""A dataset's element_spec as a plain value: what the catalog keeps and the codecs follow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from deeptool.codec.structure import (
    DTYPES,
    MANY,
    Leaf,
    Structure,
    describe,
    flatten,
    like,
    named_tuple,
    nest,
    type_name,
    walk,
)
from deeptool.errors import UserError

# The parts of an element, as Keras takes them: data, label, sample weight.
PARTS = ("x", "y", "w")


@dataclass(frozen=True)
class Spec:
    """The structure of a dataset's elements, batched.

    Attributes
    ----------
    structure : Leaf, tuple or mapping
        As tf.data nests it; mappings are flattened in the order of their sorted keys, as tf.nest
        does.
    batched : bool
        False when the producer's dataset yielded single samples; the leaves here have an axis 0
        all the same.
    """

    structure: Structure
    batched: bool = True

    # Kept: there may be thousands, and readers ask for them again and again.
    @cached_property
    def leaves(self) -> tuple[Leaf, ...]:
        return tuple(leaf for _, leaf in walk(self.structure, ()))

    @cached_property
    def paths(self) -> tuple[str, ...]:
        """One unique name per leaf: "0/image" is element[0]["image"]; "" is the element itself.

        A ``/`` in a key is written ``~1`` and a ``~`` is written ``~0`` (as JSON pointers do).
        """
        return tuple(
            "/".join(str(key).replace("~", "~0").replace("/", "~1") for key in keys)
            for keys, _ in walk(self.structure, ())
        )

    @property
    def names(self) -> tuple[str, ...]:
        """As `paths`, with the letters of (x, y, w) for the parts of an element: "x/image", "y"."""
        if not isinstance(self.structure, tuple):
            return tuple(f"x/{path}" if path else "x" for path in self.paths)
        if len(self.structure) > len(PARTS):
            return self.paths
        split = [path.partition("/") for path in self.paths]
        return tuple(f"{PARTS[int(part)]}{slash}{rest}" for part, slash, rest in split)

    @property
    def open_paths(self) -> tuple[str, ...]:
        """The leaves whose uniform dimensions can differ from record to record."""
        return tuple(
            path for path, leaf in zip(self.paths, self.leaves, strict=True) if None in leaf.inner
        )

    def flatten(self, element: Any) -> list[Any]:
        """The components of one element, one per leaf, in the order of `leaves`.

        Raises
        ------
        WorkError
            The element is nested in another way than this spec.
        """
        return list(flatten(self.structure, element, ""))

    def nest(self, components: Sequence[Any]) -> Any:
        """The inverse of `flatten`: tuples and dicts around one component a leaf."""
        remaining = iter(components)
        return nest(self.structure, remaining)

    def with_rows(self, rows: int | None) -> Spec:
        """The same spec with `rows` as the size of every leaf's axis 0."""
        leaves = [replace(leaf, shape=(rows, *leaf.shape[1:])) for leaf in self.leaves]
        return Spec(self.nest(leaves), self.batched)

    def to_json(self) -> dict[str, Any]:
        return {"batched": self.batched, "structure": _structure_to_json(self.structure)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Spec:
        """Read what `to_json` wrote.

        Raises
        ------
        ValueError, TypeError, KeyError
            It is something else, or describes a tensor that cannot be stored.
        """
        return cls(_structure_from_json(value["structure"]), bool(value["batched"]))

    @classmethod
    def from_tf(cls, element_spec: Any, batched: bool = True) -> Spec:
        """Read a ``tf.data.Dataset.element_spec``.

        With ``batched=False`` an axis 0 of unknown size is put before every leaf's shape.

        Raises
        ------
        UserError
            A component that cannot be stored (sparse tensors, nested datasets, unknown rank, a
            dtype that no batch has, or a leaf without an axis 0 in a batched dataset), named by
            its place; or there is no component at all.
        """
        spec = cls(_structure_from_tf(element_spec, batched, ""), batched)
        if not spec.leaves:
            raise UserError("the dataset's elements hold no tensor", seen=repr(element_spec))
        return spec

    def to_tf(self) -> Any:
        """The tf.data element_spec, batched, with the same nesting."""
        return _structure_to_tf(self.structure)

    def __str__(self) -> str:
        return describe(self.structure)


def _structure_to_json(structure: Structure) -> Any:
    if isinstance(structure, Leaf):
        return {
            "dtype": structure.dtype,
            "shape": list(structure.shape),
            "ragged_rank": structure.ragged_rank,
            "row_splits_dtype": structure.row_splits_dtype,
        }
    if isinstance(structure, Mapping) and len(structure) >= MANY:
        return {"columns": _runs_to_json(structure)}
    if isinstance(structure, Mapping):
        return {"dict": {key: _structure_to_json(inner) for key, inner in structure.items()}}
    inner = [_structure_to_json(inner) for inner in structure]
    if hasattr(structure, "_fields"):
        return {"tuple": type_name(structure), "fields": structure._fields, "inner": inner}
    return inner


def _runs_to_json(structure: Mapping[str, Structure]) -> list[Any]:
    """Neighbours that are the same leaf, told once with all of their keys.

    The catalog keeps this for good, and every command reads it.
    """
    runs: list[tuple[Structure, list[str]]] = []
    for key, inner in structure.items():
        if runs and isinstance(inner, Leaf) and runs[-1][0] == inner:
            runs[-1][1].append(key)
        else:
            runs.append((inner, [key]))
    return [[_structure_to_json(inner), keys] for inner, keys in runs]


def _runs_from_json(value: Any) -> Structure:
    found: dict[str, Structure] = {}
    count = 0
    for inner, keys in value:
        if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
            raise ValueError("columns without a list of keys")
        found.update(dict.fromkeys(keys, _structure_from_json(inner)))
        count += len(keys)
    if len(found) != count:
        raise ValueError("a key of columns comes twice")
    return found


def _structure_from_json(value: Any) -> Structure:
    if isinstance(value, list):
        return tuple(_structure_from_json(inner) for inner in value)
    if "dict" in value:
        return {key: _structure_from_json(inner) for key, inner in value["dict"].items()}
    if "columns" in value:
        return _runs_from_json(value["columns"])
    if "tuple" in value:
        kind = named_tuple(value["tuple"], tuple(value["fields"]))
        return kind(*map(_structure_from_json, value["inner"]))  # type: ignore[no-any-return]
    shape, rank = value["shape"], value["ragged_rank"]
    sizes = [size for size in shape if size is not None]
    if not shape or any(type(size) is not int or not 0 <= size < 2**63 for size in sizes):
        raise ValueError(f"shape {shape}")
    if type(rank) is not int or not 0 <= rank < len(shape):
        raise ValueError(f"ragged_rank {rank} of shape {shape}")
    if value["dtype"] not in DTYPES or value["row_splits_dtype"] not in ("int32", "int64"):
        raise ValueError(f"dtypes {value['dtype']} and {value['row_splits_dtype']}")
    return Leaf(value["dtype"], tuple(shape), rank, value["row_splits_dtype"])


def _structure_from_tf(spec: Any, batched: bool, path: str) -> Structure:
    import tensorflow as tf

    if isinstance(spec, Mapping):
        for key in spec:
            if not isinstance(key, str):
                raise UserError("only string keys can be stored", seen=f"{key!r} at '{path}'")
        return {
            key: _structure_from_tf(inner, batched, f"{path}/{key}" if path else key)
            for key, inner in spec.items()
        }
    if isinstance(spec, (tuple, list)):
        inner_specs = (
            _structure_from_tf(inner, batched, f"{path}/{i}" if path else str(i))
            for i, inner in enumerate(spec)
        )
        if hasattr(spec, "_fields"):
            return named_tuple(type(spec).__name__, spec._fields)(*inner_specs)  # type: ignore[no-any-return]
        return tuple(inner_specs)
    place = f"'{path}'" if path else "the element"
    if not isinstance(spec, (tf.TensorSpec, tf.RaggedTensorSpec)):
        raise UserError(
            f"a component of the dataset cannot be stored: {place}",
            seen=str(spec),
            valid="dense and ragged tensors in tuples and dicts",
            next_step="convert it in get_input_pipeline, e.g. with tf.sparse.to_dense",
        )
    if spec.shape.rank is None:
        raise UserError(
            f"the rank of {place} is unknown",
            seen=str(spec),
            next_step="call set_shape or tf.ensure_shape in get_input_pipeline",
        )
    if spec.dtype.name not in DTYPES:
        raise UserError(
            f"{place} has a dtype that cannot be stored",
            seen=spec.dtype.name,
            valid=", ".join(DTYPES),
        )
    shape = tuple(spec.shape.as_list())
    if not batched:
        shape = (None, *shape)
    if not shape:
        raise UserError(
            f"{place} has no axis that counts samples",
            seen=str(spec),
            valid="batches",
            next_step="call .batch(batch_size) in get_input_pipeline, or upload single samples "
            "(batched = False in a settings file)",
        )
    if isinstance(spec, tf.RaggedTensorSpec) and spec.ragged_rank > 0:
        # The axis of samples makes one more dimension ragged around those of a single sample.
        rank = spec.ragged_rank if batched else spec.ragged_rank + 1
        return Leaf(spec.dtype.name, shape, rank, spec.row_splits_dtype.name)
    return Leaf(spec.dtype.name, shape)


def _structure_to_tf(structure: Structure) -> Any:
    import tensorflow as tf

    if isinstance(structure, Mapping):
        return {key: _structure_to_tf(inner) for key, inner in structure.items()}
    if not isinstance(structure, Leaf):
        return like(structure, map(_structure_to_tf, structure))
    dtype = tf.dtypes.as_dtype(structure.dtype)
    if structure.ragged_rank:
        return tf.RaggedTensorSpec(
            structure.shape, dtype, structure.ragged_rank, tf.as_dtype(structure.row_splits_dtype)
        )
    return tf.TensorSpec(structure.shape, dtype)

"""Very many leaves as few arrays: those of one dtype and shape side by side.

A dataset may have thousands of leaves (a table, a column each). Whatever handles each of them by
itself, in a record, a buffer or a graph, then takes far more than the data.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from deeptool.codec.spec import Spec
from deeptool.codec.structure import MANY, Leaf
from deeptool.codec.values import Leaves, Value


@dataclass(frozen=True)
class LeafGroup:
    """Leaves that are one array; or one that is alone, as it is.

    Attributes
    ----------
    leaf : Leaf
        Of the array: axis 1 counts the leaves, where they are several.
    members : tuple of int
        Their places among the spec's leaves, ascending.
    """

    leaf: Leaf
    members: tuple[int, ...]

    def joined(self, leaves: Leaves) -> Value:
        """Its array, of one batch."""
        if len(self.members) == 1:
            return leaves[self.members[0]]
        return np.stack([np.asarray(leaves[place]) for place in self.members], axis=1)

    def parted(self, value: Value) -> list[Value]:
        """The leaves of its array, without copying them."""
        if len(self.members) == 1 or not isinstance(value, np.ndarray):
            return [value]
        return [value[:, number] for number in range(len(self.members))]


def leaf_groups(spec: Spec) -> tuple[LeafGroup, ...]:
    """The arrays that the leaves of a spec can be, in the order of their first leaves.

    Only leaves of one known shape have others beside them.
    """
    leaves = spec.leaves
    places: dict[object, list[int]] = {}
    for place, leaf in enumerate(leaves):
        alone = len(leaves) < MANY or not leaf.fixed
        places.setdefault(place if alone else (leaf.dtype, leaf.inner), []).append(place)
    return tuple(_group(leaves, members) for members in places.values())


def _group(leaves: tuple[Leaf, ...], members: list[int]) -> LeafGroup:
    leaf = leaves[members[0]]
    if len(members) > 1:
        rows = leaf.shape[0]
        leaf = replace(leaf, shape=(rows, len(members), *leaf.inner))
    return LeafGroup(leaf, tuple(members))


def joined(groups: tuple[LeafGroup, ...], leaves: Leaves) -> Leaves:
    """One array a group."""
    return tuple(group.joined(leaves) for group in groups)


def parted(groups: tuple[LeafGroup, ...], arrays: Leaves) -> Leaves:
    """The inverse of `joined`."""
    found = {
        place: value
        for group, array in zip(groups, arrays, strict=True)
        for place, value in zip(group.members, group.parted(array), strict=True)
    }
    return tuple(found[place] for place in range(len(found)))

"""Some components of a dataset's elements, by their names, as elements of their own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import pairwise
from typing import Any

from deeptool.codec.spec import PARTS, Spec
from deeptool.codec.structure import Leaf, pruned
from deeptool.errors import UserError


@dataclass(frozen=True)
class ChosenColumns:
    """Some leaves of a spec.

    Attributes
    ----------
    places : tuple of int
        Their places among the leaves of the whole spec, ascending.
    spec : Spec
        Of elements that consist of these leaves.
    """

    places: tuple[int, ...]
    spec: Spec

    def of(self, leaves: Sequence[Any]) -> tuple[Any, ...]:
        """These of one value per leaf of the whole spec."""
        return tuple(leaves[place] for place in self.places)

    def within(self, outer: ChosenColumns | None) -> ChosenColumns:
        """The same leaves, of the spec that `outer` was chosen from."""
        return self if outer is None else ChosenColumns(self.of(outer.places), self.spec)


def choose_columns(spec: Spec, columns: str | Sequence[str]) -> ChosenColumns:
    """The components of these names.

    Parameters
    ----------
    spec : Spec
    columns : str or sequence of str
        Names or paths, as `Spec.names` and `Spec.paths` have them ("x/image", "0/image"), or a
        part of one from its beginning ("x"), for all that is below it. One string: that component
        itself; a sequence: the element with these components only, nested as before.

    Raises
    ------
    UserError
        There is no such component, none is named, or those left would be taken for others.
    """
    wanted = [columns] if isinstance(columns, str) else list(columns)
    known = _paths_by_name(spec)
    found = [_lookup(column, known, spec) for column in wanted]
    kept = [any(_is_below(path, top) for top in found) for path in spec.paths]
    structure = pruned(spec.structure, iter(kept))
    if structure is None:
        raise UserError(
            "columns names no component", seen=repr(columns), valid=", ".join(spec.names)
        )
    if isinstance(columns, str):
        for _ in range(found[0].count("/") + 1 if found[0] else 0):
            inner = structure.values() if hasattr(structure, "values") else structure
            (structure,) = inner  # type: ignore[misc]
    else:
        _check_parts(spec, kept)
    places = tuple(place for place, one in enumerate(kept) if one)
    return ChosenColumns(places, spec if all(kept) else Spec(structure, spec.batched))


def one_leaf(spec: Spec, column: str) -> tuple[int, Leaf]:
    """The leaf of this name, and its place among the leaves.

    Raises
    ------
    UserError
        There is none, or the name stands for several.
    """
    chosen = choose_columns(spec, column)
    if len(chosen.places) > 1:
        raise UserError(
            "this name stands for several components",
            seen=repr(column),
            valid=", ".join(spec.names[place] for place in chosen.places),
        )
    return chosen.places[0], spec.leaves[chosen.places[0]]


def _paths_by_name(spec: Spec) -> dict[str, str]:
    """The path of each component, and of what holds several, by path and by name."""
    found: dict[str, str] = {}
    pairs = list(zip(spec.paths, spec.names, strict=True))
    for path, _ in pairs:
        found.update((top, top) for top in _tops(path))
    for path, name in pairs:
        tops = _tops(path)
        if not isinstance(spec.structure, tuple):
            tops = ["", *filter(None, tops)]
        for top, named in zip(tops, _tops(name), strict=True):
            found.setdefault(named, top)
    return found


def _tops(path: str) -> list[str]:
    """Of a/b/c: a, a/b and a/b/c."""
    parts = path.split("/")
    return ["/".join(parts[: number + 1]) for number in range(len(parts))]


def _lookup(column: object, known: dict[str, str], spec: Spec) -> str:
    if isinstance(column, str) and column in known:
        return known[column]
    names = dict.fromkeys(top for name in spec.names for top in _tops(name))
    near = get_close_matches(str(column), names, 3)
    raise UserError(
        "the dataset has no such component",
        seen=repr(column),
        valid=", ".join(spec.names),
        next_step=f"did you mean {' or '.join(map(repr, near))}?" if near else None,
    )


def _is_below(path: str, top: str) -> bool:
    return not top or path == top or path.startswith(f"{top}/")


def _check_parts(spec: Spec, kept: Sequence[bool]) -> None:
    """Of (x, y, w), what is left of (x, w) would be taken for (x, y)."""
    structure = spec.structure
    if not isinstance(structure, tuple) or hasattr(structure, "_fields"):
        return
    if len(structure) > len(PARTS):
        return
    left = [path for path, one in zip(spec.paths, kept, strict=True) if one]
    parts = sorted({int(path.split("/")[0]) for path in left})
    if any(after - before > 1 for before, after in pairwise(parts)):
        raise UserError(
            "columns leaves out y between x and w: w would take its place",
            seen=", ".join(PARTS[part] for part in parts),
            valid="x, y and w by their positions: (x, y, w), (x, y), or one of them",
        )

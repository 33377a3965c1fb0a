"""The class of each row of a dataset, read once for all selections of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from deeptool.codec.structure import Leaf
from deeptool.errors import UserError
from deeptool.fork_lock import ForkLock
from deeptool.orders.row_groups import Rows

Labels = npt.NDArray[Any]


def check_label(leaf: Leaf, name: str) -> None:
    """Return if a component can hold one class per sample.

    Raises
    ------
    UserError
        It cannot.
    """
    scalar = not leaf.ragged_rank and leaf.inner in ((), (1,))
    if not scalar or leaf.dtype.startswith("complex"):
        raise UserError(
            "stratify needs a label: one class per sample",
            seen=f"component '{name}': {leaf}",
            valid="a component of integers, booleans or strings of shape [?] or [?, 1]",
        )


def classes_of(passes: Iterable[Labels], name: str) -> Rows:
    """Numbers for the classes of the rows, from the labels of each stored pass.

    Raises
    ------
    UserError
        Labels are no classes; or a row has other ones in other passes, so that no row is the same
        sample in all of them.
    """
    first: Labels | None = None
    for number, labels in enumerate(passes):
        if first is None:
            first = labels
        elif not np.array_equal(first, labels):
            row = int(np.argmax(first != labels))
            raise UserError(
                "stored passes have their samples in different orders, so a row is not the same "
                "sample in all of them",
                seen=f"row {row} has label {first[row]} in pass 0, {labels[row]} in pass {number}",
                valid="passes whose rows have the same labels",
                next_step="upload it again with a pipeline that does not shuffle: readers do",
            )
    if first is None:
        return np.zeros(0, np.int64)
    if first.dtype.kind not in "iubOS":
        numbers = first.astype(np.float64)
        broken = numbers[numbers != np.round(numbers)]
        if len(broken):
            raise UserError(
                "stratify needs a label: one class per sample",
                seen=f"component '{name}' has values like {broken[0]}",
                valid="whole numbers, booleans or strings",
            )
    return np.unique(first, return_inverse=True)[1].astype(np.int64, copy=False)


@dataclass
class ClassLabels:
    """The classes of components that were asked for; shared by all selections of a dataset."""

    _known: dict[int, Rows] = field(default_factory=dict)
    _lock: ForkLock = field(default_factory=ForkLock)

    def lookup(self, place: int, read: Callable[[], Rows]) -> Rows:
        """Of the component at a place among the stored leaves: the class of each stored row."""
        with self._lock:
            if place not in self._known:
                self._known[place] = read()
            return self._known[place]

    def __reduce__(self) -> tuple[type[ClassLabels], tuple[()]]:
        return ClassLabels, ()

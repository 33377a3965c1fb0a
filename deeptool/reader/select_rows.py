"""Which rows a selection of a dataset has: by number, by fold, by fraction; checked, and drawn."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from deeptool.errors import UserError
from deeptool.orders.row_folds import fold_of, fraction_of, rest_of, rows_to_deal
from deeptool.orders.row_groups import Rows
from deeptool.reader.row_index import row_numbers

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class RowRequest:
    """Which of a dataset's rows are wanted; see `StoredDataset.select`.

    Attributes
    ----------
    rows : index, optional
    fold : (int, int), optional
    fraction : float, optional
    held_out : bool
    stratify : str, optional
    seed : int

    Raises
    ------
    UserError
        A value makes no sense.
    """

    rows: Any = None
    fold: tuple[int, int] | None = None
    fraction: float | None = None
    held_out: bool = False
    stratify: str | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if not _is_whole(self.seed):
            raise UserError("seed is no whole number", seen=repr(self.seed), valid="an int")
        if self.fold is not None:
            self._check_fold(self.fold)
        fraction = self.fraction
        if fraction is not None and not (_is_number(fraction) and 0 < fraction <= 1):
            raise UserError("fraction is out of range", seen=fraction, valid="above 0, at most 1")
        drawn = [name for name in ("fold", "fraction") if getattr(self, name) is not None]
        if self.held_out and len(drawn) != 1:
            raise UserError(
                "held_out selects what a fold or a fraction leaves to be held out, and there "
                + ("are both" if drawn else "is neither"),
                seen="held_out=True",
                valid="fold=(k, n) or fraction=f with it",
                next_step="select one, and from that the other: "
                "data.select(fold=(0, 5), held_out=True).select(fraction=0.5)",
            )
        if self.stratify is not None and not drawn:
            raise UserError(
                "stratify is for folds and fractions, and there are none",
                seen=f"stratify={self.stratify!r}",
                valid="fold=(k, n) or fraction=f with it",
            )

    @property
    def all_rows(self) -> bool:
        """Whether it asks for all of them."""
        return self.rows is None and self.fold is None and self.fraction is None

    def _check_fold(self, fold: Any) -> None:
        pair = isinstance(fold, (tuple, list)) and len(fold) == 2
        if not pair or any(not _is_whole(number) for number in fold):
            raise UserError("fold is no fold", seen=repr(fold), valid="(k, n): fold k of n")
        if fold[1] < 2:
            raise UserError("there must be at least 2 folds", seen=repr(fold), valid="(k, n)")
        if not 0 <= fold[0] < fold[1]:
            raise UserError(
                "there is no such fold", seen=repr(fold), valid=f"fold 0 to {fold[1] - 1}"
            )

    def chosen(self, samples: int, name: str, classes: Callable[[], Rows]) -> Rows:
        """The rows that are wanted, ascending.

        Parameters
        ----------
        samples : int
            The rows that there are.
        name : str
            Of the dataset.
        classes : callable
            The class of each row, where they are stratified.

        Raises
        ------
        UserError
            There are no such rows, or none is left.
        """
        chosen: Rows = np.arange(samples, dtype=np.int64)
        labels = None if self.stratify is None else classes()
        if self.rows is not None:
            chosen = _listed(self.rows, samples)
        for draw in (self._fold, self._fraction):
            inner = None if labels is None else labels[chosen]
            chosen = chosen[draw(len(chosen), name, inner)]
        return chosen

    def _fold(self, samples: int, name: str, classes: Rows | None) -> Rows:
        if self.fold is None:
            return np.arange(samples, dtype=np.int64)
        number, folds = (int(one) for one in self.fold)
        if folds > samples:
            raise UserError(
                "there are more folds than rows",
                seen=f"{folds} folds of {samples} rows",
                valid=f"2 to {samples} folds",
            )
        if classes is not None:
            _check_classes(classes, folds, self.stratify)
        sequence = rows_to_deal(samples, name, int(self.seed), classes)
        held_out = fold_of(sequence, number, folds)
        return held_out if self.held_out else rest_of(samples, held_out)

    def _fraction(self, samples: int, name: str, classes: Rows | None) -> Rows:
        if self.fraction is None:
            return np.arange(samples, dtype=np.int64)
        rows = fraction_of(rows_to_deal(samples, name, int(self.seed), classes), self.fraction)
        rows = rest_of(samples, rows) if self.held_out else rows
        if not len(rows):
            held_out = ", held_out=True" if self.held_out else ""
            raise _nothing(f"fraction={self.fraction}{held_out}", samples)
        return rows


def _listed(index: Any, samples: int) -> Rows:
    rows = row_numbers(list(index) if isinstance(index, tuple) else index, samples)
    if isinstance(rows, int):
        rows = np.array([rows])
    if not len(rows):
        raise _nothing(f"rows={str(index)[:80]}", samples)
    steps = np.diff(rows)
    if len(steps) and steps.min() <= 0:
        place = int(np.argmax(steps <= 0))
        raise UserError(
            "a selection has each row once, in the order of the store",
            seen=f"row {rows[place + 1]} behind row {rows[place]}",
            valid="ascending numbers",
            next_step="data.select(rows=np.unique(rows)); data[rows] reads rows in any order",
        )
    return rows


def _check_classes(classes: Rows, folds: int, label: str | None) -> None:
    counts = np.bincount(classes)
    counts = counts[counts > 0]
    if counts.max() < folds:
        raise UserError(
            "no class has a sample for each fold",
            seen=f"{len(counts)} classes of {label!r}, at most {counts.max()} samples each; "
            f"{folds} folds",
            valid="a label of few classes, or fewer folds",
        )
    if counts.min() < folds:
        _LOG.warning(
            "the smallest of the %d classes of %r has %d samples: not each of %d folds has one",
            *(len(counts), label, counts.min(), folds),
        )


def _nothing(seen: str, samples: int) -> UserError:
    return UserError("nothing is selected", seen=seen, valid=f"at least one of {samples} rows")


def _is_whole(value: object) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def _is_number(value: object) -> bool:
    return _is_whole(value) or isinstance(value, (float, np.floating))

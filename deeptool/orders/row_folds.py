"""Folds and fractions of rows, drawn at random: pure functions of a name, counts and a seed.

Rows are laid in a sequence: in random order, and with classes one class after the other. Folds are
dealt from it like cards, fractions are taken from it at even distances: so each has its share of
every class, to within one row.
"""

from __future__ import annotations

import hashlib
import json

import numpy as np

from deeptool.orders.row_groups import Rows
from deeptool.orders.sample_order import permuted


def rows_to_deal(samples: int, name: str, seed: int, classes: Rows | None = None) -> Rows:
    """All rows, in the sequence that folds and fractions are taken from.

    Parameters
    ----------
    samples : int
    name : str
        Of the dataset.
    seed : int
    classes : ndarray of int64, shape (samples,), optional
        The class of each row.
    """
    said = hashlib.sha256(json.dumps(["folds", name, samples, seed]).encode()).digest()
    drawn = permuted(samples, name, int.from_bytes(said[:8], "big"), 0, 0, samples)
    rows = drawn.rows(0, samples)
    return rows if classes is None else rows[np.argsort(classes[rows], kind="stable")]


def fold_of(sequence: Rows, fold: int, folds: int) -> Rows:
    """The rows of fold `fold` of `folds`, ascending; folds differ in size by at most one row."""
    rows: Rows = np.sort(sequence[fold::folds])
    return rows


def fraction_of(sequence: Rows, fraction: float) -> Rows:
    """About this fraction of the rows, ascending; of each class, rounded down or up."""
    samples = len(sequence)
    wanted = round(samples * fraction)
    ends = np.arange(samples + 1, dtype=np.int64) * wanted // max(samples, 1)
    rows: Rows = np.sort(sequence[np.diff(ends) > 0])
    return rows


def rest_of(samples: int, rows: Rows) -> Rows:
    """Those of `samples` rows that are not among these, ascending."""
    left = np.ones(samples, bool)
    left[rows] = False
    rest: Rows = np.flatnonzero(left).astype(np.int64, copy=False)
    return rest

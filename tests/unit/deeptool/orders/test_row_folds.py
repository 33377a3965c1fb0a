"""Folds and fractions: disjoint, complete, of equal sizes, with their share of every class."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deeptool.orders import sample_order
from deeptool.orders.row_folds import fold_of, fraction_of, rest_of, rows_to_deal

SIZES = st.integers(1, 300)
SEEDS = st.integers(-(2**63), 2**63 - 1)


def classes_of(samples: int, seed: int, number: int) -> Any:
    return np.random.default_rng(abs(seed)).integers(0, number, samples) ** 2


@settings(deadline=None, max_examples=80)
@given(samples=SIZES, folds=st.integers(2, 12), seed=SEEDS, number=st.integers(0, 8))
def test_folds_are_disjoint_and_cover_all_rows(
    samples: int, folds: int, seed: int, number: int
) -> None:
    classes = classes_of(samples, seed, number) if number else None
    sequence = rows_to_deal(samples, "name", seed, classes)
    found = [fold_of(sequence, fold, folds) for fold in range(folds)]
    assert sorted(np.concatenate(found).tolist()) == list(range(samples))
    sizes = [len(rows) for rows in found]
    assert max(sizes) - min(sizes) <= 1
    for rows in found:
        assert rows.tolist() == sorted(rows.tolist())
        rest = rest_of(samples, rows)
        assert sorted([*rows.tolist(), *rest.tolist()]) == list(range(samples))
        assert rest.dtype == rows.dtype == np.int64
    if classes is not None:
        for label in np.unique(classes):
            shares = [int((classes[rows] == label).sum()) for rows in found]
            assert max(shares) - min(shares) <= 1


@settings(deadline=None, max_examples=80)
@given(samples=SIZES, fraction=st.floats(0, 1), seed=SEEDS, number=st.integers(0, 8))
def test_a_fraction_has_its_share_of_every_class(
    samples: int, fraction: float, seed: int, number: int
) -> None:
    classes = classes_of(samples, seed, number) if number else np.zeros(samples, np.int64)
    rows = fraction_of(rows_to_deal(samples, "name", seed, classes if number else None), fraction)
    assert len(rows) == round(samples * fraction)
    assert rows.tolist() == sorted(set(rows.tolist()))
    for label in np.unique(classes):
        wanted = int((classes == label).sum()) * len(rows) / samples
        assert abs(int((classes[rows] == label).sum()) - wanted) < 1


def test_what_is_drawn_depends_on_name_number_and_seed_only() -> None:
    first = rows_to_deal(100, "name", 0)
    assert first.tolist() == rows_to_deal(100, "name", 0).tolist()
    others = [
        rows_to_deal(100, "other", 0),
        rows_to_deal(100, "name", 1),
        rows_to_deal(101, "name", 0),
    ]
    assert all(other.tolist()[:100] != first.tolist() for other in others)
    # The same with every release: folds of a search must not change under it.
    assert first[:8].tolist() == [90, 21, 28, 27, 46, 51, 8, 66]


def test_very_many_rows_are_drawn_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sample_order, "MOST_PERMUTED", 50)
    sequence = rows_to_deal(1000, "name", 3)
    assert sorted(sequence.tolist()) == list(range(1000))
    assert np.abs(np.diff(fold_of(sequence, 0, 5)) - 5).mean() > 1

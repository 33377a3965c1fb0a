"""The samples, and how the mixing of their labels is measured."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bench.label_entropy import mean_entropy, shuffled_entropy
from bench.workloads import SIZES, Workload, read_source, write_source

WORKLOAD = Workload("images", "small images", (2, 3), 20_010, 100)


def test_the_sizes_are_those_that_the_figures_are_given_for() -> None:
    images, rows = SIZES["full"]["images"], SIZES["full"]["rows"]
    assert (images.samples * images.width * 4, images.batch_size) == (983_040_000, 100)
    assert (rows.samples, rows.shape, rows.batch_size) == (5_000_000, (16,), 1000)
    for name, full in SIZES["full"].items():
        assert SIZES["quick"][name].size == full.size // 10


def test_the_source_is_the_same_every_time_and_sorted_by_label(tmp_path: Path) -> None:
    for folder in ("first", "second"):
        write_source(WORKLOAD, tmp_path / folder)
    first, second = read_source(tmp_path / "first"), read_source(tmp_path / "second")
    assert first.values.shape == (20_010, 2, 3)
    assert np.array_equal(first.values, second.values)
    assert len(np.unique(first.values)) > 100_000
    assert np.array_equal(first.labels, np.repeat(np.arange(10), 2001))
    batches = list(first.batches(10_000))
    assert [len(labels) for _, labels in batches] == [10_000, 10_000, 10]
    assert np.array_equal(np.concatenate([values for values, _ in batches]), first.values)


def test_entropy_of_batches() -> None:
    assert mean_entropy([np.zeros(8, np.int64), np.arange(8)]) == pytest.approx((0 + 3) / 2)


def test_a_permutation_nearly_reaches_the_entropy_of_all_labels() -> None:
    best = shuffled_entropy(WORKLOAD)
    assert 0.95 * np.log2(10) < best < np.log2(10)

"""Sample orders: every row once, the same from the same arguments, and well mixed."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deeptool.catalog.events import EpochStored
from deeptool.codec.structure import Leaf
from deeptool.orders import sample_order
from deeptool.orders.row_bijection import RowBijection
from deeptool.orders.row_groups import GROUP_BYTES
from deeptool.orders.sample_order import (
    SampleOrder,
    in_sequence,
    permuted,
    windowed,
)
from deeptool.orders.windowed_order import Windowed
from deeptool.rows.row_bytes import order_row_bytes

COUNTS = st.lists(st.integers(0, 500), min_size=1, max_size=4).filter(sum)
# From many rows in a group to groups of one row.
ROW_BYTES = st.sampled_from(
    [1, GROUP_BYTES // 1000, GROUP_BYTES // 64, GROUP_BYTES // 9, 2 * GROUP_BYTES]
)
SEEDS = st.integers(0, 2**70)


def parts_of(samples: int, parts: int) -> list[tuple[int, int]]:
    return list(pairwise(samples * i // parts for i in range(parts + 1)))


def assert_consistent(order: SampleOrder, cuts: list[int]) -> np.ndarray:
    """Any cut gives the same rows, and groups say which; returns all rows."""
    rows = order.rows(0, order.samples)
    assert rows.dtype == np.int64
    places = sorted({0, order.samples, *(cut % (order.samples + 1) for cut in cuts)})
    pieces = [order.rows(start, stop) for start, stop in pairwise(places)]
    np.testing.assert_array_equal(np.concatenate([*pieces, rows[:0]]), rows)
    end = 0
    for group in order.groups():
        assert group.start == end < group.stop
        end = group.stop
        held = np.concatenate([np.arange(first, stop) for first, stop in group.windows])
        assert all(first < stop for first, stop in group.windows)
        np.testing.assert_array_equal(np.sort(rows[group.start : end]), np.sort(held))
    assert end == order.samples
    return rows


def assert_pieces(order: Windowed, rows: np.ndarray) -> None:
    """Each row is where its piece says."""
    place_of = {row: place for place, row in enumerate(rows.tolist())}
    groups = order.groups()
    drawn = [{n: i for i, n in enumerate(order.draw(g).tolist())} for g in range(len(groups))]
    for low in range(order.first, order.stop, 37):
        pieces = order.pieces(low, min(low + 37, order.stop))
        assert pieces[0].first == low
        assert pieces[-1].stop == min(low + 37, order.stop)
        assert all(one.stop == other.first for one, other in pairwise(pieces))
        for piece in pieces:
            for row in range(piece.first, piece.stop):
                place = drawn[piece.group][piece.begin + row - piece.first]
                assert place_of[row] == groups[piece.group].start + place


@given(COUNTS, ROW_BYTES, SEEDS, st.integers(0, 5), st.integers(1, 4), st.lists(st.integers(0)))
@settings(deadline=None)
def test_windowed_parts_are_disjoint_and_complete(
    counts: list[int], row_bytes: int, seed: int, k: int, parts: int, cuts: list[int]
) -> None:
    samples, seen = sum(counts), []
    edges = set(np.cumsum(counts).tolist())
    for first, stop in parts_of(samples, parts):
        order = windowed(counts, "digits", row_bytes, seed, k, first, stop)
        rows = assert_consistent(order, cuts)
        np.testing.assert_array_equal(np.sort(rows), np.arange(first, stop))
        again = windowed(tuple(counts), "digits", row_bytes, seed, k, first, stop)
        np.testing.assert_array_equal(again.rows(0, stop - first), rows)
        for group in order.groups():
            assert not any(low < edge < high for low, high in group.windows for edge in edges), (
                "a window lies in two shards"
            )
        seen.append(rows)
    np.testing.assert_array_equal(np.sort(np.concatenate(seen)), np.arange(samples))


@given(st.integers(1, 3000), SEEDS, st.integers(0, 5), st.integers(1, 4), st.booleans())
@settings(max_examples=50, deadline=None)
def test_permuted_parts_are_disjoint_and_complete(
    samples: int, seed: int, k: int, parts: int, computed: bool
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sample_order, "MOST_PERMUTED", 0 if computed else 10**7)
        patch.setattr(sample_order, "_BLOCK", 100)
        whole = assert_consistent(permuted(samples, "d", seed, k, 0, samples), [samples // 3, 7])
        np.testing.assert_array_equal(np.sort(whole), np.arange(samples))
        # Whatever the seeds of their workers are.
        found = [
            permuted(samples, "d", seed + number, k, start, stop).rows(0, stop - start)
            for number, (start, stop) in enumerate(parts_of(samples, parts))
        ]
        np.testing.assert_array_equal(np.sort(np.concatenate(found)), np.arange(samples))


def test_in_sequence_places_are_rows() -> None:
    order = in_sequence(1000, 70, GROUP_BYTES // 1600)
    np.testing.assert_array_equal(assert_consistent(order, [333]), np.arange(70, 1070))
    assert [group.windows for group in order.groups()][:2] == [((70, 170),), ((170, 270),)]
    assert list(in_sequence(0).groups()) == []
    with pytest.raises(IndexError):
        order.rows(0, 1001)


def test_orders_depend_on_pass_seed_and_name_only_as_said() -> None:
    def drawn(name: str = "a", seed: int = 1, k: int = 0) -> SampleOrder:
        return windowed([3000, 5000], name, GROUP_BYTES // 1000, seed, k, 0, 8000)

    def rows(order: SampleOrder) -> list[int]:
        return order.rows(0, 8000).tolist()

    others = [drawn(seed=2), drawn(k=1), drawn("b")]
    for other in others:
        assert np.mean(drawn().rows(0, 8000) == other.rows(0, 8000)) < 0.02
    # Trials with other seeds read the same rows at the same time; other passes do not.
    assert list(drawn().groups()) == list(drawn(seed=2).groups())
    assert list(drawn().groups()) != list(drawn(k=1).groups())
    passes = [permuted(8000, "d", 1, 0, 0, 8000), permuted(8000, "d", 1, 1, 0, 8000)]
    assert rows(passes[0]) != rows(passes[1])
    assert rows(permuted(8000, "d", 2, 0, 0, 8000)) != rows(passes[0])


def test_orders_stay_what_they_are() -> None:
    """With every release of NumPy, and of deeptool: a trial that is resumed reads on."""
    order = windowed([40, 60], "digits", GROUP_BYTES // 64, 7, 2, 0, 100)
    assert order.rows(0, 8).tolist() == [90, 39, 19, 1, 15, 50, 8, 52]
    assert permuted(100, "d", 7, 2, 0, 100).rows(0, 8).tolist() == [9, 11, 63, 0, 12, 37, 51, 40]
    many = permuted(10**9, "d", 7, 2, 0, 10**9).rows(0, 3)
    assert many.tolist() == [563269548, 913478104, 732649348]


def test_groups_begin_small_and_are_bounded() -> None:
    row_bytes, samples = 12_000, 100_000
    order = windowed([samples], "digits", row_bytes, 0, 0, 0, samples)
    sizes = [(group.stop - group.start) * row_bytes / GROUP_BYTES for group in order.groups()]
    assert [round(16 * size, 1) for size in sizes[:4]] == [1, 2, 4, 8]
    assert max(sizes) < 1.01
    assert min(sizes[4:]) > 0.85
    for group in order.groups():
        middles = np.array([(first + stop) / 2 for first, stop in group.windows]) / samples
        covered = np.bincount((middles * 64).astype(int), minlength=64)
        assert covered.min() == 1
        assert covered.max() <= 2


@pytest.mark.parametrize("held", [1, 2, 9, 50, 64, 100, 1000])
def test_groups_of_few_rows_are_bounded(held: int) -> None:
    order = windowed([4000, 6001], "digits", GROUP_BYTES // held, 0, 0, 0, 10_001)
    assert max(group.stop - group.start for group in order.groups()) <= held


def entropy(labels: np.ndarray, classes: int) -> float:
    """Bits, on average over batches of 1000."""
    total = 0.0
    batches = labels[: len(labels) // 1000 * 1000].reshape(-1, 1000)
    for batch in batches:
        share = np.bincount(batch, minlength=classes) / 1000
        share = share[share > 0]
        total -= float((share * np.log2(share)).sum())
    return total / len(batches)


def test_sorted_labels_are_mixed() -> None:
    samples, classes = 5_000_000, 10
    globally = np.random.default_rng(5).permutation(samples) * classes // samples
    best = entropy(globally, classes)
    order = windowed([samples], "sorted", 64, 3, 0, 0, samples)
    groups = order.groups()
    labels = order.rows(0, samples) * classes // samples
    assert len(groups) == 6
    assert entropy(labels, classes) >= 0.998 * best
    for group in groups:
        assert entropy(labels[group.start : group.stop], classes) >= 0.995 * best
    everywhere = permuted(samples, "d", 3, 0, 0, samples).rows(0, samples)
    assert entropy(everywhere * classes // samples, classes) >= 0.999 * best
    computed = permuted(30_000_000, "d", 3, 0, 0, 30_000_000).rows(11_000_000, 12_000_000)
    assert entropy(computed * classes // 30_000_000, classes) >= 0.999 * best


@pytest.mark.parametrize("samples", [1, 2, 3, 5, 7, 64, 97, 100, 1023, 1024, 65_537, 1_000_003])
def test_bijection_of_awkward_sizes(samples: int) -> None:
    bijection = RowBijection(samples, np.random.RandomState(samples))
    rows = bijection.lookup(np.arange(samples))
    np.testing.assert_array_equal(np.sort(rows), np.arange(samples))
    if samples > 1000:
        places = np.arange(samples)
        # Neighbours end far apart, and no place stays where it was more often than by chance.
        assert abs(np.corrcoef(places, rows)[0, 1]) < 4 / np.sqrt(samples)
        assert abs(np.corrcoef(rows[1:], rows[:-1])[0, 1]) < 4 / np.sqrt(samples)
        assert np.sum(rows == places) < 12


def test_bijection_of_many_rows_stays_inside() -> None:
    samples = 10**12 + 39
    rows = RowBijection(samples, np.random.RandomState(0)).lookup(np.arange(200_000) + 10**11)
    assert len(np.unique(rows)) == len(rows)
    assert 0 <= rows.min() < rows.max() < samples
    assert abs(rows.mean() / samples - 0.5) < 0.005


def epoch(samples: int, stored: int, sizes: int | None) -> EpochStored:
    return EpochStored(samples, 1, stored, {0: ((0, 1),)}, {0: ""}, row_bytes=sizes)


def test_row_bytes_do_not_depend_on_records() -> None:
    fixed = [Leaf("float32", (None, 28, 28)), Leaf("int64", (None,))]
    assert order_row_bytes(fixed, [epoch(10, 10**9, 7)]) == 28 * 28 * 4 + 8
    text = [*fixed, Leaf("string", (None,))]
    known = 28 * 28 * 4 + 8 + 64
    assert order_row_bytes(text, [epoch(10, 99_000, 30_000), epoch(20, 1, 7500)]) == known + 1250
    # Without the sizes of the samples, as earlier releases stored them.
    assert order_row_bytes(text, [epoch(10, 32_000, 500), epoch(10, 32_000, None)]) == known + 4096
    assert order_row_bytes(text, [epoch(20, 80_000, None)]) == known + 4096
    # As it may be held in memory: an array for each row and ragged dimension.
    assert order_row_bytes([Leaf("int64", (None, None))], [epoch(10, 1, 100)]) == 160 + 10

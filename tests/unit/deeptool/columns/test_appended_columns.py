"""Rows of many sizes: whatever a dataset can yield comes back row by row, in any order."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sample_leaves import as_rows, random_leaves

from deeptool.codec.spec import Spec
from deeptool.codec.structure import DTYPES, MANY, Leaf
from deeptool.codec.values import Leaves, Ragged, slice_rows
from deeptool.columns.appended_columns import AppendedColumns
from deeptool.columns.piece_journal import Piece
from deeptool.errors import WorkError

TEXT = Spec(
    (
        {"tokens": Leaf("int32", (None, None), 1), "words": Leaf("string", (None, None), 1)},
        Leaf("string", (None,)),
        Leaf("float32", (None, 2)),
    )
)

leaves_of_specs = st.builds(
    lambda dtype, ragged, inner: Leaf(
        dtype, (None, *[None] * len(ragged), *inner), len(ragged), (ragged or ["int64"])[0]
    ),
    st.sampled_from(sorted(DTYPES)),
    st.sampled_from([[], ["int64"], ["int32"], ["int64"] * 2, ["int32"] * 3]),
    st.lists(st.sampled_from([0, 1, 2, 3]), max_size=2),
)


def laid_out(spec: Spec, samples: int) -> AppendedColumns:
    return AppendedColumns.lay_out(os.memfd_create("rows"), spec, samples)


def fill(columns: AppendedColumns, leaves: Leaves, cuts: list[int], order: list[int]) -> None:
    for place in order:
        first, stop = cuts[place : place + 2]
        columns.add([columns.write(first, slice_rows(leaves, first, stop))])


@given(st.lists(leaves_of_specs, min_size=1, max_size=3), st.integers(0, 2**32), st.data())
@settings(deadline=None)
def test_any_rows_come_back_as_they_were_written(
    leaves_of_spec: list[Leaf], seed: int, data: st.DataObject
) -> None:
    spec = Spec(tuple(leaves_of_spec))
    leaves = random_leaves(spec, 20, seed)
    columns = laid_out(spec, 20)
    cuts = [0, 1, 8, 9, 20]
    fill(columns, leaves, cuts, data.draw(st.permutations(range(4))))
    expected = as_rows(leaves)
    rows = data.draw(st.lists(st.integers(0, 19), max_size=8))
    taken = columns.take(np.array(rows, np.int64))
    assert as_rows(taken) == [expected[row] for row in rows]
    assert as_rows(columns.slice(0, 20)) == expected
    for value, leaf in zip(taken, spec.leaves, strict=True):
        assert isinstance(value, Ragged) == bool(leaf.ragged_rank)
        if isinstance(value, Ragged):
            assert {str(s.dtype) for s in value.row_splits} == {leaf.row_splits_dtype}
    columns.close()


def test_rows_longer_than_what_is_indexed_by_item_are_the_same() -> None:
    """Long ones are copied as slices; both ways, with lengths of 0 in between."""
    spec = Spec((Leaf("int16", (None, None, 3), 1),))
    for longest in (3, 3000):
        lengths = np.array([0, longest, 1, 0, longest // 2, 0])
        splits = np.concatenate([[0], np.cumsum(lengths)])
        flat = np.arange(splits[-1] * 3, dtype=np.int16).reshape(-1, 3)
        leaves = (Ragged(flat, (splits,)),)
        columns = laid_out(spec, 6)
        fill(columns, leaves, [0, 2, 6], [1, 0])
        expected = as_rows(leaves)
        for rows in ([4, 1, 0, 5], [0, 3], [1, 1]):
            assert as_rows(columns.take(np.array(rows))) == [expected[row] for row in rows]


def test_very_many_leaves_with_strings_among_them() -> None:
    spec = Spec(
        {f"c{n}": Leaf("float32", (None,)) for n in range(MANY)}
        | {f"s{n}": Leaf("string", (None,)) for n in range(4)}
        | {"r": Leaf("uint8", (None, None), 1)}
    )
    leaves = random_leaves(spec, 12)
    columns = laid_out(spec, 12)
    fill(columns, leaves, [0, 5, 12], [1, 0])
    expected = as_rows(leaves)
    assert as_rows(columns.take(np.array([11, 0, 5]))) == [expected[n] for n in (11, 0, 5)]


@pytest.mark.parametrize("dtype", ["float32", "string", "complex64"])
def test_samples_of_open_shapes_come_back_where_they_have_one(dtype: str) -> None:
    spec = Spec((Leaf(dtype, (None, None, 2, None)), Leaf(dtype, (None, None, None), 1)))
    columns = laid_out(spec, 30)
    parts = {}
    for seed, first in enumerate((20, 0, 10)):
        parts[first] = random_leaves(spec, 10, seed)
        columns.add([columns.write(first, parts[first])])
    for first, leaves in parts.items():
        expected = as_rows(leaves)
        rows = np.array([9, 3, 3, 4])
        assert as_rows(columns.take(first + rows)) == [expected[row] for row in rows]
        taken = columns.slice(first, first + 10)
        assert as_rows(taken) == expected
    with pytest.raises(WorkError, match="several shapes"):
        columns.take(np.array([3, 13]))
    assert len(columns.take(np.zeros(0, np.int64))[0]) == 0


def test_zero_sizes_of_open_shapes_survive() -> None:
    spec = Spec((Leaf("float32", (None, None, None)),))
    columns = laid_out(spec, 4)
    columns.add([columns.write(0, (np.zeros((2, 0, 5), np.float32),))])
    columns.add([columns.write(2, (np.zeros((2, 3, 0), np.float32),))])
    assert np.asarray(columns.take(np.array([1, 0, 1]))[0]).shape == (3, 0, 5)
    assert np.asarray(columns.slice(2, 4)[0]).shape == (2, 3, 0)


def test_arrow_reads_the_file(tmp_path: Path) -> None:
    leaves = random_leaves(TEXT, 9)
    descriptor = os.open(tmp_path / "rows", os.O_RDWR | os.O_CREAT)
    columns = AppendedColumns.lay_out(descriptor, TEXT, 9)
    fill(columns, leaves, [0, 4, 9], [0, 1])
    columns.finish()
    with pa.memory_map(str(tmp_path / "rows")) as source, pa.ipc.open_stream(source) as reader:
        table = reader.read_all()
        table.validate(full=True)
    assert table["1"].to_pylist() == np.asarray(leaves[2]).tolist()
    tokens = leaves[0]
    assert isinstance(tokens, Ragged)
    assert table["0/tokens"].combine_chunks().flatten().to_pylist() == tokens.flat_values.tolist()
    assert [len(row) for row in table["0/tokens"].to_pylist()] == np.diff(
        tokens.row_splits[0]
    ).tolist()
    assert table.schema.field("0/tokens").metadata[b"dtype"] == b"int32"


def test_another_process_reads_while_it_grows_and_continues(tmp_path: Path) -> None:
    """Two descriptors of one file are what two processes have."""
    spec = Spec((Leaf("string", (None,)),))
    path = tmp_path / "rows"
    texts = np.array([b"%d" % n * 9000 for n in range(400)], dtype=object)

    writer = AppendedColumns.lay_out(os.open(path, os.O_RDWR | os.O_CREAT), spec, 400)
    reader = AppendedColumns(os.open(path, os.O_RDWR), spec, 400)
    pieces = list[Piece]()
    for first in range(0, 400, 20):
        if first == 200:
            # As when the writer was killed in the middle of a batch: the other one continues.
            writer.write(first, (texts[first + 7 : first + 20],))
            writer = reader
        pieces.append(writer.write(first, (texts[first : first + 20],)))
        reader.add(pieces[-1:])
        seen = reader.take(np.array([first + 19, first // 2]))[0]
        assert np.asarray(seen).tolist() == [texts[first + 19], texts[first // 2]]
    reader.finish()
    again = AppendedColumns(os.open(path, os.O_RDONLY), spec, 400)
    again.add(pieces[::-1])
    assert np.asarray(again.slice(0, 400)[0]).tolist() == texts.tolist()
    assert [again.crc(piece) for piece in pieces] == [piece.crc for piece in pieces]
    assert again.outline_crc() == reader.outline_crc()
    assert path.stat().st_size == pieces[-1].place + pieces[-1].length + 8


def test_rows_that_are_not_there_are_an_error(tmp_path: Path) -> None:
    columns = laid_out(TEXT, 20)
    with pytest.raises(IndexError):
        columns.take(np.array([0]))
    columns.add([columns.write(5, random_leaves(TEXT, 5))])
    for row in (4, 10, 20):
        with pytest.raises(IndexError, match=f"rows {row} to {row}"):
            columns.take(np.array([row]))
    with pytest.raises(WorkError, match="another dtype"):
        columns.write(0, (*random_leaves(TEXT, 5)[:3], np.zeros((5, 2))))
    with pytest.raises(WorkError, match="lacks rows"):
        columns.add([Piece(10, 15, 2**21, 800, 0)])


def test_a_file_of_something_else_is_an_error() -> None:
    descriptor = os.memfd_create("rows")
    AppendedColumns.lay_out(os.dup(descriptor), TEXT, 20)
    with pytest.raises(WorkError, match="other columns"):
        AppendedColumns(descriptor, Spec((Leaf("string", (None,)),) * 9), 20)
    os.truncate(descriptor, 100)
    with pytest.raises(WorkError, match="no Arrow file"):
        AppendedColumns(descriptor, TEXT, 20)

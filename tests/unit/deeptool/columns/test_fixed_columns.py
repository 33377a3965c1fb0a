"""Columns of fixed size: rows come back as they were written, from a file that others read too."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import crc32c
import numpy as np
import pyarrow as pa
import pytest
from sample_leaves import as_rows, random_leaves
from small_disk import small_disk

from deeptool.codec.spec import Spec
from deeptool.codec.structure import DTYPES, MANY, Leaf
from deeptool.codec.values import Leaves, slice_rows
from deeptool.columns.fixed_columns import FixedColumns, is_fixed
from deeptool.columns.piece_journal import Piece
from deeptool.errors import WorkError

NUMBERS = Spec(
    (
        {dtype: Leaf(dtype, (None,)) for dtype in DTYPES if dtype != "string"},
        {dtype: Leaf(dtype, (32, 3, 2)) for dtype in DTYPES if dtype != "string"},
        {"none": Leaf("float32", (None, 0)), "one": Leaf("uint8", (None, 5))},
    )
)
TABLE = Spec(
    (
        {f"c{n}": Leaf("float32", (None,)) for n in range(MANY * 3)}
        | {f"flag{n}": Leaf("bool", (None, 2)) for n in range(3)},
        Leaf("int64", (None,)),
    )
)
IMAGES = Spec((Leaf("float32", (None, 64, 64, 3)), Leaf("int64", (None,))))


def laid_out(path: Path, spec: Spec, samples: int) -> FixedColumns:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    return FixedColumns.lay_out(descriptor, spec, samples)


def opened(path: Path, spec: Spec) -> FixedColumns:
    return FixedColumns(os.open(path, os.O_RDONLY), spec)


def fill(columns: FixedColumns, leaves: Leaves, cuts: list[int], order: list[int]) -> None:
    for place in order:
        columns.write(cuts[place], slice_rows(leaves, cuts[place], cuts[place + 1]))


@pytest.mark.parametrize("spec", [NUMBERS, TABLE], ids=["all dtypes", "many leaves"])
def test_rows_come_back_in_any_order_whatever_order_they_were_written_in(
    spec: Spec, tmp_path: Path
) -> None:
    leaves = random_leaves(spec, 23)
    columns = laid_out(tmp_path / "file", spec, 23)
    fill(columns, leaves, [0, 1, 9, 10, 23], [2, 0, 3, 1])
    expected = as_rows(leaves)
    rows = np.array([22, 0, 9, 9, 10, 1, 8])
    for reader in (columns, opened(tmp_path / "file", spec)):
        assert reader.samples == 23
        assert as_rows(reader.take(rows)) == [expected[row] for row in rows]
        assert as_rows(reader.slice(0, 23)) == expected
        assert as_rows(reader.slice(8, 11)) == expected[8:11]
        assert len(reader.take(rows[:0])[0]) == len(reader.slice(5, 5)[0]) == 0


def test_taken_rows_are_arrays_of_their_own_and_slices_are_views(tmp_path: Path) -> None:
    columns = laid_out(tmp_path / "file", IMAGES, 4)
    columns.write(0, random_leaves(IMAGES, 4))
    taken, view = columns.take(np.array([1, 2]))[0], columns.slice(1, 3)[0]
    assert isinstance(taken, np.ndarray)
    assert isinstance(view, np.ndarray)
    assert taken.flags.writeable
    assert not view.flags.writeable
    columns.write(1, random_leaves(IMAGES, 1, seed=7))
    assert taken[0].tobytes() != view[0].tobytes()
    assert view[0].tobytes() == as_rows(random_leaves(IMAGES, 1, seed=7))[0][0][2]


def test_arrow_reads_the_file(tmp_path: Path) -> None:
    leaves = random_leaves(NUMBERS, 7)
    laid_out(tmp_path / "file", NUMBERS, 7).write(0, leaves)
    with pa.memory_map(str(tmp_path / "file")) as source, pa.ipc.open_file(source) as reader:
        assert reader.num_record_batches == 1
        batch = reader.get_batch(0)
        batch.validate(full=True)
    assert Spec.from_json(json.loads(batch.schema.metadata[b"element_spec"])) == NUMBERS
    assert batch.schema.names == list(NUMBERS.paths)
    value = dict(zip(NUMBERS.paths, leaves, strict=True))
    for path in ("0/int16", "0/uint64", "0/bool"):
        assert batch.column(path).to_pylist() == np.asarray(value[path]).tolist()
    bits = np.asarray(value["0/bfloat16"]).view(np.uint16).tolist()
    assert batch.column("0/bfloat16").to_pylist() == bits
    for path in ("1/int8", "1/uint32"):
        assert np.array_equal(batch.column(path).to_numpy_ndarray(), value[path])
    assert {
        field.name.rpartition("/")[2]: field.metadata[b"dtype"].decode()
        for field in batch.schema
        if field.name.startswith("1/")
    } == {dtype: dtype for dtype in NUMBERS.structure[1]}  # type: ignore[index, union-attr, misc]


@pytest.mark.parametrize("spec", [NUMBERS, TABLE, IMAGES])
def test_rows_begin_at_a_multiple_of_64_bytes(spec: Spec, tmp_path: Path) -> None:
    laid_out(tmp_path / "file", spec, 5)
    content = (tmp_path / "file").read_bytes()
    with pa.ipc.open_file(pa.py_buffer(content)) as reader:
        arrays = reader.get_batch(0).columns
    address = np.frombuffer(content, np.uint8).__array_interface__["data"][0]
    buffers = [buffer for array in arrays for buffer in array.buffers() if buffer]
    assert min(buffer.address for buffer in buffers if buffer.size) % 64 == address % 64


def test_what_is_written_has_the_crc_that_is_read_back(tmp_path: Path) -> None:
    spec = Spec((Leaf("float32", (None, 3)), Leaf("int64", (None,))))
    leaves = random_leaves(spec, 9)
    columns = laid_out(tmp_path / "file", spec, 9)
    written = columns.write(2, slice_rows(leaves, 2, 6))
    x, y = (np.asarray(value)[2:6].tobytes() for value in leaves)
    assert written == Piece(2, 6, 0, 0, crc32c.crc32c(x + y))
    assert columns.crc(written) == written.crc
    columns.write(5, random_leaves(spec, 1, seed=1))
    assert columns.crc(written) != written.crc


def test_what_does_not_fit_is_rejected(tmp_path: Path) -> None:
    columns = laid_out(tmp_path / "file", IMAGES, 4)
    with pytest.raises(IndexError, match="rows 3 to 5 of 4"):
        columns.write(3, random_leaves(IMAGES, 2))
    with pytest.raises(IndexError):
        columns.take(np.array([4]))
    with pytest.raises(IndexError):
        columns.slice(2, 5)
    x, y = random_leaves(IMAGES, 2)
    with pytest.raises(WorkError, match="another dtype"):
        columns.write(0, (x, np.asarray(y).astype(np.int32)))
    with pytest.raises(WorkError, match="another shape"):
        columns.write(0, (np.asarray(x)[:, :9], y))
    assert not np.asarray(columns.slice(0, 4)[0]).any()


def test_a_file_of_something_else_is_an_error(tmp_path: Path) -> None:
    laid_out(tmp_path / "file", IMAGES, 4)
    with pytest.raises(WorkError, match="other columns"):
        opened(tmp_path / "file", NUMBERS)
    os.truncate(tmp_path / "file", os.path.getsize(tmp_path / "file") - 100)
    with pytest.raises(WorkError, match="no Arrow file"):
        opened(tmp_path / "file", IMAGES)
    (tmp_path / "empty").touch()
    with pytest.raises(WorkError, match="no Arrow file"):
        opened(tmp_path / "empty", IMAGES)


@pytest.mark.parametrize(
    ("leaf", "fixed"),
    [
        (Leaf("float32", (None, 2)), True),
        (Leaf("bool", (8,)), True),
        (Leaf("string", (None,)), False),
        (Leaf("float32", (None, None)), False),
        (Leaf("float32", (None, None), 1), False),
    ],
)
def test_which_rows_have_one_size(leaf: Leaf, fixed: bool) -> None:
    assert is_fixed(Spec((Leaf("int64", (None,)), leaf))) is fixed


SPARSE = """
import os, resource, sys
import numpy as np
from deeptool.codec.spec import Spec
from deeptool.codec.structure import Leaf
from deeptool.columns.file_memory import write_at
from deeptool.columns.fixed_columns import FixedColumns, plan_file

def memory():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

spec = Spec((Leaf("float32", (None, 64, 64, 3)), Leaf("int64", (None,))))
descriptor = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
before, count = memory(), 1_000_000
plan = plan_file(spec, count)
os.truncate(descriptor, plan.size)
for place, part in plan.parts:
    write_at(descriptor, place, part)
columns = FixedColumns(descriptor, spec)
x = np.full((1, 64, 64, 3), 2.5, np.float32)
columns.write(count - 1, (x, np.array([7])))
last, label = columns.take(np.array([count - 1]))
print(columns.samples, plan.size, float(last.sum()), int(label[0]))
print(os.fstat(descriptor).st_blocks * 512 + 1024 * (memory() - before))
"""


def test_a_file_of_50_gigabytes_is_laid_out_without_writing_or_holding_its_rows(
    tmp_path: Path,
) -> None:
    """Sparse: `lay_out` would reserve the space, which a test had better not."""
    done = subprocess.run(
        [sys.executable, "-c", SPARSE, tmp_path / "file"], capture_output=True, text=True
    )
    assert not done.returncode, done.stderr
    columns, taken = done.stdout.splitlines()
    samples, size, total, label = columns.split()
    assert (samples, label, float(total)) == ("1000000", "7", 2.5 * 64 * 64 * 3)
    assert 0 <= int(size) - 1_000_000 * (64 * 64 * 3 * 4 + 8) < 10_000
    assert int(taken) < 50_000_000


def test_a_disk_that_is_too_small_is_found_before_any_row(tmp_path: Path) -> None:
    code = (
        "import os, sys; from deeptool.codec.spec import Spec;"
        "from deeptool.codec.structure import Leaf;"
        "from deeptool.columns.fixed_columns import FixedColumns;"
        "spec = Spec((Leaf('float32', (None, 1000)),));"
        "file = os.open(sys.argv[1] + '/' + sys.argv[2], os.O_RDWR | os.O_CREAT);"
        "FixedColumns.lay_out(file, spec, int(sys.argv[2]))"
    )
    with small_disk(tmp_path / "disk", "20m") as disk:
        fits = disk.run(sys.executable, "-c", code, disk.path, "4000")
        assert not fits.returncode, fits.stderr
        full = disk.run(sys.executable, "-c", code, disk.path, "2000")
    assert full.returncode == 1
    assert "No space left on device" in full.stderr

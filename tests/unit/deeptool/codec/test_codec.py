"""Codec arrow: whatever a dataset can yield comes back as it went in, however it is cut."""

from __future__ import annotations

import contextlib
import itertools
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deeptool.codec import make_codec
from deeptool.codec.arrow import ArrowCodec
from deeptool.codec.records import pack
from deeptool.codec.spec import Spec
from deeptool.codec.structure import DTYPES, Leaf, Structure
from deeptool.codec.values import Leaves, Ragged, Value, concat_rows, numpy_dtype, rows, slice_rows
from deeptool.errors import UserError, WorkError


def same(a: Leaves, b: Leaves) -> bool:
    """Equal in type, dtype, shape and every bit (NaN included)."""
    return len(a) == len(b) and all(map(same_value, a, b))


def same_value(a: Value, b: Value) -> bool:
    if isinstance(a, Ragged) or isinstance(b, Ragged):
        return (
            isinstance(a, Ragged)
            and isinstance(b, Ragged)
            and len(a.row_splits) == len(b.row_splits)
            and all(map(same_value, a.row_splits, b.row_splits))
            and same_value(a.flat_values, b.flat_values)
        )
    if a.dtype != b.dtype or a.shape != b.shape:
        return False
    return a.tolist() == b.tolist() if a.dtype == object else a.tobytes() == b.tobytes()


# ------------------------------------------------------------------ what datasets can yield

leaves_of_spec = st.builds(
    lambda dtype, inner, ragged: (
        Leaf(dtype, (None, *inner))
        if not ragged
        else Leaf(dtype, (None, *[None] * len(ragged), *inner), len(ragged), ragged[0])
    ),
    st.sampled_from(sorted(DTYPES)),
    st.lists(st.sampled_from([0, 1, 2, 3, None]), max_size=3),
    st.sampled_from([[], [], ["int64"], ["int32"], ["int64", "int64"]]),
)
structures: st.SearchStrategy[Structure] = st.recursive(
    leaves_of_spec,
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=3).map(tuple),
        st.dictionaries(st.text("ab/~", max_size=2), inner, min_size=1, max_size=3),
    ),
    max_leaves=5,
)


@st.composite
def dense(draw: st.DrawFn, dtype: str, shape: tuple[int, ...]) -> Any:
    if dtype == "string":
        size = int(np.prod(shape))
        texts = draw(st.lists(st.binary(max_size=4), min_size=size, max_size=size))
        flat = np.empty(size, object)
        flat[:] = texts
        return flat.reshape(shape)
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    if dtype == "bool":
        return rng.integers(0, 2, shape).astype(bool)
    kind = numpy_dtype(dtype)
    if dtype in ("int4", "uint4"):
        return rng.integers(0, 8, shape).astype(kind)
    return np.frombuffer(rng.bytes(int(np.prod(shape)) * kind.itemsize), kind).reshape(shape)


@st.composite
def batch(draw: st.DrawFn, spec: Spec, count: int) -> Leaves:
    leaves: list[Value] = []
    for leaf in spec.leaves:
        splits, size = [], count
        for _ in range(leaf.ragged_rank):
            lengths = draw(st.lists(st.integers(0, 3), min_size=size, max_size=size))
            splits.append(np.cumsum([0, *lengths]).astype(leaf.row_splits_dtype))
            size = int(splits[-1][-1])
        inner = [draw(st.integers(0, 3)) if s is None else s for s in leaf.inner]
        flat = draw(dense(leaf.dtype, (size, *inner)))
        leaves.append(Ragged(flat, tuple(splits)) if splits else flat)
    return tuple(leaves)


@st.composite
def datasets(draw: st.DrawFn) -> tuple[Spec, list[Leaves]]:
    spec = Spec(draw(structures))
    counts = draw(st.lists(st.integers(1, 5), min_size=1, max_size=4))
    return spec, [draw(batch(spec, count)) for count in counts]


# ------------------------------------------------------------------ round trips


@settings(max_examples=80, deadline=None)
@given(datasets())
def test_every_batch_comes_back_as_itself(dataset: tuple[Spec, list[Leaves]]) -> None:
    spec, batches = dataset
    codec = ArrowCodec(spec)
    for leaves in batches:
        assert same(codec.decode(codec.encode(leaves)), leaves)


@settings(max_examples=80, deadline=None)
@given(datasets(), st.integers(1, 3000))
def test_records_hold_all_samples_once_in_order(
    dataset: tuple[Spec, list[Leaves]], target: int
) -> None:
    spec, batches = dataset
    codec = ArrowCodec(spec)
    records = list(pack(codec, batches, upload="u", target_bytes=target))
    stored = [codec.decode(record.value) for record in records]
    assert [rows(leaves) for leaves in stored] == [record.count for record in records]
    samples = [slice_rows(leaves, i, i + 1) for leaves in stored for i in range(rows(leaves))]
    expected = [slice_rows(leaves, i, i + 1) for leaves in batches for i in range(rows(leaves))]
    assert len(samples) == len(expected)
    assert all(map(same, samples, expected))
    firsts = [record.first for record in records]
    assert firsts == [sum(r.count for r in records[:i]) for i in range(len(records))]


@settings(max_examples=100, deadline=None)
@given(datasets(), st.data())
def test_slices_concatenate_to_the_whole(
    dataset: tuple[Spec, list[Leaves]], data: st.DataObject
) -> None:
    leaves = dataset[1][0]
    cuts = sorted(data.draw(st.lists(st.integers(0, rows(leaves)), max_size=3)))
    ends = [0, *cuts, rows(leaves)]
    parts = [slice_rows(leaves, a, b) for a, b in itertools.pairwise(ends)]
    assert same(concat_rows(parts), leaves)


# ------------------------------------------------------------------ what is stored, exactly


def test_the_stream_is_plain_arrow() -> None:
    spec = Spec(
        (
            {"image": Leaf("uint8", (None, 2, 3)), "name": Leaf("string", (None,))},
            Leaf("bfloat16", (None,)),
            Leaf("int64", (None, None, 2), ragged_rank=1),
        )
    )
    image = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    names = np.array([b"a\0b", b""], dtype=object)
    halves = np.array([1.5, -2.0], dtype=numpy_dtype("bfloat16"))
    ragged = Ragged(np.array([[1, 2], [3, 4], [5, 6]]), (np.array([0, 1, 3]),))
    with pa.ipc.open_stream(ArrowCodec(spec).encode((image, names, halves, ragged))) as stream:
        table = stream.read_all()
    assert table.column_names == ["0/image", "0/name", "1", "2"]
    assert table.column("0/image").type == pa.fixed_shape_tensor(pa.uint8(), (2, 3))
    assert table.column("0/name").to_pylist() == [b"a\0b", b""]
    assert table.column("1").to_pylist() == [0x3FC0, 0xC000]
    assert table.column("2").to_pylist() == [[[1, 2]], [[3, 4], [5, 6]]]
    assert [field.metadata[b"dtype"] for field in table.schema] == [
        b"uint8",
        b"string",
        b"bfloat16",
        b"int64",
    ]
    assert not any(field.nullable for field in table.schema)


def test_numbers_are_views_of_the_record() -> None:
    spec = Spec(Leaf("float32", (None, 64)))
    codec = ArrowCodec(spec)
    stored = codec.encode((np.ones((100, 64), np.float32),))
    (decoded,) = codec.decode(stored)
    assert isinstance(decoded, np.ndarray)
    assert np.shares_memory(decoded, np.frombuffer(stored, np.uint8))


def test_arrays_of_any_memory_layout_are_stored_by_value() -> None:
    spec = Spec(Leaf("int16", (None, 3)))
    value = np.asfortranarray(np.arange(24, dtype=np.int16).reshape(8, 3))[::2]
    codec = ArrowCodec(spec)
    assert same(codec.decode(codec.encode((value,))), (np.ascontiguousarray(value),))


# ------------------------------------------------------------------ what is refused

ODD = Spec(
    (Leaf("string", (None, 2)), Leaf("float32", (None, None, 2), 1), Leaf("bool", (None, 3)))
)
ODD_BATCH: Leaves = (
    np.array([[b"a", b""], [b"bcd", b"e"]], dtype=object),
    Ragged(np.zeros((5, 2), np.float32), (np.array([0, 2, 5]),)),
    np.ones((2, 3), bool),
)


INT = Spec({"a": Leaf("int32", (None,)), "b": Leaf("float32", (None, 2))})
A, B = np.arange(3, dtype=np.int32), np.zeros((3, 2), np.float32)


@pytest.mark.parametrize(
    ("leaves", "words"),
    [
        ((A,), "another number of leaves"),
        ((A, B[:2]), "'b' has another number of samples"),
        ((A.astype(np.int64), B), "'a' has another dtype"),
        ((A, B[:, :1]), "'b' has another shape"),
        ((A, B[:, 0]), "'b' has another shape"),
        ((Ragged(A, (np.array([0, 1, 2, 3]),)), B), "'a' has another number of ragged dimensions"),
    ],
)
def test_batches_that_are_not_as_the_spec_says(leaves: Leaves, words: str) -> None:
    with pytest.raises(WorkError) as error:
        ArrowCodec(INT).encode(leaves)
    assert words in error.value.what


def test_strings_are_bytes() -> None:
    with pytest.raises(WorkError) as error:
        ArrowCodec(Spec(Leaf("string", (None,)))).encode((np.array(["text"], dtype=object),))
    assert "bytes" in error.value.what
    assert error.value.seen == "'text'"


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({"a": Leaf("int32", (None,)), "c": Leaf("float32", (None, 2))}, "other columns"),
        ({"a": Leaf("int32", (None,))}, "other columns"),
        ({"a": Leaf("uint32", (None,)), "b": Leaf("float32", (None, 2))}, "column 'a'"),
        ({"a": Leaf("int32", (None,)), "b": Leaf("float32", (None, 3))}, "column 'b'"),
        ({"a": Leaf("int32", (None,)), "b": Leaf("float32", (None, 2, 1))}, "column 'b'"),
        ({"a": Leaf("int32", (None,)), "b": Leaf("complex64", (None,))}, "column 'b'"),
        ({"a": Leaf("int32", (None, None), 1), "b": Leaf("float32", (None, 2))}, "column 'a'"),
        ({"a": Leaf("string", (None,)), "b": Leaf("float32", (None, 2))}, "column 'a'"),
    ],
)
def test_records_of_another_spec_name_the_column(other: Structure, words: str) -> None:
    with pytest.raises(WorkError) as error:
        ArrowCodec(Spec(other)).decode(ArrowCodec(INT).encode((A, B)))
    assert words in error.value.what


def test_bfloat16_and_uint16_are_not_the_same() -> None:
    bits = ArrowCodec(Spec(Leaf("uint16", (None,)))).encode((np.zeros(2, np.uint16),))
    with pytest.raises(WorkError, match="column ''"):
        ArrowCodec(Spec(Leaf("bfloat16", (None,)))).decode(bits)


def test_open_dimensions_take_what_the_record_has() -> None:
    codec = ArrowCodec(Spec(Leaf("float32", (None, None, 0))))
    stored = codec.encode((np.zeros((2, 7, 0), np.float32),))
    assert codec.decode(stored)[0].shape == (2, 7, 0)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("values", "inner"),
    [
        (pa.array([1, None], pa.int32()), ()),
        (pa.array([[1, 2], [3, None]], pa.list_(pa.int32(), 2)), (2,)),
        (pa.array([[1, 2], None], pa.list_(pa.int32(), 2)), (2,)),
    ],
)
def test_nulls_are_not_samples(values: pa.Array, inner: tuple[int, ...]) -> None:
    field = pa.field("", values.type, metadata={"dtype": "int32"})
    batch = pa.record_batch([values], schema=pa.schema([field]))
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    with pytest.raises(WorkError, match="column ''"):
        ArrowCodec(Spec(Leaf("int32", (None, *inner)))).decode(sink.getvalue().to_pybytes())


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_damaged_bytes_are_an_error_or_other_values_but_nothing_else(data: st.DataObject) -> None:
    codec = ArrowCodec(ODD)
    stored = bytearray(codec.encode(ODD_BATCH))
    stored[data.draw(st.integers(0, len(stored) - 1))] ^= data.draw(st.integers(1, 255))
    with contextlib.suppress(WorkError):
        codec.decode(bytes(stored[: data.draw(st.integers(1, len(stored)))]))


@pytest.mark.parametrize("data", [b"", b"\0" * 64, b"not arrow at all"])
def test_what_is_no_stream_is_said_so(data: bytes) -> None:
    with pytest.raises(WorkError, match="not a readable Arrow stream"):
        ArrowCodec(INT).decode(data)


def test_codecs_by_name() -> None:
    assert make_codec("arrow", INT).samples_per_record is None
    assert make_codec("example", INT).samples_per_record == 1
    with pytest.raises(UserError) as error:
        make_codec("avro", INT)
    assert error.value.valid == "arrow, example"

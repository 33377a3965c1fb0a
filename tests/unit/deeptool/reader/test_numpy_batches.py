"""The NumPy face gives what TensorFlow's gives, in the same order, and needs no TensorFlow."""

from __future__ import annotations

import itertools
import subprocess
import sys
from collections import namedtuple
from textwrap import dedent
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from memory_store import MemoryStore
from paths import ROOT

from deeptool import Ragged
from deeptool.codec.spec import Spec
from deeptool.codec.structure import MANY, Leaf
from deeptool.codec.values import Leaves
from deeptool.errors import UserError, WorkError
from deeptool.reader import StoredDataset

ROWS = 44
Sides = namedtuple("Sides", ["left", "right"])


def leaf_values(leaf: Leaf, first: int, count: int, even: bool) -> Any:
    """Rows that carry their own number in every component."""
    numbers = np.arange(first, first + count)
    if leaf.ragged_rank:
        sizes = numbers % 3
        splits = (np.concatenate([[0], np.cumsum(sizes)]).astype(leaf.row_splits_dtype),)
        if leaf.ragged_rank == 2:
            inner = np.arange(int(sizes.sum()) + 1, dtype=leaf.row_splits_dtype) * 2
            return Ragged(np.repeat(numbers, sizes * 2).astype(leaf.dtype), (*splits, inner))
        return Ragged(np.repeat(numbers, sizes).astype(leaf.dtype), splits)
    shape = [(3 if even else first % 5 + 1) if size is None else size for size in leaf.inner]
    rows = np.broadcast_to(numbers.reshape(-1, *[1] * len(shape)), (count, *shape))
    if leaf.dtype == "string":
        return np.array([str(n).encode() for n in rows.ravel()], object).reshape(rows.shape)
    return rows.astype(leaf.dtype)


def made(spec: Spec, rows: int = ROWS, size: int = 4, even: bool = False) -> list[Leaves]:
    return [
        tuple(leaf_values(leaf, first, min(size, rows - first), even) for leaf in spec.leaves)
        for first in range(0, rows, size)
    ]


def dense(value: Any) -> Any:
    """For a comparison: TensorFlow's or ours, as nested lists."""
    if isinstance(value, tf.RaggedTensor):
        splits = value.nested_row_splits
    elif isinstance(value, Ragged):
        splits = value.row_splits
    else:
        return np.asarray(value).tolist()
    # TensorFlow's to_list runs operations for each row: most of a test's time.
    rows = np.asarray(value.flat_values).tolist()
    for bounds in reversed([np.asarray(each).tolist() for each in splits]):
        rows = [rows[first:end] for first, end in itertools.pairwise(bounds)]
    return rows


def leaves_of(spec: Spec, element: Any) -> list[Any]:
    return [dense(leaf) for leaf in spec.flatten(element)]


FIXED = Spec((Leaf("float32", (None, 2)), {"a": Leaf("int64", (None,))}))
SPECS = {
    "fixed": FIXED,
    "exact": Spec((Leaf("float32", (4, 2)), Leaf("int64", (4,)))),
    "single": Spec((Leaf("float32", (None, 2)), Leaf("int64", (None,))), batched=False),
    "text": Spec({"s": Leaf("string", (None, 2)), "b": Leaf("bool", (None,))}),
    "named": Spec(Sides(Leaf("uint8", (None, 2, 2)), (Leaf("float64", (None,)),))),
    "ragged": Spec((Leaf("int32", (None, None), 1), Leaf("int64", (None,)))),
    "ragged twice": Spec((Leaf("int32", (None, None, None), 2), Leaf("int64", (None,)))),
    "open": Spec((Leaf("float32", (None, None, 2)), Leaf("int64", (None,)))),
    "open, one size": Spec((Leaf("float32", (None, None, 2)), Leaf("int64", (None,)))),
    "open text": Spec((Leaf("string", (None, None)), Leaf("int64", (None,)))),
    "very many": Spec({f"c{n}": Leaf("float32", (None,)) for n in range(MANY + 3)}),
}


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("name", SPECS)
def test_the_elements_are_those_of_tensorflow(store: MemoryStore, name: str, shuffle: bool) -> None:
    spec = SPECS[name]
    even = name == "open, one size"
    epochs = [made(spec, rows, even=even) for rows in (ROWS, 30)]
    data = StoredDataset(store, store.upload("u", *epochs, spec=spec, batch_size=4))
    options: list[dict[str, Any]] = [{}, {"repeat": 3}, {"num_shards": 3, "index": 1}]
    if "open" in name and not even:
        padding = b"-" if name == "open text" else 7
        options += [{"batch_size": 5, "padding_value": padding}]
    else:
        options += [{"batch_size": 5}, {"batch_size": 7, "drop_remainder": True}]
    for option in options:
        how = {"shuffle": shuffle, "seed": 5, **option}
        for _ in range(2):
            expected = [leaves_of(spec, element) for element in data.tf(**how, first_epoch=1)]
            batches = data.numpy(**how, first_epoch=1)
            assert [leaves_of(spec, element) for element in batches] == expected


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("name", SPECS)
def test_a_position_within_a_pass(store: MemoryStore, name: str, shuffle: bool) -> None:
    """What is behind a position is what an iterator from the start would have gone on with."""
    spec = SPECS[name]
    epochs = [made(spec, rows, even=name == "open, one size") for rows in (ROWS, 30)]
    data = StoredDataset(store, store.upload("u", *epochs, spec=spec, batch_size=4))
    how: dict[str, Any] = {"shuffle": shuffle, "seed": 5}
    whole = [[leaves_of(spec, each) for each in data.numpy(**how, first_epoch=k)] for k in range(3)]
    begun, following = whole[1][3:] + whole[2], data.numpy(**how, start=(1, 3), repeat=2)
    assert [leaves_of(spec, each) for each in following] == begun
    both = data.tf(**how, start=(1, 3), repeat=2)
    assert [leaves_of(spec, each) for each in both] == begun
    # The next iterators begin with whole passes, and one without an end begins alike each time.
    third = [leaves_of(spec, each) for each in data.numpy(**how, first_epoch=3)]
    assert [leaves_of(spec, each) for each in following][: len(third)] == third
    assert [leaves_of(spec, each) for each in both][: len(third)] == third
    for endless in (
        data.numpy(**how, start=(1, 3), repeat=None),
        data.tf(**how, start=(1, 3), repeat=None),
    ):
        for _ in range(2):
            taken = itertools.islice(iter(endless), len(begun))
            assert [leaves_of(spec, each) for each in taken] == begun


@pytest.mark.parametrize("face", ["numpy", "tf"])
def test_a_position_that_is_asked_for(store: MemoryStore, face: str) -> None:
    """Whenever an iterator begins, however many there are."""
    epochs = [made(FIXED), made(FIXED, 30)]
    data = StoredDataset(store, store.upload("u", *epochs, spec=FIXED, batch_size=4))
    how: dict[str, Any] = {"shuffle": True, "seed": 5}
    place = (1, 3)
    found = getattr(data, face)(**how, start=lambda: place)
    for place in ((1, 3), (1, 3), (0, 0), (2, 10)):
        whole = [leaves_of(FIXED, each) for each in data.numpy(**how, first_epoch=place[0])]
        assert [leaves_of(FIXED, each) for each in found] == whole[place[1] :]


def test_codec_example_is_decoded(store: MemoryStore) -> None:
    data = StoredDataset(store, store.upload("u", made(FIXED), spec=FIXED, codec="example"))
    expected = [leaves_of(FIXED, element) for element in data.tf(shuffle=True, seed=1)]
    assert [leaves_of(FIXED, each) for each in data.numpy(shuffle=True, seed=1)] == expected


def test_each_iterator_is_the_next_pass_and_its_length_is_known(store: MemoryStore) -> None:
    data = StoredDataset(store, store.upload("u", made(FIXED), made(FIXED, 30), spec=FIXED))
    batches = data.numpy()
    assert [sum(len(x) for x, _ in batches) for _ in range(4)] == [44, 30, 44, 30]
    with pytest.raises(TypeError, match="differs from pass to pass"):
        len(batches)
    assert len(data.numpy(repeat=2)) == 11 + 8
    assert len(data.numpy(batch_size=10, repeat=4, drop_remainder=True)) == 2 * (4 + 3)
    for unknown in (data.numpy(repeat=None), data.numpy(start=(0, 1))):
        with pytest.raises(TypeError, match="not known"):
            len(unknown)
    assert int(data.tf(start=(0, 1)).cardinality()) == tf.data.UNKNOWN_CARDINALITY
    endless = iter(data.numpy(repeat=None))
    assert sum(len(next(endless)[0]) for _ in range(11 + 8 + 11)) == 44 + 30 + 44


def test_types_and_shapes_are_the_specs(store: MemoryStore) -> None:
    spec = SPECS["named"]
    data = StoredDataset(store, store.upload("u", made(spec), spec=spec))
    element = next(iter(data.numpy()))
    assert element._fields == ("left", "right")
    assert (element.left.dtype, element.left.shape) == (np.uint8, (4, 2, 2))
    assert element.right[0].dtype == np.float64


def test_what_cannot_be_read_so_is_refused(store: MemoryStore) -> None:
    spec = SPECS["open"]
    data = StoredDataset(store, store.upload("u", made(spec), spec=spec, batch_size=4))
    with pytest.raises(UserError, match="padding_value"):
        data.numpy(batch_size=5)
    with pytest.raises(UserError, match="memory_bytes"):
        data.numpy(memory_bytes=1)


def test_errors_are_those_that_were_raised(store: MemoryStore) -> None:
    data = StoredDataset(store, store.upload("u", made(FIXED), spec=FIXED))
    store.delete_records("u")
    with pytest.raises(WorkError):
        list(data.numpy())
    assert isinstance(data.meter.error, WorkError)


def test_nothing_large_is_imported() -> None:
    code = """
        import sys
        import numpy as np
        from memory_store import MemoryStore
        from deeptool.reader import StoredDataset
        store = MemoryStore()
        y = np.arange(40)
        batches = [(np.zeros((4, 2), "float32"), y[n : n + 4]) for n in range(0, 40, 4)]
        data = StoredDataset(store, store.upload("u", batches))
        found = [n for _, y in data.numpy(batch_size=6, shuffle=True, seed=1) for n in y.tolist()]
        assert sorted(found) == list(range(40)) != found
        assert not {"tensorflow", "keras", "pyarrow.compute"} & set(sys.modules)
    """
    done = subprocess.run(
        [sys.executable, "-c", dedent(code)],
        cwd=ROOT / "tests" / "helpers",
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr

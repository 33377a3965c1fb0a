"""PyTorch's elements are NumPy's, as tensors that can be written to and share what they may."""

from __future__ import annotations

import sys
import warnings
from collections import namedtuple
from typing import Any

import numpy as np
import pytest
from memory_store import MemoryStore
from sample_leaves import random_leaves

from deeptool import Ragged
from deeptool.codec.spec import Spec
from deeptool.codec.structure import Leaf
from deeptool.codec.values import slice_rows
from deeptool.errors import WorkError
from deeptool.reader import StoredDataset

torch = pytest.importorskip("torch", reason="PyTorch has an environment: make test-torch")
pytestmark = pytest.mark.torch
data_loading = pytest.importorskip("torch.utils.data", reason="PyTorch: make test-torch")

ROWS = 30
# The tensors that each dtype becomes.
DTYPES = {
    "bool": torch.bool,
    "int8": torch.int8,
    "int16": torch.int16,
    "int32": torch.int32,
    "int64": torch.int64,
    "uint8": torch.uint8,
    "uint16": torch.int32,
    "uint32": torch.int64,
    "uint64": torch.int64,
    "float16": torch.float16,
    "float32": torch.float32,
    "float64": torch.float64,
    "bfloat16": torch.bfloat16,
    "complex64": torch.complex64,
    "complex128": torch.complex128,
}
Sides = namedtuple("Sides", ["left", "right"])
SPECS = {
    "dict": Spec(({"b": Leaf("float32", (None, 2)), "a": Leaf("uint8", (None,))},)),
    "named": Spec(Sides(Leaf("int16", (None, 2)), Leaf("int64", (None,)))),
    "text": Spec((Leaf("string", (None, 2)), Leaf("string", (None,)))),
    "ragged": Spec((Leaf("float32", (None, None, None), 2), Leaf("int32", (None,)))),
    "ragged text": Spec((Leaf("string", (None, None), 1), Leaf("int32", (None,)))),
    "single": Spec((Leaf("float32", (None, 3)), Leaf("int64", (None,))), batched=False),
    "single text": Spec((Leaf("string", (None,)), Leaf("uint16", (None,))), batched=False),
    "single ragged": Spec((Leaf("int64", (None, None), 1), Leaf("bool", (None,))), batched=False),
}


def stored(spec: Spec, rows: int = ROWS) -> StoredDataset:
    whole, store = random_leaves(spec, rows, seed=3), MemoryStore()
    batches = [slice_rows(whole, n, min(n + 4, rows)) for n in range(0, rows, 4)]
    return StoredDataset(store, store.upload("u", batches, spec=spec, batch_size=4))


def plain(value: Any) -> Any:
    """Nested lists of a component of either face; the bits of numbers, since NaN is not NaN."""
    if isinstance(value, Ragged):
        return [plain(value.flat_values), *map(plain, value.row_splits)]
    if isinstance(value, torch.Tensor):
        value = value.view(torch.int16).numpy() if value.dtype == torch.bfloat16 else value.numpy()
    if isinstance(value, bytes) or value.dtype == object:
        return value if isinstance(value, bytes) else value.tolist()
    return value.tobytes(), value.shape


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("name", SPECS)
def test_nested_as_numpys(name: str, workers: int) -> None:
    spec = SPECS[name]
    data = stored(spec)
    batched = {"batch_size": 7} if spec.batched else {}
    expected = list(data.numpy(**batched))
    loader = data_loading.DataLoader(data.torch(**batched), batch_size=None, num_workers=workers)
    found = list(loader)
    assert len(found) == len(expected) == (5 if spec.batched else ROWS)
    for ours, numpys in zip(found, expected, strict=True):
        assert type(ours) is type(numpys) or isinstance(ours, list)
        for one, other in zip(spec.flatten(ours), spec.flatten(numpys), strict=True):
            text = np.asarray(other).dtype.kind in "OS"
            assert isinstance(one, torch.Tensor) is not (text or isinstance(other, Ragged))
            wide = other.astype(np.int32) if spec is SPECS["single text"] and not text else other
            assert plain(one) == plain(wide)
    if name == "named":
        assert (found[0]._fields, type(found[0]).__name__) == (("left", "right"), "Sides")
    if name == "dict" and not workers:
        assert list(found[0][0]) == ["b", "a"]


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_dtype(dtype: str, shuffle: bool) -> None:
    spec = Spec((Leaf(dtype, (None, 3)), Leaf("int64", (None,))))
    whole = random_leaves(spec, ROWS, seed=3)
    if dtype == "uint64":
        whole = (np.asarray(whole[0]) >> np.uint64(1), whole[1])
    store = MemoryStore()
    data = StoredDataset(store, store.upload("u", [whole], spec=spec, batch_size=4))
    expected = dict(zip(np.asarray(whole[1]).tolist(), np.asarray(whole[0]), strict=True))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        batches = list(data.torch(batch_size=4, shuffle=shuffle, seed=1))
    count = 0
    for values, keys in batches:
        assert values.dtype == DTYPES[dtype]
        for value, key in zip(values, keys.tolist(), strict=True):
            wide = {"uint16": "int32", "uint32": "int64", "uint64": "int64"}.get(dtype)
            row = expected[key].astype(wide) if wide else expected[key]
            assert plain(value) == plain(row)
            count += 1
    assert count == ROWS


@pytest.mark.parametrize("shuffle", [False, True])
def test_what_is_written_to_a_tensor_changes_nothing_else(shuffle: bool) -> None:
    spec = Spec((Leaf("float32", (None, 3)), Leaf("int64", (None,))))
    data = stored(spec)
    reader = data.torch(batch_size=3, shuffle=shuffle, seed=1, first_epoch=5)
    kept = []
    for x, y in reader:
        kept.append((x.clone(), y.clone()))
        x.zero_(), y.zero_()
    # Of the records in memory, too.
    again = list(data.torch(batch_size=3, shuffle=shuffle, seed=1, first_epoch=5))
    assert [plain(leaf) for batch in again for leaf in batch] == [
        plain(leaf) for batch in kept for leaf in batch
    ]


def test_arrays_that_belong_to_nobody_else_are_shared() -> None:
    from deeptool.reader.torch_tensors import torch_value

    own = np.arange(6, dtype=np.float32).reshape(2, 3)
    torch_value(own)[0, 0] = 9
    assert own[0, 0] == 9
    view = np.frombuffer(own.tobytes(), np.float32)
    tensor = torch_value(view)
    tensor[0] = 5
    assert view[0] == 9
    assert torch_value(own[::-1]).tolist() == own[::-1].tolist()
    assert torch_value(np.float32(2.5)).shape == ()


def test_a_uint64_too_large_is_an_error_and_not_another_number() -> None:
    from deeptool.reader.torch_tensors import torch_value

    assert torch_value(np.array([2**63 - 1], np.uint64)).tolist() == [2**63 - 1]
    with pytest.raises(WorkError, match="uint64") as error:
        torch_value(np.array([1, 2**63], np.uint64))
    assert error.value.seen == str(2**63)


def test_no_tensorflow_is_imported() -> None:
    list(stored(SPECS["dict"]).torch(shuffle=True))
    assert not {"tensorflow", "keras"} & set(sys.modules)

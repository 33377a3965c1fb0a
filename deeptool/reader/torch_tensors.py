"""Components of elements as PyTorch has them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from deeptool.codec.values import Array, Ragged
from deeptool.errors import WorkError

# What not every PyTorch has, or computes with, as the next larger type.
_WIDENED = {"uint16": np.int32, "uint32": np.int64, "uint64": np.int64}
_LARGEST = np.iinfo(np.int64).max


def torch_value(value: Any) -> Any:
    """A component as PyTorch has it; see `deeptool.reader.torch_batches.TorchBatches`.

    Parameters
    ----------
    value : ndarray, NumPy scalar, bytes or Ragged
        As `deeptool.reader.numpy_batches` makes it.

    Returns
    -------
    torch.Tensor, ndarray of dtype object, bytes or Ragged

    Raises
    ------
    WorkError
        A uint64 is too large for int64.
    """
    if isinstance(value, Ragged):
        splits: Any = tuple(map(_tensor, value.row_splits))
        return Ragged(torch_value(value.flat_values), splits)
    if isinstance(value, bytes):
        return value
    array = np.asarray(value)
    return array if array.dtype == object else _tensor(array)


def _tensor(array: Array) -> Any:
    name = array.dtype.name
    if name in _WIDENED:
        if name == "uint64" and array.size and array.max() > _LARGEST:
            raise WorkError(
                "PyTorch has no tensors of uint64 to compute with, and a value is too large for "
                "int64",
                seen=str(array.max()),
                valid=f"at most {_LARGEST}",
                next_step="read with data.numpy(...)",
            )
        return torch.from_numpy(array.astype(_WIDENED[name]))
    if not array.flags.writeable or any(stride < 0 for stride in array.strides):
        # Tensors can always be written to: what others may read is copied.
        array = array.copy()
    if name == "bfloat16":
        return torch.from_numpy(array.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(array)

"""The samples as Arrow batches, for peers that store Arrow."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from bench.workloads import Source, Workload

_ROWS_AT_ONCE = 10_000


def schema(workload: Workload) -> pa.Schema:
    """Values as a list of fixed size, and the label."""
    return pa.schema([("values", pa.list_(pa.float32(), workload.width)), ("label", pa.int64())])


def arrow_batches(source: Source, workload: Workload) -> Iterator[pa.RecordBatch]:
    """All samples, in order."""
    for values, labels in source.batches(_ROWS_AT_ONCE):
        flat = pa.array(np.ascontiguousarray(values).reshape(-1))
        column = pa.FixedSizeListArray.from_arrays(flat, workload.width)
        yield pa.record_batch([column, pa.array(labels)], schema=schema(workload))


def to_numpy(
    column: pa.ChunkedArray | pa.FixedSizeListArray, workload: Workload
) -> npt.NDArray[np.float32]:
    """A column of values as an array of shape (rows, *shape)."""
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    values: npt.NDArray[np.float32] = column.flatten().to_numpy()
    return values.reshape(-1, *workload.shape)

"""A Lance dataset on the disk: scanned in order, or rows taken by a permutation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import lance
import numpy as np
import pyarrow as pa

from bench.contenders import Contender, Context, Pass
from bench.peers.arrow_samples import arrow_batches, schema, to_numpy
from bench.workloads import Workload


def contenders(context: Context) -> Mapping[str, Contender]:
    """Write the dataset, and offer to read it."""
    workload, path = context.workload, str(context.shared / "samples.lance")
    batches = arrow_batches(context.source, workload)
    reader = pa.RecordBatchReader.from_batches(schema(workload), batches)
    lance.write_dataset(reader, path)
    dataset = lance.dataset(path)
    return {
        "Lance in order": Pass(partial(_in_order, dataset, workload)),
        "Lance shuffled": Pass(partial(_shuffled, dataset, workload)),
    }


def _in_order(dataset: Any, workload: Workload, number: int) -> Iterator[Any]:
    for batch in dataset.to_batches(batch_size=workload.batch_size):
        to_numpy(batch.column("values"), workload)
        yield batch.column("label").to_numpy()


def _shuffled(dataset: Any, workload: Workload, number: int) -> Iterator[Any]:
    order = np.random.default_rng(number).permutation(workload.samples)
    for start in range(0, workload.samples, workload.batch_size):
        rows = dataset.take(pa.array(order[start : start + workload.batch_size]))
        to_numpy(rows.column("values"), workload)
        yield rows.column("label").to_numpy()

"""Hugging Face datasets: memory-mapped Arrow, shuffled by an index or within a buffer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import datasets
import pyarrow as pa

from bench.contenders import Contender, Context, Pass
from bench.peers.arrow_samples import arrow_batches, schema
from bench.workloads import Workload

# As for tf.data; the library's own default is 1,000.
_BUFFER = 10_000
_SHARDS = 8


def contenders(context: Context) -> Mapping[str, Contender]:
    """Write the dataset, and offer to read it."""
    workload, folder = context.workload, context.folder("huggingface")
    # Written batch by batch: `save_to_disk` would want all of it in memory first.
    with (
        pa.OSFile(str(folder / "samples.arrow"), "wb") as file,
        pa.ipc.new_stream(file, schema(workload)) as writer,
    ):
        for batch in arrow_batches(context.source, workload):
            writer.write_batch(batch)
    dataset = datasets.Dataset.from_file(str(folder / "samples.arrow"))
    if dataset.num_rows != workload.samples:
        raise ValueError(f"{dataset.num_rows} rows")
    return {
        "HF datasets in order": Pass(partial(_in_order, dataset, workload)),
        "HF datasets shuffled by index": Pass(partial(_by_index, dataset, workload)),
        "HF datasets shuffled in a buffer": Pass(partial(_in_buffer, dataset, workload)),
    }


def _labels(batches: Any, workload: Workload) -> Iterator[Any]:
    for batch in batches:
        batch["values"].reshape(-1, *workload.shape)
        yield batch["label"]


def _in_order(dataset: Any, workload: Workload, number: int) -> Iterator[Any]:
    return _labels(dataset.with_format("numpy").iter(workload.batch_size), workload)


def _by_index(dataset: Any, workload: Workload, number: int) -> Iterator[Any]:
    shuffled = dataset.shuffle(seed=number, keep_in_memory=True).with_format("numpy")
    return _labels(shuffled.iter(workload.batch_size), workload)


def _in_buffer(dataset: Any, workload: Workload, number: int) -> Iterator[Any]:
    streamed = dataset.to_iterable_dataset(num_shards=_SHARDS).with_format("numpy")
    shuffled = streamed.shuffle(seed=number, buffer_size=_BUFFER)
    return _labels(shuffled.iter(workload.batch_size), workload)

"""Grain over ArrayRecord files: a global shuffle of records that Python parses one by one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import grain
import numpy as np
import numpy.typing as npt
from array_record.python.array_record_module import ArrayRecordWriter

from bench.contenders import Contender, Context, Pass
from bench.workloads import Source, Workload

# As many as there are cores here: 16 threads, the default, and 500 batches ahead are slower.
_THREADS = grain.ReadOptions(num_threads=2, prefetch_buffer_size=8)


def contenders(context: Context) -> Mapping[str, Contender]:
    """Write the file, and offer to read it."""
    path = str(context.folder("array_record") / "samples.array_record")
    _write(context.source, path)
    source = grain.sources.ArrayRecordDataSource(path)
    return {
        "grain in order": Pass(partial(_labels, source, context.workload, False)),
        "grain shuffled": Pass(partial(_labels, source, context.workload, True)),
    }


def _write(source: Source, path: str) -> None:
    # A group is what one read decompresses: groups of one suit random access.
    writer = ArrayRecordWriter(path, "group_size:1,uncompressed")
    for values, labels in source.batches(10_000):
        for value, label in zip(values, labels, strict=True):
            writer.write(value.tobytes() + label.tobytes())
    writer.close()


def _labels(source: Any, workload: Workload, shuffled: bool, number: int) -> Iterator[Any]:
    split = 4 * workload.width

    def parse(record: bytes) -> tuple[npt.NDArray[np.float32], np.int64]:
        values = np.frombuffer(record, np.float32, workload.width).reshape(workload.shape)
        return values, np.frombuffer(record, np.int64, 1, split)[0]

    dataset = grain.MapDataset.source(source)
    if shuffled:
        dataset = dataset.shuffle(seed=number)
    batches = dataset.map(parse).batch(workload.batch_size).to_iter_dataset(_THREADS)
    for _, labels in batches:
        yield labels

"""LitData: chunks on the disk, which its data loader shuffles, and the items within them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import litdata
from litdata.streaming.writer import BinaryWriter

from bench.contenders import Contender, Context, Pass
from bench.workloads import Source, Workload

# Its writer takes minutes per million; a measurement reads fewer than these.
_MOST_SAMPLES = 500_000


def contenders(context: Context) -> Mapping[str, Contender]:
    """Write the chunks, and offer to read them."""
    folder, workload = str(context.folder("litdata")), context.workload
    every = -(-workload.samples // _MOST_SAMPLES)
    _write(context.source.part(every), folder)
    return {
        "litdata in order": Pass(partial(_labels, folder, workload, False), every),
        "litdata shuffled": Pass(partial(_labels, folder, workload, True), every),
    }


def _write(source: Source, folder: str) -> None:
    writer = BinaryWriter(folder, chunk_bytes="64MB")
    number = 0
    for values, labels in source.batches(10_000):
        for value, label in zip(values, labels.tolist(), strict=True):
            writer[number] = {"values": value, "label": label}
            number += 1
    writer.done()
    writer.merge()


def _labels(folder: str, workload: Workload, shuffled: bool, number: int) -> Iterator[Any]:
    dataset = litdata.StreamingDataset(folder, shuffle=shuffled, seed=number, drop_last=False)
    for batch in litdata.StreamingDataLoader(dataset, batch_size=workload.batch_size):
        yield batch["label"]

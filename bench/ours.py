"""What both of our faces read, and whether local copies can be asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import deeptool
from bench.contenders import Absent, Context
from deeptool.reader.read_request import ReadOptions

NO_COPY = Absent("deeptool has no local copies yet")
SHUFFLED = {"shuffle": True, "seed": 1}


def copies() -> bool:
    """Whether a face takes `cache` and `order`."""
    return "cache" in ReadOptions.__annotations__


def from_broker(**options: Any) -> dict[str, Any]:
    """Options for reading without a local copy."""
    return {"cache": "off", **options} if copies() else options


def from_copy(folder: Path) -> dict[str, Any]:
    """Options for a shuffle of all rows of the copy in a folder."""
    return {**SHUFFLED, "cache": str(folder), "order": "global"}


def opened(context: Context) -> Any:
    """A handle to the samples of the workload."""
    return deeptool.open(context.servers, context.dataset_name)


def numpy_labels(
    context: Context, number: int, options: Mapping[str, Any], data: Any = None
) -> Iterator[Any]:
    """The labels of each batch of pass `number`, read by the NumPy face."""
    data = data or opened(context)
    size = context.workload.batch_size
    for _, labels in data.numpy(batch_size=size, first_epoch=number, **options):
        yield labels


def tf_labels(
    context: Context, number: int, options: Mapping[str, Any], data: Any = None
) -> Iterator[Any]:
    """The same, read by the TensorFlow face."""
    data = data or opened(context)
    size = context.workload.batch_size
    for _, labels in data.tf(batch_size=size, first_epoch=number, **options):
        yield labels

"""The samples that everybody reads, and how they lie on the disk before anybody stores them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

CLASSES = 10
_ROWS_AT_ONCE = 10_000


@dataclass(frozen=True)
class Workload:
    """Samples of float32 with an int64 label, sorted by their labels.

    Attributes
    ----------
    name, title : str
        In files and topics; in tables.
    shape : tuple of int
        Of one sample, without the label.
    samples, batch_size : int
    """

    name: str
    title: str
    shape: tuple[int, ...]
    samples: int
    batch_size: int

    @property
    def width(self) -> int:
        """Numbers per sample."""
        return math.prod(self.shape)

    @property
    def sample_bytes(self) -> int:
        """Of one sample with its label."""
        return 4 * self.width + 8

    @property
    def size(self) -> int:
        """Bytes of all samples with their labels."""
        return self.samples * self.sample_bytes

    def labels(self) -> npt.NDArray[np.int64]:
        """Shape (samples,), sorted: 0, ..., CLASSES - 1, all equally often but for one."""
        return np.arange(self.samples, dtype=np.int64) * CLASSES // self.samples


def _both(images: int, rows: int) -> dict[str, Workload]:
    return {
        "images": Workload("images", "12 KB samples", (32, 32, 3), images, 100),
        "rows": Workload("rows", "small rows", (16,), rows, 1000),
    }


# "tiny" is for tests.
SIZES = {
    "full": _both(80_000, 5_000_000),
    "quick": _both(8_000, 500_000),
    "tiny": _both(600, 20_000),
}


@dataclass(frozen=True)
class Source:
    """The samples as memory-mapped arrays.

    Attributes
    ----------
    values : ndarray of float32, shape (samples, *shape)
    labels : ndarray of int64, shape (samples,)
    """

    values: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]

    def part(self, every: int) -> Source:
        """Every `every`-th sample."""
        return Source(self.values[::every], self.labels[::every])

    def batches(self, size: int) -> Iterator[tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]]:
        """Neighbouring samples, `size` at a time; the last batch may be smaller."""
        for start in range(0, len(self.labels), size):
            yield self.values[start : start + size], self.labels[start : start + size]


def write_source(workload: Workload, folder: Path) -> None:
    """Write the samples of a workload to `folder`: random numbers, the same ones every time."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(len(workload.name))
    path, shape = folder / "values.npy", (workload.samples, *workload.shape)
    values = np.lib.format.open_memmap(path, "w+", np.float32, shape)  # type: ignore[no-untyped-call]
    for start in range(0, workload.samples, _ROWS_AT_ONCE):
        part = values[start : start + _ROWS_AT_ONCE]
        part[...] = random.random(part.shape, np.float32)
    values.flush()
    np.save(folder / "labels.npy", workload.labels())


def read_source(folder: Path) -> Source:
    """What `write_source` wrote."""
    return Source(
        np.load(folder / "values.npy", mmap_mode="r"), np.load(folder / "labels.npy", mmap_mode="r")
    )

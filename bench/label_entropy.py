"""How well a pass is shuffled: the entropy of the labels of its batches."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from bench.workloads import CLASSES, Workload


def mean_entropy(batches: Iterable[npt.NDArray[np.int64]]) -> float:
    """Mean entropy, in bits, of the labels 0, ..., CLASSES - 1 of each batch."""
    entropies = []
    for labels in batches:
        shares = np.bincount(labels, minlength=CLASSES) / max(len(labels), 1)
        entropies.append(-sum(p * np.log2(p) for p in shares if p > 0))
    return float(np.mean(entropies)) if entropies else 0.0


def shuffled_entropy(workload: Workload) -> float:
    """The same of a permutation of all samples: the best that shuffling can do."""
    labels = np.random.default_rng(0).permutation(workload.labels())
    size = workload.batch_size
    return mean_entropy(labels[i : i + size] for i in range(0, workload.samples, size))

"""Which samples each record of a stored epoch holds, in few numbers.

Records of samples of one size hold equally many each, and are dealt out to the partitions in turn:
one *run* describes all of a partition. Where sizes differ, a run may be a single record.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

# Records of one partition, in the order of their offsets: (how many, samples in each, how many
# samples the first of them begins behind the beginning of the record before it, and each of the
# others). Before the first record is sample 0.
RecordRun = tuple[int, int, int, int]
# About 3 MB of JSON in the catalog, which every reader reads.
MOST_RUNS = 200_000


@dataclass
class RunsOfPartition:
    """Takes in the records of one partition, and makes runs of them."""

    runs: list[RecordRun] = field(default_factory=list)
    _first: int = 0

    def add(self, first: int, count: int) -> bool:
        """The record with the next offset holds samples first, ..., first + count - 1.

        Returns
        -------
        bool
            Whether it made a run of its own.
        """
        gap, self._first = first - self._first, first
        if self.runs:
            records, samples, jump, step = self.runs[-1]
            if samples == count and (records == 1 or step == gap):
                self.runs[-1] = (records + 1, samples, jump, gap)
                return False
        self.runs.append((1, count, gap, 0))
        return True


def firsts_and_counts(
    runs: Sequence[RecordRun],
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The first sample and the number of samples of each record, in the order of offsets.

    Returns
    -------
    two ndarrays of int64, shape (records,)
    """
    table = np.array(runs, dtype=np.int64).reshape(-1, 4)
    records, samples, jumps, steps = table.T
    gaps = np.repeat(steps, records)
    gaps[np.cumsum(records) - records] = jumps
    return np.cumsum(gaps), np.repeat(samples, records)

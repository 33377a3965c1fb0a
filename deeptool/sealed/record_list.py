"""Which record held which rows of a pass, and its checksum: to make the same records again."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from deeptool.catalog.events import EpochStored
from deeptool.codec.records import Digest

_SCHEMA = pa.schema(
    [
        pa.field("partition", pa.int32(), nullable=False),
        pa.field("offset", pa.int64(), nullable=False),
        pa.field("first", pa.int64(), nullable=False),
        pa.field("count", pa.int64(), nullable=False),
        pa.field("crc", pa.uint32(), nullable=False),
        pa.field("ends", pa.list_(pa.int64())),
    ]
)
Column = npt.NDArray[np.int64]
# Before which of its rows a batch of the pipeline ended, for each record; None: not kept.
Ends = Sequence[tuple[int, ...] | None]


@dataclass(frozen=True)
class RecordList:
    """The records of one stored pass, by their rows.

    Attributes
    ----------
    partitions, offsets : ndarray of int64, shape (records,)
        Where each was stored.
    firsts, counts : ndarray of int64, shape (records,)
        The row that each began with, ascending, and its number of rows.
    crcs : ndarray of int64, shape (records,)
        CRC-32C of its key and value, see `deeptool.codec.records.checksum`.
    ends : sequence of tuple of int or None
    """

    partitions: Column
    offsets: Column
    firsts: Column
    counts: Column
    crcs: Column
    ends: Ends

    def __len__(self) -> int:
        return len(self.firsts)

    def write(self, path: Path) -> None:
        """Write them as an Arrow file, and return when it is on the disk.

        Raises
        ------
        OSError
            The disk is full, for example.
        """
        columns = (self.partitions, self.offsets, self.firsts, self.counts, self.crcs)
        arrays = [
            pa.array(column, field.type) for column, field in zip(columns, _SCHEMA, strict=False)
        ]
        ends = pa.array([one if one is None else list(one) for one in self.ends], _SCHEMA[-1].type)
        batch = pa.RecordBatch.from_arrays([*arrays, ends], schema=_SCHEMA)
        with open(path, "wb") as file:
            with pa.ipc.new_file(file, _SCHEMA) as writer:
                writer.write_batch(batch)
            file.flush()
            os.fsync(file.fileno())

    @classmethod
    def read(cls, path: Path) -> RecordList:
        """The list of such a file.

        Raises
        ------
        OSError, ValueError
            It cannot be read, or is something else.
        """
        with pa.OSFile(str(path)) as file, pa.ipc.open_file(file) as reader:
            if reader.schema != _SCHEMA:
                raise ValueError(f"{path} has other columns than a list of records")
            table = reader.read_all()
        partitions, offsets, firsts, counts, crcs = (
            table.column(name).to_numpy().astype(np.int64) for name in _SCHEMA.names[:-1]
        )
        ends = table.column("ends")
        kept: Ends = [None] * len(table)
        if ends.null_count < len(table):
            kept = [None if one is None else tuple(one) for one in ends.to_pylist()]
        return cls(partitions, offsets, firsts, counts, crcs, kept)

    def digests(self) -> dict[int, str]:
        """Per partition, what the catalog keeps of its records."""
        found: dict[int, str] = {}
        for partition in np.unique(self.partitions).tolist():
            inside = np.flatnonzero(self.partitions == partition)
            digest = Digest()
            for number in inside[np.argsort(self.offsets[inside], kind="stable")].tolist():
                digest.update(
                    int(self.firsts[number]), int(self.counts[number]), int(self.crcs[number])
                )
            found[partition] = digest.hexdigest()
        return found

    def differs(self, stored: EpochStored) -> str | None:
        """What tells it apart from what the catalog kept of the upload; None: nothing."""
        if int(self.counts.sum()) != stored.samples or len(self) != stored.records:
            return (
                f"{len(self)} records of {int(self.counts.sum())} samples, not {stored.records} "
                f"of {stored.samples}"
            )
        found = self.digests()
        kept = {partition: stored.digests[partition] for partition in found}
        return None if found == kept else "the digest is not that of the upload"

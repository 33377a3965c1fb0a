"""A third codec, as somebody would add one: NumPy's own zip archive."""

from __future__ import annotations

import io
import zipfile

import numpy as np

from deeptool.codec.spec import Spec
from deeptool.codec.values import Leaves, Ragged, Value
from deeptool.errors import WorkError


class NpzCodec:
    """Batches of numbers <-> ``.npz`` archives, an array a leaf, and one a ragged dimension."""

    name = "npz"
    samples_per_record: int | None = None
    graph_parser = None

    def __init__(self, spec: Spec) -> None:
        self.spec, self.columns = spec, len(spec.leaves)

    def to_record(self, leaves: Leaves) -> tuple[bytes | None, bytes]:
        arrays = {}
        for place, value in enumerate(leaves):
            ragged = isinstance(value, Ragged)
            arrays[f"{place}"] = value.flat_values if ragged else value
            for depth, splits in enumerate(value.row_splits if ragged else ()):
                arrays[f"{place}.{depth}"] = splits
        sink = io.BytesIO()
        np.savez(sink, **arrays)
        return None, sink.getvalue()

    def decode(self, value: bytes, key: bytes | None = None) -> Leaves:
        try:
            with np.load(io.BytesIO(value), allow_pickle=False) as found:
                arrays = dict(found)
            leaves: list[Value] = []
            for place, leaf in enumerate(self.spec.leaves):
                splits = tuple(arrays[f"{place}.{depth}"] for depth in range(leaf.ragged_rank))
                flat = arrays[f"{place}"]
                leaves.append(Ragged(flat, splits) if splits else flat)
        except (zipfile.BadZipFile, KeyError, OSError, ValueError, EOFError) as error:
            raise WorkError("a stored record is not an .npz archive", seen=str(error)) from error
        return tuple(leaves)

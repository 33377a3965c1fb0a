"""What it costs to store and to read samples: in records, by ``save()``, and by ``cache()``."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from deeptool.codec import make_codec
from deeptool.codec.records import pack
from deeptool.codec.spec import Spec
from deeptool.codec.tensors import leaves_from_tf
from deeptool.codec.values import Leaves, rows
from deeptool.pipelines.way_costs import best_cpu, way_costs

# Enough for timing, and little memory.
_BYTES = 16_000_000


@dataclass(frozen=True)
class SampleCosts:
    """Bytes and CPU seconds per sample, measured on some samples in this process.

    Attributes
    ----------
    samples : int
        That were measured.
    record_bytes : float
        Of keys and values, before compression.
    encode_seconds, decode_seconds : float
        Samples to records, and back.
    copy_seconds : float
        For copying the record's bytes once in memory: what reading and sending is a multiple of.
    cache_seconds : float
        For reading from ``cache()`` in memory.
    save_seconds, load_seconds : float or None
        For ``dataset.save()`` and ``Dataset.load()``; None where that failed.
    save_failed : str
        Why, if it did.
    """

    samples: int
    record_bytes: float
    encode_seconds: float
    decode_seconds: float
    copy_seconds: float
    cache_seconds: float
    save_seconds: float | None
    load_seconds: float | None
    save_failed: str = ""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def sample_costs(dataset: Any, spec: Spec, codec: str, seconds: float) -> SampleCosts:
    """Take the first samples of a pipeline, and store and read them in each way.

    Parameters
    ----------
    dataset : tf.data.Dataset
        Of at least one sample.
    spec : Spec
        Of the dataset.
    codec : str
        The name of the codec.
    seconds : float
        How long to take samples.

    Raises
    ------
    UserError
        The codec cannot store such samples.
    """
    made = make_codec(codec, spec)
    batches = _first(dataset, spec, seconds)
    count = sum(map(rows, batches))
    encode, records = best_cpu(lambda: list(pack(made, batches, upload="plan")), rounds=1)
    pairs = [(record.value, record.key) for record in records]
    size = sum(len(value) + len(key or b"") for value, key in pairs)
    block = np.zeros(_BYTES // 8)
    others = way_costs(dataset.take(len(batches)), count)
    per_byte = best_cpu(block.copy)[0] / block.nbytes
    return SampleCosts(
        samples=count,
        record_bytes=size / count,
        encode_seconds=encode / count,
        decode_seconds=best_cpu(lambda: [made.decode(*pair) for pair in pairs])[0] / count,
        copy_seconds=per_byte * size / count,
        cache_seconds=others.cache_seconds or 0.0,
        save_seconds=others.save_seconds,
        load_seconds=others.load_seconds,
        save_failed=others.failed,
    )


def _first(dataset: Any, spec: Spec, seconds: float) -> list[Leaves]:
    """The first batches, as many as there is time and memory for."""
    found: list[Leaves] = []
    size, deadline = 0, time.monotonic() + seconds
    for element in dataset:
        leaves = leaves_from_tf(element, spec)
        found.append(leaves)
        flat = (value if isinstance(value, np.ndarray) else value.flat_values for value in leaves)
        size += sum(value.nbytes for value in flat)
        if size >= _BYTES or time.monotonic() > deadline:
            break
    return found

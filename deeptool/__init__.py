"""Preprocess once, train many: tf.data samples in Kafka, read by every trial of a search.

`upload` stores a ``tf.data.Dataset``; `open` finds what is stored, and its ``tf()``, ``torch()`` or
``numpy()`` reads it back (`kafka_dataset` does both in one call, for TensorFlow); `train` runs a
trial. Each name is imported when it is first used: neither TensorFlow nor a Kafka client is loaded
before.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    # For editors and type checkers, which do not run `__getattr__`.
    from deeptool.catalog.stored import NotComplete as NotComplete
    from deeptool.catalog.stored import NotStored as NotStored
    from deeptool.codec.values import Ragged as Ragged
    from deeptool.errors import UserError as UserError
    from deeptool.errors import WorkError as WorkError
    from deeptool.producer.upload import upload as upload
    from deeptool.producer.upload_request import Provenance as Provenance
    from deeptool.reader import StoredDataset as StoredDataset
    from deeptool.reader import kafka_dataset as kafka_dataset
    from deeptool.reader import open as open
    from deeptool.store.read_meter import ReadMeter as ReadMeter
    from deeptool.training import TrialResult as TrialResult
    from deeptool.training import train as train

# Where each name is; the imports above say the same.
_PUBLIC = {
    "NotComplete": "deeptool.catalog.stored",
    "NotStored": "deeptool.catalog.stored",
    "Provenance": "deeptool.producer.upload_request",
    "Ragged": "deeptool.codec.values",
    "ReadMeter": "deeptool.store.read_meter",
    "StoredDataset": "deeptool.reader",
    "TrialResult": "deeptool.training",
    "UserError": "deeptool.errors",
    "WorkError": "deeptool.errors",
    "kafka_dataset": "deeptool.reader",
    "open": "deeptool.reader",
    "train": "deeptool.training",
    "upload": "deeptool.producer.upload",
}
__all__ = [
    "NotComplete",
    "NotStored",
    "Provenance",
    "Ragged",
    "ReadMeter",
    "StoredDataset",
    "TrialResult",
    "UserError",
    "WorkError",
    "kafka_dataset",
    "open",
    "train",
    "upload",
]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'deeptool' has no attribute {name!r}")
    return getattr(importlib.import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

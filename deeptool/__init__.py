"""Preprocess once, train many: tf.data samples in Kafka, read by every trial of a search.

`upload` stores a ``tf.data.Dataset``, `kafka_dataset` reads it back as one, `train` runs a trial.
TensorFlow is imported when one of them is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from deeptool.producer import upload as upload
    from deeptool.reader import kafka_dataset as kafka_dataset
    from deeptool.training import TrialResult as TrialResult
    from deeptool.training import train as train

_PUBLIC = {
    "upload": "deeptool.producer",
    "kafka_dataset": "deeptool.reader",
    "train": "deeptool.training",
    "TrialResult": "deeptool.training",
}
__all__ = ["TrialResult", "kafka_dataset", "train", "upload"]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'deeptool' has no attribute {name!r}")
    return getattr(importlib.import_module(_PUBLIC[name]), name)

"""Ours without TensorFlow: passes by `numpy`, and filling a local copy."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from bench.contenders import Contender, Context, Pass, Timed, Work
from bench.ours import (
    NO_COPY,
    SHUFFLED,
    copies,
    from_broker,
    from_copy,
    numpy_labels,
    opened,
)

_REMOVE_SECONDS = 10.0


def contenders(context: Context) -> Mapping[str, Contender]:
    """Offer what is ours with NumPy; the samples are stored before."""
    data = opened(context)
    epochs = filling = None
    if copies():
        epochs = Pass(partial(_labels, context, from_copy(context.folder("copy")), data))
        filling = Work(partial(_fill, context))
    return {
        "broker in order, numpy": Pass(partial(_labels, context, from_broker(), data)),
        "broker shuffled, numpy": Pass(partial(_labels, context, from_broker(**SHUFFLED), data)),
        "filling a copy": filling or NO_COPY,
        "later epochs, numpy": epochs or NO_COPY,
    }


def _labels(context: Context, options: Mapping[str, Any], data: Any, number: int) -> Any:
    return numpy_labels(context, number, options, data)


def _fill(context: Context, number: int) -> Timed:
    """Pass 0 of a node that has no copy: its samples come from the broker, and a copy stays."""
    folder = context.folder("filled")
    options = {**SHUFFLED, "cache": str(folder), "order": "windowed"}
    began = time.perf_counter()
    samples = sum(len(labels) for labels in numpy_labels(context, 0, options))
    seconds = time.perf_counter() - began
    _remove(folder)
    return Timed(samples, seconds)


def _remove(folder: Path) -> None:
    """Remove a copy that a thread may just be making safe: files come and go meanwhile."""
    deadline = time.monotonic() + _REMOVE_SECONDS
    while folder.exists():
        shutil.rmtree(folder, ignore_errors=time.monotonic() < deadline)

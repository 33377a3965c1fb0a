"""The state of the random number generators that a program shares with what it calls."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np


@contextmanager
def kept_random_state() -> Iterator[None]:
    """Put the generators of Python, NumPy and TensorFlow back as they were before the block.

    A trial seeds them by its random_seed. A program that draws the hparams of its trials one after
    the other would otherwise draw the same ones for ever.
    """
    python, array = random.getstate(), np.random.get_state()
    context = _tensorflow_context()
    before = None if context is None else (context._seed, context._rng)
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(array)
        context = _tensorflow_context()
        if context is not None:
            context._seed, context._rng = before or (None, None)


def _tensorflow_context() -> Any:
    """Where TensorFlow keeps its global seed, for which it has no getter; None where it is not."""
    if "tensorflow" not in sys.modules:
        return None
    from tensorflow.python.eager import context

    found = context.context()
    return found if hasattr(found, "_seed") and hasattr(found, "_rng") else None

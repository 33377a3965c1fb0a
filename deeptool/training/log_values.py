"""What Keras logs at the end of an epoch, as far as it can be a column or a curve."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import numpy as np


def one_number_each(logs: Mapping[str, Any] | None) -> dict[str, float]:
    """The log values that are one number each."""
    numbers = {}
    for name, value in (logs or {}).items():
        # Keras hands on whatever a metric returns: a number a class, a text, None.
        if not isinstance(value, (str, bytes)):
            with suppress(TypeError, ValueError):
                numbers[str(name)] = float(np.array(value).item())
    return numbers

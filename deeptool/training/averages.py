"""Moving averages of the weights: validated and exported instead of the weights themselves."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np


class Averages(keras.callbacks.Callback):  # type: ignore[misc]
    """Validation sees the moving averages of the weights that the optimizer keeps.

    Notes
    -----
    Polyak-Ruppert averaging as Keras' optimizers have it (``use_ema``): B. T. Polyak and
    A. B. Juditsky, "Acceleration of stochastic approximation by averaging", SIAM J. Control Optim.
    30(4), 1992.
    """

    def __init__(self, optimizer: Any) -> None:
        super().__init__()
        self._optimizer = optimizer

    def on_test_begin(self, logs: Any = None) -> None:
        self._swap()

    def on_test_end(self, logs: Any = None) -> None:
        self._swap()

    @contextmanager
    def in_model(self) -> Iterator[None]:
        """The model has its averaged weights within."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def _swap(self) -> None:
        averages = self._optimizer._model_variables_moving_average
        for variable, average in zip(self.model.trainable_variables, averages, strict=True):
            if average is not None:
                value = np.array(variable)
                variable.assign(average)
                average.assign(value)

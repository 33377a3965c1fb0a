"""What TensorBoard shows of a trial."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from deeptool.training.log_values import one_number_each

# Batches begin, ..., end - 1 of the first epoch: the ones before trace and compile.
PROFILED = (5, 15)


class Board(keras.callbacks.Callback):  # type: ignore[misc]
    """Writes each epoch's metrics, and a profile of a few batches, as Keras' own callback does.

    That one also writes each batch's metrics, for which every step has to be waited for.

    Parameters
    ----------
    folder : Path
        ``train`` and ``validation`` are made in it.
    profile : bool
        Whether to profile batches of the first epoch.
    """

    def __init__(self, folder: Path, profile: bool) -> None:
        super().__init__()
        self._folder, self._profile = folder, profile
        self._profiling = False
        self._writers: dict[str, Any] = {}

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        if self._profile and batch == PROFILED[0]:
            tf.profiler.experimental.start(str(self._folder))
            self._profile, self._profiling = False, True
        elif self._profiling and batch == PROFILED[1]:
            self._stop()

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        self._stop()
        for name, value in one_number_each(logs).items():
            writer = self._writer("validation" if name.startswith("val_") else "train")
            with writer.as_default():
                tf.summary.scalar(f"epoch_{name.removeprefix('val_')}", value, step=epoch)
        for writer in self._writers.values():
            writer.flush()

    def on_train_end(self, logs: Any = None) -> None:
        self._stop()
        for writer in self._writers.values():
            writer.close()

    def _writer(self, name: str) -> Any:
        if name not in self._writers:
            self._writers[name] = tf.summary.create_file_writer(str(self._folder / name))
        return self._writers[name]

    def _stop(self) -> None:
        if self._profiling:
            self._profiling = False
            tf.profiler.experimental.stop()

"""Resume inside an epoch: `fit` trains on the rest of one as if the same process had begun it.

A position is an epoch and its batch. One `fit` of Keras begins there, whose first epoch is shorter
than the others. Two calls of `fit` would not do: the end of each overwrites the weights with their
moving averages.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from deeptool.training import checkpoint
from deeptool.training.callbacks import Keeper
from deeptool.training.trial_data import TrialData


class WholeEpochs(keras.callbacks.CallbackList):  # type: ignore[misc]
    """The callbacks of a `fit` whose first epoch may have been begun by an earlier process.

    They see whole epochs: batches keep their numbers, and metrics count all of them. Keras hands
    everything to this list, and the list to each callback.

    Parameters
    ----------
    keeper : Keeper
        Writes the checkpoints.
    resumed : Checkpoint or None
        Where the trial resumes.
    every : float
        Seconds of training between checkpoints; 0: none inside an epoch.
    options
        As `keras.callbacks.CallbackList` takes them.
    """

    def __init__(
        self,
        callbacks: Sequence[Any],
        data: TrialData,
        keeper: Keeper,
        resumed: checkpoint.Checkpoint | None,
        every: float,
        **options: Any,
    ) -> None:
        self._data, self._keeper, self._resumed, self._every = data, keeper, resumed, every
        self._planned: int | None = None
        self._before = 0
        self._cut = False
        super().__init__(callbacks, **options)

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        super().on_epoch_begin(epoch, logs)
        self._planned = self._data.planned(epoch)
        self._before = self._data.clock.batch
        if self._before and self._resumed is not None:
            # Only now: Keras has reset the metrics, and callbacks may have changed variables as
            # they did when the epoch began (a learning rate that each epoch multiplies).
            checkpoint.restore(self.model, self._resumed)

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        super().on_train_batch_begin(batch + self._before, logs)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        done = batch + self._before + 1
        super().on_train_batch_end(done - 1, logs)
        # Its iterator has begun: later ones, which callbacks may make, are of whole epochs.
        self._data.clock.batch = 0
        if self._planned is None or self.model.stop_training:
            return
        if done >= self._planned:
            # Keras would ask for as many batches as in other epochs. Where the data end instead, it
            # has told callbacks of a batch that never comes, and drops an iterator of many epochs.
            self._cut = self.model.stop_training = True
        elif self._possible and self._keeper.due(self._every):
            self._keeper.keep_position(done, self._data.order)

    @property
    def _possible(self) -> bool:
        # The metrics of an eager model have no variables before its first batch.
        wanted = self._every > 0 and self._data.order is not None
        return wanted and not self.model.run_eagerly

    def on_test_begin(self, logs: Any = None) -> None:
        self._go_on()
        super().on_test_begin(logs)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self._go_on()
        super().on_epoch_end(epoch, logs)

    def _go_on(self) -> None:
        """Before any callback could see that training was to stop, or not see the last batch."""
        # With JAX, Keras calls on_train_batch_end of `async_safe` callbacks in its own threads.
        for future in list(self._futures):
            future.result()
        if self._cut:
            self._cut = self.model.stop_training = False

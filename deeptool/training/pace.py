"""How far a trial is: the epoch and batch that it is in, shown to whoever watches."""

from __future__ import annotations

import time
from typing import Any

import keras

from deeptool.errors import WorkError
from deeptool.termination import RememberedSignals
from deeptool.training.display import Display
from deeptool.training.log_values import one_number_each
from deeptool.training.result import finite
from deeptool.training.session_folder import SessionFolder
from deeptool.training.trial_data import TrialData

_SECONDS_BETWEEN_SHOWS = 0.5


class Pace(keras.callbacks.Callback):  # type: ignore[misc]
    """Says which epoch is read, shows how far it is, and sees to it that none comes out short.

    The first of all callbacks: an iterator asks for the epoch right after.

    Parameters
    ----------
    before : float
        Seconds that earlier processes spent in the epoch that the trial resumes in.

    Attributes
    ----------
    kept_batches : int
        How many batches of the epoch are in a checkpoint.
    """

    # Keras may call on_*_batch_end from a thread of its own, and need not wait for each batch.
    async_safe = True

    def __init__(
        self,
        data: TrialData,
        epochs: int,
        session: SessionFolder,
        display: Display,
        signals: RememberedSignals,
        before: float = 0.0,
    ) -> None:
        super().__init__()
        self._data, self._epochs, self._before = data, epochs, before
        self._session, self._display, self._signals = session, display, signals
        self._first = self._epoch = data.clock.epoch
        self._steps = self._validated = self._skipped = 0
        self.kept_batches = data.clock.batch
        self._validating = False
        self._total = data.planned(0)
        self._begun = self._shown = 0.0
        self._metrics: dict[str, float | None] = {}

    @property
    def seconds(self) -> float:
        """Since the epoch began, without the time between processes."""
        return time.monotonic() - self._begun + self._before

    @property
    def begun(self) -> bool:
        """Whether a batch was trained on, in this process."""
        return self._steps > self._skipped or self._epoch > self._first

    def how_far(self) -> str:
        """When something fails now, in words."""
        done = f"in epoch {self._epoch + 1}, after {self._steps} batch{'es' * (self._steps != 1)}"
        if self._validating:
            return f"{done} and {self._validated} of validation"
        return done

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._data.clock.enter(epoch)
        self._epoch, self._validated = epoch, 0
        self._steps = self._skipped = self.kept_batches = self._data.clock.batch
        if epoch != self._first:
            self._before = 0.0
        planned = self._data.planned(epoch)
        # One dict for all callbacks: epochs may differ, and this one is the first to be called.
        self.params["steps"] = planned
        self._total = planned or self._total
        self._begun = time.monotonic()
        self._display.begin(epoch + 1, self._epochs, self._total)
        self._show(epoch)

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        self._signals.check()
        if time.monotonic() - self._shown >= _SECONDS_BETWEEN_SHOWS:
            self._display.step(self._steps)
            self._show(self._epoch)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self._steps = max(self._steps, batch + 1)

    def on_test_begin(self, logs: Any = None) -> None:
        self._check_steps()
        self._validated, self._validating = 0, True

    def on_test_batch_begin(self, batch: int, logs: Any = None) -> None:
        self._signals.check()

    def on_test_batch_end(self, batch: int, logs: Any = None) -> None:
        self._validated = max(self._validated, batch + 1)

    def on_test_end(self, logs: Any = None) -> None:
        self._validating = False
        if not self._validated:
            raise WorkError(
                "there is nothing to validate on",
                seen="0 batches",
                next_step="check the validation set: its pipeline yields nothing",
            )

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self._check_steps()
        if self._data.arrival is not None:
            self._data.arrival.check()
        self._total, self.kept_batches = self._steps, 0
        self._metrics = finite(one_number_each(logs))
        if epoch + 1 == self._epochs or self.model.stop_training:
            self._shown = 0.0
        self._show(epoch + 1)

    def _check_steps(self) -> None:
        wanted = self._data.steps
        cut_short = wanted and self._steps < wanted and not self.model.stop_training
        if self._steps == 0 or cut_short:
            raise WorkError(
                f"epoch {self._epoch + 1} had too few batches to train on",
                seen=self._steps,
                valid=str(wanted or "at least 1"),
                next_step="check the training set: it yields fewer batches than it declares",
            )

    def _show(self, epochs_done: int) -> None:
        now = time.monotonic()
        if now - self._shown >= _SECONDS_BETWEEN_SHOWS:
            self._shown = now
            self._session.show(
                "training",
                epoch=epochs_done,
                epochs=self._epochs,
                step=self._steps,
                steps=self._total,
                kept_batches=self.kept_batches,
                metrics=self._metrics,
            )

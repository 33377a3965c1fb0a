"""What happens around the epochs of a trial: counting, averaging, keeping."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from deeptool.codec.values import Array
from deeptool.errors import WorkError
from deeptool.termination import RememberedSignals
from deeptool.training import checkpoint
from deeptool.training.averages import Averages
from deeptool.training.display import Display
from deeptool.training.history import History
from deeptool.training.log_values import one_number_each
from deeptool.training.result import Usage, finite
from deeptool.training.session_folder import SessionFolder
from deeptool.training.trial_data import TrialData

# What Keras' own callbacks learn while they train (EarlyStopping, ReduceLROnPlateau,
# ModelCheckpoint): forgotten when training begins, so put back after that.
LEARNED = ("wait", "best", "best_epoch", "stopped_epoch", "cooldown_counter")
# At most this part of the time goes into writing checkpoints: short epochs share one.
WRITING = 0.1
# What Keras calls the loss that it minimizes, and the same of the validation.
LOSSES = ("loss", "val_loss")
_SECONDS_BETWEEN_SHOWS = 0.5


class Pace(keras.callbacks.Callback):  # type: ignore[misc]
    """Says which epoch is read, shows how far it is, and sees to it that none comes out short.

    The first of all callbacks: an iterator asks for the epoch right after.
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
    ) -> None:
        super().__init__()
        self._data, self._epochs = data, epochs
        self._session, self._display, self._signals = session, display, signals
        self._first = self._epoch = data.clock.epoch
        self._steps = self._validated = 0
        self._validating = False
        self._total = data.planned(0)
        self._begun = self._shown = 0.0
        self._metrics: dict[str, float | None] = {}

    @property
    def seconds(self) -> float:
        """Since the epoch began."""
        return time.monotonic() - self._begun

    @property
    def begun(self) -> bool:
        """Whether a batch was trained on."""
        return bool(self._steps) or self._epoch > self._first

    def how_far(self) -> str:
        """When something fails now, in words."""
        done = f"in epoch {self._epoch + 1}, after {self._steps} batch{'es' * (self._steps != 1)}"
        if self._validating:
            return f"{done} and {self._validated} of validation"
        return done

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._data.clock.epoch = self._epoch = epoch
        self._steps = self._validated = 0
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
        self._total = self._steps
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
                metrics=self._metrics,
            )


class Keeper(keras.callbacks.Callback):  # type: ignore[misc]
    """Keeps what has to outlive the process: history, best weights, checkpoints.

    The last of all callbacks: the others have learned from the epoch by then.

    Parameters
    ----------
    others : sequence of keras.callbacks.Callback
        Those whose state goes into the checkpoint.
    averages : Averages or None
        Puts in place the weights that were validated.
    resumed : Checkpoint or None
        Where the trial resumes.
    monitor : str
        The loss whose smallest value makes an epoch the best one.

    Attributes
    ----------
    epochs_run : int
        How many epochs ended.
    final : dict of str to float
        The metrics of the last one.
    best_epoch : int or None
        From 1.
    best : dict of str to float
        Its metrics.
    best_values : list of ndarray or None
        The model's variables as they were validated then.
    diverged : str or None
        Which loss is no finite number any more, and since when. Training ends by that.
    """

    def __init__(
        self,
        session: SessionFolder,
        history: History,
        display: Display,
        pace: Pace,
        others: Sequence[Any],
        averages: Averages | None,
        resumed: checkpoint.Checkpoint | None,
        usage: Any,
        epochs: int,
        monitor: str,
    ) -> None:
        super().__init__()
        self._monitor, self._unshown = monitor, False
        self._session, self._history, self._display = session, history, display
        self._pace, self._others, self._averages = pace, others, averages
        self._usage, self._epochs = usage, epochs
        state = resumed.state if resumed else {}
        self._learned: dict[str, dict[str, Any]] = state.get("learned", {})
        self.best_epoch: int | None = state.get("best_epoch")
        self.best: dict[str, float] = state.get("best", {})
        self.final: dict[str, float] = state.get("final", {})
        self.best_values: list[Array] | None = resumed.best if resumed else None
        self.diverged: str | None = None
        self.epochs_run = resumed.epoch if resumed else 0
        self._saved = time.monotonic()
        self._took = 0.0

    def on_train_begin(self, logs: Any = None) -> None:
        for name, callback in _named(self._others):
            vars(callback).update(self._learned.get(name, {}))

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        metrics = one_number_each(logs)
        self._check_logs(metrics, logs or {})
        metrics.pop("learning_rate", None)
        seconds = self._pace.seconds
        self._history.add(epoch + 1, {**metrics, **_learning_rate(self.model)}, seconds)
        self.epochs_run = epoch + 1
        self.final = metrics
        self._display.end(epoch + 1, self._epochs, metrics, seconds)
        self.diverged = _divergence(metrics, self._monitor, epoch + 1)
        if self.diverged is not None:
            # The weights are spoilt: neither a checkpoint nor another epoch is worth anything.
            self.model.stop_training = True
            return
        self._keep_best(epoch + 1)
        last = epoch + 1 == self._epochs or self.model.stop_training
        if last or (time.monotonic() - self._saved) * WRITING >= self._took:
            self._save(epoch + 1)

    def _check_logs(self, metrics: Mapping[str, float], logs: Mapping[str, Any]) -> None:
        if self._monitor not in metrics and self.best_epoch is None:
            raise WorkError(
                "monitored_loss_name names nothing that is logged as one number",
                seen=self._monitor,
                valid=", ".join(metrics),
                next_step="correct it in the settings file",
            )
        left_out = [str(name) for name in logs if str(name) not in metrics]
        if left_out and not self._unshown:
            self._unshown = True
            self._display.say(
                f"{', '.join(left_out)}: no single number, so not in history.csv or the curves"
            )

    def _keep_best(self, epoch: int) -> None:
        value = self.final.get(self._monitor, math.nan)
        if math.isfinite(value) and value < self.best.get(self._monitor, math.inf):
            self.best_epoch, self.best = epoch, self.final
            if self._averages is None:
                self.best_values = checkpoint.values_of(self.model.variables)
            else:
                with self._averages.in_model():
                    self.best_values = checkpoint.values_of(self.model.variables)

    def _save(self, epoch: int) -> None:
        begun = time.monotonic()
        self._history.sync()
        usage: Usage = self._usage()
        state = {
            "best_epoch": self.best_epoch,
            "best": self.best,
            "final": self.final,
            "stopped": bool(self.model.stop_training),
            "usage": vars(usage),
            "learned": {name: _learned(callback) for name, callback in _named(self._others)},
        }
        variables = checkpoint.values_of(checkpoint.variables_of(self.model))
        checkpoint.save(
            self._session.checkpoints,
            checkpoint.Checkpoint(epoch, variables, self.best_values, state),
        )
        self._saved = time.monotonic()
        self._took = self._saved - begun


def _divergence(metrics: Mapping[str, float], monitor: str, epoch: int) -> str | None:
    """What to say where a loss is NaN or infinite. A metric may be: it does not train anything."""
    losses = [name for name in LOSSES if name in metrics] or [monitor]
    for name in losses:
        value = metrics.get(name, 0.0)
        if not math.isfinite(value):
            return f"diverged: {name} was {value} in epoch {epoch}"
    return None


def _learning_rate(model: Any) -> dict[str, float]:
    rate = getattr(model.optimizer, "learning_rate", None)
    return {} if rate is None else {"learning_rate": float(np.array(rate))}


def _named(callbacks: Sequence[Any]) -> Iterator[tuple[str, Any]]:
    """Each by its class, numbered among those of the same."""
    seen: Counter[str] = Counter()
    for callback in callbacks:
        kind = type(callback).__name__
        yield f"{kind} {seen[kind]}", callback
        seen[kind] += 1


def _learned(callback: Any) -> dict[str, Any]:
    values = {name: vars(callback)[name] for name in LEARNED if name in vars(callback)}
    return {
        name: value if value is None or isinstance(value, (bool, int)) else float(value)
        for name, value in values.items()
        if value is None or isinstance(value, (int, float, np.number))
    }

"""What a trial keeps of its epochs: history, best weights, checkpoints."""

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
from deeptool.training import checkpoint, keras_backend
from deeptool.training.averages import Averages
from deeptool.training.checkpoint_writer import CheckpointWriter
from deeptool.training.display import Display
from deeptool.training.history import History
from deeptool.training.log_values import one_number_each
from deeptool.training.pace import Pace
from deeptool.training.result import Usage
from deeptool.training.session_folder import SessionFolder

# What Keras' own callbacks learn while they train (EarlyStopping, ReduceLROnPlateau,
# ModelCheckpoint): forgotten when training begins, so put back after that.
LEARNED = ("wait", "best", "best_epoch", "stopped_epoch", "cooldown_counter")
# At most this part of the time goes into writing checkpoints: short epochs share one.
WRITING = 0.1
# What Keras calls the loss that it minimizes, and the same of the validation.
LOSSES = ("loss", "val_loss")


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
        self._writer = CheckpointWriter(session.checkpoints)
        self._saved = time.monotonic()
        self._took = 0.0

    def close(self) -> None:
        """Wait until what is being written is on the disk.

        Raises
        ------
        OSError
            It could not be written.
        """
        self._writer.close()

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
        if epoch + 1 == self._epochs or self.model.stop_training or self.due():
            self._save(epoch + 1)

    @property
    def stopped(self) -> str | None:
        """Why training ended before the last epoch; None where it did not, or diverged."""
        if self.diverged is not None or self.epochs_run >= self._epochs:
            return None
        for name, each in _named(self._others):
            if not isinstance(each, keras.callbacks.EarlyStopping):
                continue
            # Where an earlier process had stopped, this one has not trained.
            learned = vars(each) if each.stopped_epoch else self._learned.get(name, {})
            if learned.get("stopped_epoch"):
                return (
                    f"stopped early: no better {each.monitor} than in epoch"
                    f" {learned['best_epoch'] + 1} for {each.patience} epochs"
                )
        return "stopped early, by a callback"

    @property
    def kept_batches(self) -> int:
        """How many batches of the epoch after `epochs_run` are in a checkpoint."""
        return self._pace.kept_batches

    def due(self, every: float = 0.0) -> bool:
        """Whether it is time for a checkpoint: `every` seconds after the last one, or later."""
        if every and self._writer.busy:
            return False
        return time.monotonic() - self._saved >= max(every, self._took / WRITING)

    def keep_position(self, batch: int, order: Mapping[str, Any] | None) -> None:
        """Have a checkpoint written inside the epoch, after so many of its batches.

        Parameters
        ----------
        order : mapping or None
            `deeptool.training.trial_data.TrialData.order`: the batches are the same in no other.
        """
        keras_backend.put_variables_back(self.model)
        inside = {"order": order, "seconds": self._pace.seconds}
        self._save(self.epochs_run, batch, inside)
        self._pace.kept_batches = batch

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

    def _save(self, epoch: int, batch: int = 0, inside: Mapping[str, Any] | None = None) -> None:
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
            **(inside or {}),
        }
        variables = checkpoint.values_of(checkpoint.variables_of(self.model))
        metrics = checkpoint.values_of(checkpoint.metrics_of(self.model)) if batch else []
        kept = checkpoint.Checkpoint(epoch, variables, self.best_values, state, batch, metrics)
        if batch:
            self._writer.begin(kept)
        else:
            self._writer.write(kept)
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

"""The training loop of a trial: `keras.Model.fit` between the callbacks that it needs."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras

from deeptool.errors import UserError
from deeptool.settings import Settings
from deeptool.termination import RememberedSignals
from deeptool.training import failures
from deeptool.training.averages import Averages
from deeptool.training.board import Board
from deeptool.training.callbacks import Keeper
from deeptool.training.checkpoint import Checkpoint
from deeptool.training.display import Display
from deeptool.training.history import History
from deeptool.training.model import Compiled
from deeptool.training.pace import Pace
from deeptool.training.refusals import place_of_loss, refused_at_first
from deeptool.training.result import Usage
from deeptool.training.resume_in_epoch import WholeEpochs
from deeptool.training.session_folder import SessionFolder
from deeptool.training.trial_data import TrialData, to_its_end

# Keras takes metrics with these in their names for such, too.
_THE_LARGER_THE_BETTER = ("acc", "auc")


def prepare(
    settings: Settings,
    compiled: Compiled,
    callbacks: Sequence[Any],
    data: TrialData,
    session: SessionFolder,
    display: Display,
    signals: RememberedSignals,
    resumed: Checkpoint | None,
    usage: Callable[[], Usage],
) -> tuple[Keeper, Callable[[], None]]:
    """What keeps the trial's progress, and the function that trains.

    Parameters
    ----------
    callbacks : sequence of keras.callbacks.Callback
        Those of the settings file.
    resumed : Checkpoint or None
        Where the trial resumes; its variables are in the model.
    usage : callable
        What the trial took so far, for the checkpoints.

    Raises
    ------
    UserError
        monitored_loss_name is no loss.
    """
    model = compiled.model
    first = resumed.epoch if resumed else 0
    monitor = settings.monitored_loss_name
    if any(word in monitor.lower() for word in _THE_LARGER_THE_BETTER):
        raise UserError(
            "monitored_loss_name names no loss",
            seen=monitor,
            valid="a value of which the smallest is the best, such as val_loss",
        )
    before = resumed.state["seconds"] if resumed and resumed.batch else 0.0
    pace = Pace(data, settings.nbEpoch, session, display, signals, before)
    averages = Averages(compiled.averaging) if compiled.averaging is not None else None
    others = [
        *([compiled.schedule] if compiled.schedule is not None else []),
        *callbacks,
        *_early_stopping(monitor, settings.early_stopping_patience),
    ]
    history = History(session.history, first)
    keeper = Keeper(
        session,
        history,
        display,
        pace,
        others,
        averages,
        resumed,
        usage,
        settings.nbEpoch,
        monitor,
    )
    together = [
        pace,
        *([averages] if averages is not None else []),
        *others,
        Board(session.logs, settings.use_profiling),
        keeper,
    ]

    told = WholeEpochs(
        together,
        data,
        keeper,
        resumed,
        settings.checkpoint_seconds,
        add_history=True,
        model=model,
        verbose=0,
        epochs=settings.nbEpoch,
        steps=data.planned(first),
    )
    counts = {data.planned(epoch) for epoch in range(first, settings.nbEpoch)}
    # Keras keeps to one number of batches for all epochs.
    train = data.train if len(counts) == 1 and None not in counts else to_its_end(data.train)
    folders = (settings.path.parent, settings.model_path.parent)

    def fit() -> None:
        with (
            failures.told(folders, pace.how_far, lambda error: place_of_loss(error, settings)),
            refused_at_first(settings, model, data.train.element_spec, lambda: pace.begun),
            data.meter.raising(),
            _data_may_run_out(),
            _written_to_the_end(keeper),
        ):
            model.fit(
                train,
                validation_data=data.val,
                initial_epoch=first,
                epochs=settings.nbEpoch,
                steps_per_epoch=data.steps,
                callbacks=told,
                verbose=0,
            )

    return keeper, fit


def _early_stopping(monitor: str, patience: int) -> list[Any]:
    if not patience:
        return []
    return [keras.callbacks.EarlyStopping(monitor, patience=patience, mode="min")]


@contextlib.contextmanager
def _written_to_the_end(keeper: Keeper) -> Iterator[None]:
    """The last checkpoint is on the disk before anybody else may resume the trial."""
    try:
        yield
    except BaseException:
        # What ended the training is what to tell.
        with contextlib.suppress(OSError):
            keeper.close()
        raise
    keeper.close()


@contextlib.contextmanager
def _data_may_run_out() -> Iterator[None]:
    """That is how an epoch ends whose length Keras was not told; `Pace` checks what it had."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*ran out of data")
        yield

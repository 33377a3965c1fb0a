"""The model of a trial: built, compiled, and exported as the settings ask."""

from __future__ import annotations

import contextlib
import inspect
import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras

from deeptool.errors import UserError
from deeptool.settings import Settings
from deeptool.training import keras_backend, saved_model
from deeptool.training.refusals import refused, shown_place
from deeptool.training.session_folder import remove

EMA_MOMENTUM = 0.99


@dataclass(frozen=True)
class Compiled:
    """A model, ready to be trained.

    Attributes
    ----------
    model : keras.Model
    schedule : keras.callbacks.Callback or None
        Sets the learning rate where the settings give it as a function of the epoch.
    averaging : keras.optimizers.Optimizer or None
        The optimizer that keeps moving averages of the weights.
    """

    model: Any
    schedule: Any
    averaging: Any


def compiled(settings: Settings, model: Any) -> Compiled:
    """Compile a model with the settings' loss, optimizer and metrics.

    Raises
    ------
    UserError
        get_learningRate returns what is no learning rate, or Keras refuses what the others return.
    """
    loss = settings.get_total_loss(model)
    rate, schedule = learning_rate(settings.get_learningRate())
    optimizer = settings.get_optimizer(model, loss, rate)
    metrics = settings.get_metrics(model, loss)
    weights = settings.get_loss_weights
    arguments = {
        "optimizer": optimizer,
        "loss": loss,
        "loss_weights": None if weights is None else weights(),
        "metrics": ([metrics] if isinstance(metrics, str) else metrics) or None,
        # Keras' own default is XLA wherever it can.
        "jit_compile": keras_backend.jit_compile(settings.useXLA),
    }
    _check_signature(model, arguments)
    with refused(settings, model):
        model.compile(**arguments)
    averaging = None
    if settings.weights_moving_averages:
        averaging = getattr(model.optimizer, "inner_optimizer", model.optimizer)
        averaging.use_ema, averaging.ema_momentum = True, EMA_MOMENTUM
    return Compiled(model, schedule, averaging)


def _check_signature(model: Any, arguments: Mapping[str, Any]) -> None:
    """Raise where a class has a ``compile`` of its own that does not take what Keras' takes."""
    signature = inspect.signature(model.compile)
    try:
        signature.bind(**arguments)
    except TypeError as error:
        raise UserError(
            f"compile() of the model's class {type(model).__name__} cannot be called: {error}",
            seen=f"{shown_place(type(model).compile)}, which takes {signature}",
            valid=f"a function of {', '.join(arguments)}, as keras.Model.compile",
            next_step="let it take them, or **kwargs; what else the model needs, its __init__ can"
            " take",
        ) from error


def learning_rate(given: Any) -> tuple[Any, Any]:
    """What the optimizer gets, and a callback that changes it.

    Parameters
    ----------
    given : number, keras.optimizers.schedules.LearningRateSchedule or callable
        A callable is asked for the rate of each epoch, from 0; as in
        keras.callbacks.LearningRateScheduler.

    Raises
    ------
    UserError
        It is none of them.
    """
    if isinstance(given, keras.optimizers.schedules.LearningRateSchedule):
        return given, None
    if callable(given) and not isinstance(given, (type, keras.callbacks.Callback)):
        return float(given(0)), keras.callbacks.LearningRateScheduler(given)
    try:
        return float(given), None
    except (TypeError, ValueError) as error:
        raise UserError(
            "get_learningRate returns no learning rate",
            seen=repr(given),
            valid="a number, a LearningRateSchedule, or a function of the epoch "
            "(callbacks belong into addon_callbacks)",
        ) from error


def export(
    model: Any, elements: Any, rebuild: Callable[[], Any] | None, folder: Path
) -> Iterator[str]:
    """Write the model as ``model.keras`` and as a SavedModel in ``saved_model/``.

    Parameters
    ----------
    elements : structure of tf.TypeSpec
        Of the batches that it was trained with.
    rebuild : callable or None
        Makes the same model without the variables of several devices, where these are such.

    Yields
    ------
    str
        What could not be written, and why: the weights are in the checkpoints in any case.

    Raises
    ------
    OSError
        The disk is full, or the like.
    """
    if rebuild is not None:
        single = rebuild()
        single.set_weights(model.get_weights())
        model = single
    for path in (folder / "model.keras", folder / "saved_model"):
        remove(path)
        try:
            with _quiet():
                if path.suffix:
                    model.save(path)
                else:
                    saved_model.write(model, elements, path)
        except OSError:
            raise
        except Exception as error:
            remove(path)
            reason = next(iter(str(error).splitlines()), "")
            yield f"no {path.name} was written: {type(error).__name__}: {reason}"


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without TensorFlow's messages about the assets that it writes."""
    logger = logging.getLogger("tensorflow")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)

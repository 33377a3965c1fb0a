"""Keras' own training and validation step, traced before the first epoch, without any data.

What Keras takes is for Keras to say: nothing here looks at a model or a dataset itself.
"""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from deeptool.settings import Settings
from deeptool.training import keras_backend
from deeptool.training.refusals import STEPS, refused
from deeptool.training.trial_data import TrialData


def rehearse(model: Any, data: TrialData, settings: Settings, callbacks: Sequence[Any]) -> None:
    """Have Keras trace both steps of a compiled model for the elements of its datasets.

    All variables are made by that, of the optimizers and metrics too. None changes, no random
    number is drawn and no sample is read. ``fit`` goes on with the functions that were traced here,
    unless a callback of the user's own could change the model before the first batch.

    Where Keras computes with another library than TensorFlow, nothing is traced: `build` of
    `keras_backend` makes the variables, and checks that the parts fit together.

    A model that runs eagerly has nothing to trace: only its variables are made, from one batch.

    Parameters
    ----------
    callbacks : sequence of keras.callbacks.Callback
        Those of the settings file.

    Raises
    ------
    UserError
        Keras refuses the model, its loss, metrics or optimizer, or them on such elements.
    """
    if not keras_backend.is_tensorflow():
        for dataset in (data.train, data.val):
            with refused(settings, model, dataset.element_spec):
                keras_backend.build(model, dataset.element_spec)
        return
    if model.run_eagerly or model.distribute_strategy.num_replicas_in_sync > 1:
        with refused(settings, model, data.val.element_spec), data.meter.raising():
            _make_variables(model, data.val)
    if model.run_eagerly:
        return
    rehearse_step(model, settings, data.train)
    with refused(settings, model, data.val.element_spec):
        model.make_test_function()
        _trace(model.test_function, _iterator(model, data.val))
    if not all(map(_leaves_the_model, callbacks)):
        model.train_function = model.test_function = None


def rehearse_step(model: Any, settings: Settings, dataset: Any) -> None:
    """Have Keras trace the training step of a compiled model for the elements of `dataset`.

    Raises
    ------
    UserError
        As `rehearse`.
    """
    with refused(settings, model, dataset.element_spec):
        if not keras_backend.is_tensorflow():
            return keras_backend.build(model, dataset.element_spec)
        model.make_train_function()
        _trace(model.train_function, _iterator(model, dataset))


def _leaves_the_model(callback: Any) -> bool:
    """Whether it is Keras' own: those change variables only, and no layer."""
    kind = type(callback)
    return kind is not keras.callbacks.LambdaCallback and kind.__module__.startswith("keras.")


def _iterator(model: Any, dataset: Any) -> Any:
    """Of the kind that ``fit`` makes, but empty: a function traced for it serves there, too."""
    return iter(model.distribute_strategy.experimental_distribute_dataset(dataset.take(0)))


def _trace(function: Any, iterator: Any) -> None:
    """Trace what Keras calls for each batch.

    Within the trace of an outer function, since a call with an empty iterator would not leave all
    variables alone: what does not wait for the batch is computed (the optimizer's count of
    iterations, the states of random layers).
    """

    def outer(symbolic: Any) -> None:
        with contextlib.suppress(StopIteration):
            function(symbolic)

    try:
        tf.function(outer, autograph=False).get_concrete_function(iterator)
    except tf.errors.OperatorNotAllowedInGraphError as error:
        # Keras asks whether there was a batch. That is after the step, which is traced by then.
        if STEPS.intersection(f.name for f in traceback.extract_tb(error.__traceback__)):
            raise


def _make_variables(model: Any, dataset: Any) -> None:
    if not all(layer.built for layer in [model, *model.layers]):
        for batch in dataset.take(1):
            x, _, _ = keras.utils.unpack_x_y_sample_weight(batch)
            model(x, training=False)
    if model.optimizer is not None and not model.optimizer.built:
        model.optimizer.build(model.trainable_variables)

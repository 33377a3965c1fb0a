"""Whether a model of a fixed batch size gets batches of that size: found out before it is trained.

Some models take others all the same (a dense layer does), some do not (a stateful layer, a reshape
to constant sizes), and a model does not say which. So TensorFlow traces it once for each size.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from deeptool.errors import UserError
from deeptool.training import keras_backend
from deeptool.training.trial_data import TrialData


def check(model: Any, data: TrialData, kafka: bool) -> None:
    """Trace a model whose inputs have a batch size with the batches that it is going to get.

    Parameters
    ----------
    model : keras.Model
    kafka : bool
        Whether deeptool makes the batches, or the settings' own pipeline.

    Raises
    ------
    UserError
        It cannot take them.
    """
    import tensorflow as tf

    size = batch_size(model)
    # Several devices share a batch: what each of them gets is not known here.
    if size is None or tf.distribute.has_strategy() or not keras_backend.is_tensorflow():
        return
    for split, dataset in (("train", data.train), ("val", data.val)):
        spec = dataset.element_spec
        x = spec[0] if isinstance(spec, tuple) else spec
        given = _sizes(x)
        if given == {size} or not _takes(model, x, size):
            # Where it does not take its own size either, that is not because of the size: Keras
            # says why (see `rehearsal`).
            continue
        # None before the others: it is what TensorFlow compiles for.
        sizes = sorted(given | (data.last_batches if None in given else set()), key=_none_first)
        for other in sizes:
            if not _takes(model, x, other):
                raise _misfit(split, other, size, kafka)


def batch_size(model: Any) -> int | None:
    """The number of samples that the model's inputs are fixed to; None: they are not."""
    inputs = getattr(model, "inputs", None) or ()
    sizes = {tensor.shape[0] for tensor in inputs if len(tensor.shape)} - {None}
    return sizes.pop() if len(sizes) == 1 else None


def _misfit(split: str, other: int | None, size: int, kafka: bool) -> UserError:
    origin = "the stored dataset" if kafka else "the pipeline's dataset"
    seen = "batches of any size" if other is None else f"a batch of {other}"
    return UserError(
        f"the model takes batches of one size only, and {origin} holds others",
        seen=f"{split}: {seen}",
        valid=f"batches of {size}",
        next_step="set drop_remainder = True in the settings file, or give --drop-remainder: "
        "samples that fill no whole batch are then left out"
        if kafka
        else "batch with drop_remainder=True in get_input_pipeline",
    )


def _none_first(size: int | None) -> int:
    return -1 if size is None else size


def _sizes(x: Any) -> set[int | None]:
    return {spec.shape[0] for spec in _specs(x) if spec.shape.rank}


def _specs(x: Any) -> Iterable[Any]:
    import tensorflow as tf

    specs: Iterable[Any] = tf.nest.flatten(x)
    return specs


def _takes(model: Any, x: Any, size: int | None) -> bool:
    """Whether TensorFlow can compile the model for batches of `size`."""
    import tensorflow as tf

    if not all(isinstance(spec, tf.TensorSpec) and spec.shape.rank for spec in _specs(x)):
        return True
    batch = tf.nest.map_structure(
        lambda spec: tf.TensorSpec([size, *spec.shape[1:]], spec.dtype, spec.name), x
    )
    try:
        tf.function(lambda given: model(given, training=True)).get_concrete_function(batch)
    except Exception:
        # Whatever it raises, `fit` would raise the same.
        return False
    return True

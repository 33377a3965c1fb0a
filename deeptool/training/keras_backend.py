"""What differs where Keras computes with JAX or PyTorch (``KERAS_BACKEND``) instead of TensorFlow.

Samples still come from tf.data; Keras hands them on as arrays. Everything that knows of another
backend is here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from deeptool.errors import UserError
from deeptool.settings import Settings

TENSORFLOW, JAX, TORCH = "tensorflow", "jax", "torch"


def name() -> str:
    """What Keras computes with: "tensorflow", "jax" or "torch".

    Raises
    ------
    UserError
        KERAS_BACKEND names something else, or what cannot be imported.
    """
    try:
        import keras
    except Exception as error:
        # Whatever Keras meets: a version that is too old lacks names.
        raise UserError(
            "Keras cannot be imported with this KERAS_BACKEND",
            seen=f"{type(error).__name__}: {error}",
            valid="tensorflow, jax, torch, each where its package is installed",
            next_step="install it beside TensorFlow (pip install jax), or unset KERAS_BACKEND",
        ) from error
    found = str(keras.config.backend())
    if found not in (TENSORFLOW, JAX, TORCH):
        raise UserError(
            "trials do not run on this KERAS_BACKEND", seen=found, valid="tensorflow, jax, torch"
        )
    return found


def is_tensorflow() -> bool:
    return name() == TENSORFLOW


def check_resumed(began_with: str | None) -> None:
    """Raise where a trial that began with one backend is resumed with another.

    Parameters
    ----------
    began_with : str or None
        None: of an earlier release, which had TensorFlow only.
    """
    before, now = began_with or TENSORFLOW, name()
    if before != now:
        raise UserError(
            "a trial resumes with the Keras backend that it began with",
            seen=f"KERAS_BACKEND={now}",
            valid=before,
            next_step=f"set KERAS_BACKEND={before}, and resume it again",
        )


def notes(settings: Settings) -> Iterator[str]:
    """What the settings ask for that this backend has not got."""
    backend = name()
    if backend == TENSORFLOW:
        return
    if len(settings.used_gpu_IDs) > 1:
        yield (
            f"KERAS_BACKEND={backend} trains on one device, not on used_gpu_IDs="
            f"{list(settings.used_gpu_IDs)}: several GPUs need KERAS_BACKEND=tensorflow"
        )
    if settings.useXLA and backend == TORCH:
        yield "useXLA: KERAS_BACKEND=torch has no XLA, and trains without it"
    if settings.use_profiling:
        yield (
            f"use_profiling: TensorFlow's profile shows the reading of samples, and nothing of what"
            f" {backend} computes"
        )


def check_elements(elements: Any, split: str) -> None:
    """Raise where a dataset has components that are no arrays: strings, ragged or sparse ones.

    Parameters
    ----------
    elements : structure of tf.TypeSpec
        Of the batches.
    """
    import tensorflow as tf

    backend = name()
    if backend == TENSORFLOW:
        return
    for spec in tf.nest.flatten(elements):
        if not isinstance(spec, tf.TensorSpec) or spec.dtype == tf.string:
            raise UserError(
                f"KERAS_BACKEND={backend} trains on arrays of numbers only",
                seen=f"{split}: {spec}",
                valid="tensors of one shape",
                next_step="convert or drop it in get_online_pipeline (to_tensor(), a lookup), or"
                " use KERAS_BACKEND=tensorflow",
            )


def jit_compile(use_xla: bool) -> bool:
    """What ``compile`` gets: JAX without its compiler would run operation by operation."""
    backend = name()
    return backend == JAX or (use_xla and backend == TENSORFLOW)


def use_device(wanted: Sequence[int]) -> None:
    """Let JAX or PyTorch compute where the settings say: on the CPU, or on one GPU."""
    backend = name()
    if backend == JAX:
        import jax

        gpus = [device for device in jax.devices() if device.platform == "gpu"]
        place = wanted[0] if wanted and wanted[0] < len(gpus) else 0
        device = gpus[place] if wanted and gpus else jax.devices("cpu")[0]
        jax.config.update("jax_default_device", device)
    elif backend == TORCH:
        import torch

        if not wanted and torch.cuda.is_available():
            raise UserError(
                "KERAS_BACKEND=torch trains on the GPU that PyTorch sees",
                seen="used_gpu_IDs=[]",
                next_step="set CUDA_VISIBLE_DEVICES= (empty) for the CPU, or used_gpu_IDs = [0]",
            )


def build(model: Any, elements: Any) -> None:
    """Make all variables of a compiled model: its own, of its loss, metrics and optimizer.

    As `deeptool.training.rehearsal` has TensorFlow trace a step: no sample is read, and no number
    drawn.

    Parameters
    ----------
    elements : structure of tf.TypeSpec
        Of the batches.
    """
    import keras
    import tensorflow as tf

    batch = tf.nest.map_structure(
        lambda spec: keras.KerasTensor(tuple(spec.shape), spec.dtype.name), elements
    )
    model._symbolic_build(data_batch=batch)


def put_variables_back(model: Any) -> None:
    """Give a model's variables the values that training has: JAX keeps them elsewhere meanwhile."""
    if name() == JAX:
        model.jax_state_sync()

"""Where a trial computes: GPUs or CPU, and with which precision."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from deeptool.errors import UserError
from deeptool.training import keras_backend


@dataclass(frozen=True)
class Devices:
    """The choice for one trial.

    Attributes
    ----------
    gpus : tuple of int
        Indices among the GPUs that TensorFlow sees; empty for the CPU.
    strategy : tf.distribute.Strategy or None
        None where TensorFlow's default does the right thing.
    precision : str
        The Keras dtype policy.
    notes : tuple of str
        What the user asked for and did not get.
    """

    gpus: tuple[int, ...]
    strategy: Any
    precision: str
    notes: tuple[str, ...]


def choose(wanted: Sequence[int], seen: int, assigned: bool) -> tuple[tuple[int, ...], str | None]:
    """Which of the `seen` GPUs to train on, and what to tell the user.

    Parameters
    ----------
    wanted : sequence of int
        The settings' used_gpu_IDs; none means the CPU.
    seen : int
        How many GPUs TensorFlow sees: 0, ..., seen - 1.
    assigned : bool
        Whether CUDA_VISIBLE_DEVICES says which GPUs this process got. Its choice wins: `wanted`
        then says how many of them, when its numbers are not theirs.

    Raises
    ------
    UserError
        There are GPUs, but none of those that are wanted.
    """
    if not wanted:
        return (), None
    if not seen:
        return (), f"no GPU here: trains on the CPU (used_gpu_IDs={list(wanted)})"
    there = tuple(dict.fromkeys(gpu for gpu in wanted if 0 <= gpu < seen))
    if len(there) == len(set(wanted)):
        return there, None
    if assigned:
        there = tuple(range(min(len(set(wanted)), seen)))
        how = "as CUDA_VISIBLE_DEVICES says"
    elif there:
        how = f"there are {seen}"
    else:
        raise UserError(
            "used_gpu_IDs names GPUs that are not here",
            seen=list(wanted),
            valid=f"0 to {seen - 1}, or [] for the CPU",
        )
    return there, f"trains on GPU {list(there)} instead of {list(wanted)}: {how}"


def policy(
    mixed: bool | None, capabilities: Sequence[tuple[int, int]], own: str, floatx: str
) -> tuple[str, str | None]:
    """The Keras dtype policy of a trial, and what to tell the user.

    Parameters
    ----------
    mixed : bool or None
        The settings' enable_mixed_precision. None: whatever the user set elsewhere.
    capabilities : sequence of (int, int)
        CUDA compute capabilities of the GPUs. Matrix units compute in float16 from 7.0 on and in
        bfloat16, which needs no loss scaling, from 8.0 on [1]_.
    own : str
        Keras' global policy as the user set it, in Python or in keras.json.
    floatx : str
        Keras' default type of floats.

    References
    ----------
    .. [1] NVIDIA, "CUDA C++ Programming Guide", table "Feature Support per Compute Capability".
    """
    if mixed is None:
        return own, None
    if not mixed:
        return (floatx if own.startswith("mixed_") else own), None
    slowest = min(capabilities, default=(0, 0))
    if slowest >= (8, 0):
        return "mixed_bfloat16", None
    if slowest >= (7, 0):
        return "mixed_float16", None
    return own, f"enable_mixed_precision: nothing here gains from it, trains in {own}"


def prepare(wanted: Sequence[int], mixed: bool | None) -> Devices:
    """Give this process the GPUs that the settings name, and say what it really got.

    Several GPUs train one replica each, on equal shares of every batch.

    Raises
    ------
    UserError
        There are GPUs, but none of those that are wanted.
    """
    import keras
    import tensorflow as tf

    there = tf.config.list_physical_devices("GPU")
    assigned = bool(os.environ.get("CUDA_VISIBLE_DEVICES"))
    gpus, placement = choose(wanted, len(there), assigned)
    chosen = [there[gpu] for gpu in gpus]
    capabilities = [
        tf.config.experimental.get_device_details(gpu).get("compute_capability", (0, 0))
        for gpu in chosen
    ]
    own = keras.mixed_precision.dtype_policy().name
    precision, lost = policy(mixed, capabilities, own, keras.config.floatx())
    names: list[str] | None = None
    try:
        tf.config.set_visible_devices(chosen if keras_backend.is_tensorflow() else [], "GPU")
        for gpu in chosen:
            tf.config.experimental.set_memory_growth(gpu, True)
    except RuntimeError:
        # TensorFlow already computes, for an earlier trial of this process or in the settings file:
        # its devices are fixed, and only placement is left to say.
        if tf.config.get_visible_devices("GPU") != chosen:
            names = [f"/GPU:{gpu}" for gpu in gpus] or ["/CPU:0"]
    strategy = None
    if not keras_backend.is_tensorflow():
        # TensorFlow only reads samples: GPUs are for the other library.
        keras_backend.use_device(gpus)
    elif len(chosen) > 1:
        strategy = tf.distribute.MirroredStrategy(names)
    elif names:
        strategy = tf.distribute.OneDeviceStrategy(names[0])
    notes = tuple(note for note in (placement, lost) if note)
    return Devices(gpus, strategy, precision, notes)


def use_precision(name: str) -> None:
    """Layers made from now on compute under this dtype policy."""
    import keras

    # Another policy may have the name of its type of computing only, as for quantized layers.
    if keras.mixed_precision.dtype_policy().name != name:
        keras.mixed_precision.set_dtype_policy(name)

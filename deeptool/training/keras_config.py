"""Keras' settings of a process: those that the user made hold for a trial, and outlive none."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

_POLICY = "dtype_policy"


@contextmanager
def kept_keras_config() -> Iterator[None]:
    """Put Keras' floatx, dtype policy, epsilon and image_data_format back after the block.

    A settings or model file may set them for its own trial. Where Keras was not imported before,
    nobody else had set anything, and they stay.
    """
    if "keras" not in sys.modules:
        yield
        return
    import keras
    from keras.src.backend.common import global_state

    config = keras.config
    # Asking Keras for the policy would fix it: until then it is the floatx of the day.
    policy = global_state.get_global_attribute(_POLICY)
    floatx, epsilon = config.floatx(), config.epsilon()
    image_data_format = config.image_data_format()
    if policy is not None and policy.name == floatx:
        # Fixed by an earlier layer, not by the caller: the trial's own floatx may still decide.
        global_state.set_global_attribute(_POLICY, None)
    try:
        yield
    finally:
        config.set_floatx(floatx)
        config.set_epsilon(epsilon)
        config.set_image_data_format(image_data_format)
        global_state.set_global_attribute(_POLICY, policy)

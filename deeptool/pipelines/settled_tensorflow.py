"""TensorFlow as a process that only looks at an experiment has it: the same in each of them."""

from __future__ import annotations

import os
from typing import Any


def settle_tensorflow() -> None:
    """One thread, no GPU, no entropy: the same in every process, as far as TensorFlow goes."""
    import tensorflow as tf

    tf.config.set_visible_devices([], "GPU")
    tf.config.threading.set_inter_op_parallelism_threads(1)
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.experimental.enable_op_determinism()
    # Determinism forbids TensorFlow to make this one from entropy.
    tf.random.set_global_generator(tf.random.Generator.from_seed(0))
    leave_no_cache()


def leave_no_cache() -> None:
    """Let the pipeline read cache files that are there, but make none.

    A cache file is written beside a lock, which a reading that stops early leaves behind; and the
    upload, which may run meanwhile, would find it.
    """
    import tensorflow as tf

    cache = tf.data.Dataset.cache

    def kept_in_memory(self: Any, filename: Any = "", name: Any = None) -> Any:
        path = os.fspath(filename.numpy().decode() if hasattr(filename, "numpy") else filename)
        return cache(self, path if path and os.path.exists(f"{path}.index") else "", name)

    tf.data.Dataset.cache = kept_in_memory


def one_thread() -> Any:
    import tensorflow as tf

    options = tf.data.Options()
    options.deterministic = True
    options.autotune.enabled = False
    options.threading.private_threadpool_size = 1
    options.threading.max_intra_op_parallelism = 1
    return options

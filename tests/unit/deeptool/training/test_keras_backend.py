"""What trials say of backends of Keras that lack something, in a process that has TensorFlow's."""

from __future__ import annotations

import os
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest
import tensorflow as tf

from deeptool.errors import UserError
from deeptool.training import keras_backend

ASKED: Any = SimpleNamespace(used_gpu_IDs=[0, 1], useXLA=True, use_profiling=True)
NOTHING: Any = SimpleNamespace(used_gpu_IDs=[], useXLA=False, use_profiling=False)


def use(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(keras_backend, "name", lambda: name)


def test_this_process_has_tensorflow() -> None:
    assert keras_backend.is_tensorflow()
    assert list(keras_backend.notes(ASKED)) == []


@pytest.mark.parametrize(
    ("name", "words"),
    [("jax", ["used_gpu_IDs=", "use_profiling"]), ("torch", ["used_gpu", "useXLA", "profiling"])],
)
def test_what_a_backend_lacks_is_said(
    monkeypatch: pytest.MonkeyPatch, name: str, words: list[str]
) -> None:
    use(monkeypatch, name)
    said = list(keras_backend.notes(ASKED))
    assert len(said) == len(words)
    assert all(word in note for word, note in zip(words, said, strict=True))
    assert list(keras_backend.notes(NOTHING)) == []


@pytest.mark.parametrize(
    ("name", "use_xla", "compiled"),
    [
        ("tensorflow", False, False),
        ("tensorflow", True, True),
        ("jax", False, True),
        ("torch", True, False),
    ],
)
def test_jax_always_compiles(
    monkeypatch: pytest.MonkeyPatch, name: str, use_xla: bool, compiled: bool
) -> None:
    use(monkeypatch, name)
    assert keras_backend.jit_compile(use_xla) is compiled


def test_a_trial_resumes_with_its_own_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    keras_backend.check_resumed(None)
    with pytest.raises(UserError, match="resumes with the Keras backend") as refused:
        keras_backend.check_resumed("jax")
    assert refused.value.next_step == "set KERAS_BACKEND=jax, and resume it again"
    use(monkeypatch, "jax")
    keras_backend.check_resumed("jax")


@pytest.mark.parametrize(
    "spec",
    [
        tf.TensorSpec((None,), tf.string),
        tf.RaggedTensorSpec((None, None), tf.float32),
        tf.SparseTensorSpec((None, 3), tf.float32),
    ],
)
def test_only_arrays_of_numbers(monkeypatch: pytest.MonkeyPatch, spec: Any) -> None:
    numbers = tf.TensorSpec((None, 3), tf.float32)
    keras_backend.check_elements((spec, numbers), "train")
    use(monkeypatch, "jax")
    keras_backend.check_elements((numbers, {"y": numbers}), "train")
    with pytest.raises(UserError, match="KERAS_BACKEND=jax trains on arrays") as refused:
        keras_backend.check_elements((numbers, {"y": spec}), "val")
    assert str(refused.value.seen_text).startswith("val: ")


@pytest.mark.parametrize(
    ("backend", "said"),
    [
        ("no_such", "Keras cannot be imported with this KERAS_BACKEND"),
        ("jax", "Keras cannot be imported with this KERAS_BACKEND"),
    ],
)
def test_a_backend_that_is_not_there_is_one_error(backend: str, said: str) -> None:
    # As where JAX is not installed.
    code = (
        "import sys; sys.modules['jax'] = None\n"
        "from deeptool.training import keras_backend\n"
        "keras_backend.name()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=200,
        env={**os.environ, "KERAS_BACKEND": backend},
        check=False,
    )
    assert f"UserError: {said}" in done.stderr

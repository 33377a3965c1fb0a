"""A SavedModel takes inputs as the samples are, and names its outputs."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from deeptool.training import saved_model


class Pair(NamedTuple):
    left: Any
    right: Any


class Product(keras.Model):
    def __init__(self) -> None:
        super().__init__()
        self.head = keras.layers.Dense(1)

    def call(self, inputs: Any) -> Any:
        return self.head(inputs.left * inputs.right)


def served(model: Any, batches: Any, folder: Path) -> Any:
    saved_model.write(model, batches.element_spec, folder / "saved")
    return tf.saved_model.load(str(folder / "saved"))


def specs(loaded: Any) -> dict[str, tuple[tuple[int | None, ...], str]]:
    """Name -> shape and dtype of the inputs."""
    inputs = loaded.signatures["serving_default"].structured_input_signature[1]
    return {name: (tuple(one.shape), one.dtype.name) for name, one in inputs.items()}


def batches(x: Any, rows: int = 12, size: int = 4) -> Any:
    y = np.zeros((rows, 1), np.float32)
    return tf.data.Dataset.from_tensor_slices((x, y)).batch(size)


def test_pixels_are_taken_as_they_are_stored(tmp_path: Path) -> None:
    x = np.arange(12 * 5, dtype=np.uint8).reshape(12, 5)
    image = keras.Input((5,), name="image")
    model = keras.Model(image, keras.layers.Dense(3, name="class")(image))
    loaded = served(model, batches(x), tmp_path)
    assert specs(loaded) == {"image": ((None, 5), "uint8")}
    answer = loaded.serve(x)
    assert list(answer) == ["class"]
    np.testing.assert_allclose(answer["class"], model(x), rtol=1e-5)
    named = loaded.signatures["serving_default"](image=tf.constant(x))
    np.testing.assert_allclose(named["class"], answer["class"])


def test_several_inputs_and_outputs_keep_their_names(tmp_path: Path) -> None:
    x = {"a": np.ones((12, 2), np.float32), "b": np.arange(12, dtype=np.int32)[:, None]}
    a, b = keras.Input((2,), name="a"), keras.Input((1,), name="b", dtype="int32")
    both = keras.layers.Concatenate()([a, keras.layers.Rescaling(0.1)(b)])
    outputs = [keras.layers.Dense(1, name=name)(both) for name in ("price", "risk")]
    model = keras.Model({"a": a, "b": b}, outputs)
    loaded = served(model, batches(x), tmp_path)
    assert specs(loaded) == {"a": ((None, 2), "float32"), "b": ((None, 1), "int32")}
    answer = loaded.serve(x)
    assert sorted(answer) == ["price", "risk"]
    for found, wanted in zip((answer["price"], answer["risk"]), model(x), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-5)


def test_outputs_in_a_dict_keep_its_keys(tmp_path: Path) -> None:
    x = keras.Input((2,), name="x")
    model = keras.Model(x, {"mean": keras.layers.Dense(1)(x), "width": keras.layers.Dense(1)(x)})
    loaded = served(model, batches(np.ones((12, 2), np.float32)), tmp_path)
    assert sorted(loaded.serve(np.ones((3, 2), np.float32))) == ["mean", "width"]


def test_a_model_that_takes_a_named_tuple(tmp_path: Path) -> None:
    x = Pair(np.ones((12, 2), np.float32), np.full((12, 2), 3, np.float32))
    model = Product()
    model(x)
    loaded = served(model, batches(x), tmp_path)
    assert specs(loaded) == {"left": ((None, 2), "float32"), "right": ((None, 2), "float32")}
    np.testing.assert_allclose(loaded.serve(x), model(x), rtol=1e-5)


def test_inputs_in_a_tuple_have_the_models_names(tmp_path: Path) -> None:
    x = np.ones((12, 2), np.float32), np.ones((12, 3), np.float32)
    inputs = [keras.Input((2,), name="first"), keras.Input((3,), name="second")]
    model = keras.Model(inputs, keras.layers.Concatenate()(inputs))
    loaded = served(model, batches(x), tmp_path)
    assert specs(loaded) == {"first": ((None, 2), "float32"), "second": ((None, 3), "float32")}


def test_a_model_of_a_fixed_batch_size(tmp_path: Path) -> None:
    x = keras.Input(batch_shape=(4, 5, 1), name="window")
    model = keras.Model(x, keras.layers.Dense(1)(keras.layers.LSTM(3, stateful=True)(x)))
    loaded = served(model, batches(np.ones((12, 5, 1), np.float32)), tmp_path)
    assert specs(loaded) == {"window": ((4, 5, 1), "float32")}
    assert next(iter(loaded.serve(np.ones((4, 5, 1), np.float32)).values())).shape == (4, 1)


def test_a_sequence_of_layers_returns_what_the_last_one_is_called(tmp_path: Path) -> None:
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, name="price")])
    loaded = served(model, batches(np.ones((12, 2), np.float32)), tmp_path)
    assert list(loaded.serve(np.ones((3, 2), np.float32))) == ["price"]


def test_text(tmp_path: Path) -> None:
    x = np.array([["a b"], ["c"], [""]] * 4)
    line = keras.Input((1,), dtype="string", name="line")
    words = keras.layers.TextVectorization(vocabulary=["a", "b", "c"])(line)
    loaded = served(keras.Model(line, keras.layers.Embedding(8, 2)(words)), batches(x), tmp_path)
    assert specs(loaded) == {"line": ((None, 1), "string")}


def test_ragged_inputs_are_exported_as_keras_does(tmp_path: Path) -> None:
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    saved_model.write(model, (tf.RaggedTensorSpec([None, None]), None), tmp_path / "saved")
    assert (tmp_path / "saved" / "saved_model.pb").exists()

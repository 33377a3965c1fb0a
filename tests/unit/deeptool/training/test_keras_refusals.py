"""What plain `model.fit` takes is trained; what it refuses is refused before the first epoch."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from paths import HELPERS

from deeptool.errors import UserError, WorkError
from deeptool.settings import load_settings
from deeptool.training import train
from deeptool.training.rehearsal import rehearse
from deeptool.training.result import TrialResult
from deeptool.training.trial_data import from_pipeline
from deeptool.training.trial_source import TrialSource

SETTINGS = HELPERS / "trial_settings.py"
ROWS = 16
KERAS_RAISES = (
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    tf.errors.InvalidArgumentError,
    tf.errors.UnimplementedError,
)
Sides = namedtuple("Sides", ["left", "right"])


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def floats(*shape: int) -> Any:
    return np.random.default_rng(0).normal(size=(ROWS, *shape)).astype(np.float32)


def labels(below: int) -> Any:
    return np.arange(ROWS) % below


def one_input(*shape: int) -> Any:
    x = keras.Input(shape, name="x")
    return keras.Model(x, keras.layers.Dense(1, name="y")(keras.layers.Flatten()(x)))


def two_inputs(nested: Callable[[Any, Any], Any]) -> Any:
    a, b = keras.Input((2,), name="a"), keras.Input((3,), name="b")
    return keras.Model(nested(a, b), keras.layers.Dense(1)(keras.layers.Concatenate()([a, b])))


def two_outputs() -> Any:
    x = keras.Input((4,))
    classes = keras.layers.Dense(3, activation="softmax", name="q")(x)
    return keras.Model(x, {"p": keras.layers.Dense(1, name="p")(x), "q": classes})


class Sum(keras.Model):  # type: ignore[misc]
    """Its attributes have names that other models use for something else."""

    def __init__(self, of: Callable[[Any], Any]) -> None:
        super().__init__()
        self.source, self.of, self.spec = "abc", of, {"input": 1}
        self.head = keras.layers.Dense(1)

    def call(self, x: Any) -> Any:
        return self.head(self.of(x))


class Late(keras.Model):  # type: ignore[misc]
    """Makes its layer when it first sees data."""

    def build(self, shape: Any) -> None:
        self.late = keras.layers.Dense(1)
        self.late.build(shape)

    def call(self, x: Any) -> Any:
        return self.late(x)


class OwnStep(Sum):
    """Trains with an optimizer of its own."""

    def __init__(self) -> None:
        super().__init__(lambda x: x)
        self.own = keras.optimizers.SGD(0.1)

    def train_step(self, data: Any) -> Any:
        x, y = data
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean((self(x) - y) ** 2)
        weights = self.trainable_variables
        self.own.apply_gradients(zip(tape.gradient(loss, weights), weights, strict=True))
        return {"loss": loss}


class Eager(Sum):
    def compile(self, **arguments: Any) -> None:
        super().compile(**{**arguments, "run_eagerly": True})


def dataset(*parts: Any) -> Any:
    elements = parts if len(parts) > 1 else parts[0]
    return tf.data.Dataset.from_tensor_slices(elements).batch(8)


def plain_fit(build: Callable[[], Any], data: Any, loss: Any, metrics: Any, optimizer: Any) -> Any:
    keras.utils.set_random_seed(7)
    model = build()
    model.compile(optimizer=optimizer(), loss=loss, metrics=metrics, jit_compile=False)
    history = model.fit(data, validation_data=data, epochs=1, verbose=0).history
    return {name: values[0] for name, values in history.items()}


def trial(build: Callable[[], Any], data: Any, loss: Any, metrics: Any, optimizer: Any) -> Any:
    settings = load_settings(SETTINGS, hparams={"epochs": 1})
    settings.build_model = build  # type: ignore[method-assign]
    settings.get_total_loss = lambda model: loss
    settings.get_metrics = lambda model, given: metrics
    settings.get_optimizer = lambda model, given, rate: optimizer()
    settings.pipeline = lambda split: data  # type: ignore[method-assign]
    keras.utils.set_random_seed(7)
    return train(settings)


def adam() -> Any:
    return keras.optimizers.Adam(0.01)


X, Y = floats(4), floats(1)
AB = {"a": floats(2), "b": floats(3)}
Q = {"p": Y, "q": labels(3)}
CROSS = {"p": "mse", "q": "sparse_categorical_crossentropy"}

TAKEN: dict[str, tuple[Any, ...]] = {
    "one": (lambda: one_input(4), dataset(X, Y), "mse", ["mae"]),
    "weights": (lambda: one_input(4), dataset(X, Y, floats() ** 2), "mse", None),
    "a rank less": (lambda: one_input(2, 2, 1), dataset(floats(2, 2), Y), "mse", None),
    "whole numbers": (
        lambda: one_input(4),
        dataset(labels(5)[:, None].repeat(4, 1), Y),
        "mse",
        None,
    ),
    "a tuple": (
        lambda: two_inputs(lambda a, b: [a, b]),
        dataset(tuple(AB.values()), Y),
        "mse",
        None,
    ),
    "names": (lambda: two_inputs(lambda a, b: [a, b]), dataset(AB, Y), "mse", None),
    "more names": (
        lambda: two_inputs(lambda a, b: {"a": a, "b": b}),
        dataset({**AB, "c": X}, Y),
        "mse",
        None,
    ),
    "a tuple for a dict": (
        lambda: two_inputs(lambda a, b: {"a": a, "b": b}),
        dataset(tuple(AB.values()), Y),
        "mse",
        None,
    ),
    "nested": (
        lambda: two_inputs(lambda a, b: {"in": {"a": a}, "b": [b]}),
        dataset({"in": {"a": AB["a"]}, "b": (AB["b"],)}, Y),
        "mse",
        None,
    ),
    "a named tuple": (
        lambda: Sum(lambda sides: sides.left * sides.right),
        dataset(Sides(X, X + 1), Y),
        "mse",
        None,
    ),
    "a subclass": (lambda: Sum(lambda x: x["a"]), dataset(AB, Y), "mse", None),
    "a late layer": (Late, dataset(X, Y), "mse", None),
    "an own step": (OwnStep, dataset(X, Y), "mse", None),
    "eager": (lambda: Eager(lambda x: x), dataset(X, Y), "mse", ["mae"]),
    "two outputs": (two_outputs, dataset(X, Q), CROSS, {"q": ["accuracy"]}),
}

# With what the error names, and what it says is to be corrected.
REFUSED: dict[str, tuple[Any, ...]] = {
    "shape": (lambda: one_input(4), dataset(floats(5), Y), "mse", None, "the model: ValueError"),
    "text": (
        lambda: one_input(4),
        dataset(np.array(["a"] * ROWS), Y),
        "mse",
        None,
        "the model: ValueError",
    ),
    "a missing name": (
        lambda: two_inputs(lambda a, b: {"a": a, "b": b}),
        dataset({"a": AB["a"]}, Y),
        "mse",
        None,
        "the model: ValueError: Missing data for input",
    ),
    "a missing key": (
        lambda: Sum(lambda x: x["c"]),
        dataset(AB, Y),
        "mse",
        None,
        "the model: KeyError: 'c'",
    ),
    "a loss that is none": (
        lambda: one_input(4),
        dataset(X, Y),
        "mean_sqared_error",
        None,
        "what get_total_loss returns: ValueError",
    ),
    "no loss": (lambda: one_input(4), dataset(X, Y), None, None, "what get_total_loss returns"),
    "a loss of one argument": (
        lambda: one_input(4),
        dataset(X, Y),
        lambda y: y,
        None,
        "what get_total_loss returns: TypeError",
    ),
    "a loss for no output": (
        two_outputs,
        dataset(X, Q),
        {**CROSS, "r": "mse"},
        None,
        "what get_total_loss returns: KeyError",
    ),
    "a missing label": (
        two_outputs,
        dataset(X, {"p": Y}),
        CROSS,
        None,
        "what get_total_loss returns: ValueError",
    ),
    "labels of another shape": (
        lambda: one_input(4),
        dataset(X, floats(3)),
        "categorical_crossentropy",
        None,
        "what get_total_loss returns: ValueError",
    ),
    "labels out of range": (
        two_outputs,
        dataset(X, {"p": Y, "q": labels(8)}),
        CROSS,
        None,
        "what get_total_loss returns: InvalidArgumentError: Received a label value of",
    ),
    "labels that are text": (
        lambda: one_input(4),
        dataset(X, np.array([["a"]] * ROWS)),
        "mse",
        None,
        "what get_total_loss returns: UnimplementedError: Cast string to float",
    ),
    "no gradients": (
        lambda: Sum(tf.stop_gradient),
        dataset(X, Y),
        lambda y, p: tf.reduce_mean(y),
        None,
        "the model: ValueError: No gradients",
    ),
    "no labels": (lambda: one_input(4), dataset(X), "mse", None, "what get_total_loss returns"),
    "a metric that is none": (
        lambda: one_input(4),
        dataset(X, Y),
        "mse",
        ["acuracy"],
        "what get_metrics returns: ValueError",
    ),
    "a metric of no output": (
        two_outputs,
        dataset(X, Q),
        CROSS,
        {"r": ["accuracy"]},
        "what get_metrics returns: ValueError",
    ),
    "an eager step": (
        lambda: Eager(lambda x: x),
        dataset(X, Y),
        lambda y, p: p.nothing,
        None,
        "what get_total_loss returns: AttributeError",
    ),
}


@pytest.mark.parametrize("case", TAKEN)
@pytest.mark.filterwarnings("ignore:The structure of `inputs`")
def test_what_keras_takes_is_trained_as_keras_does(case: str) -> None:
    result: TrialResult = trial(*TAKEN[case], adam)
    expected = plain_fit(*TAKEN[case], adam)
    assert result.final == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("case", REFUSED)
def test_what_keras_refuses_is_refused_before_an_epoch(case: str) -> None:
    *given, text = REFUSED[case]
    with pytest.raises(KERAS_RAISES):
        plain_fit(*given, adam)
    with pytest.raises(UserError) as caught:
        trial(*given, adam)
    assert text in caught.value.what
    assert str(Path(__file__).name) in caught.value.what or "trial_model.py" in caught.value.what


def test_an_optimizer_that_is_none_is_refused() -> None:
    with pytest.raises(UserError, match="Keras refuses what get_optimizer returns: ValueError"):
        trial(*TAKEN["one"], lambda: "adamm")


def test_file_line_and_function_are_named(tmp_path: Path) -> None:
    text = SETTINGS.read_text().replace(
        'return "mean_squared_error"', "return wrong\n\n\ndef wrong(y, p):\n    return p.nothing"
    )
    (tmp_path / "mysettings.py").write_text(text)
    (tmp_path / "trial_model.py").write_text((HELPERS / "trial_model.py").read_text())
    line = text.splitlines().index("    return p.nothing") + 1
    with pytest.raises(
        UserError, match=f"^mysettings.py:{line}, in wrong: Keras refuses"
    ) as caught:
        train("mysettings.py")
    assert caught.value.exit_code == 2
    assert caught.value.seen == "a dataset of (float32[?, 1], float32[?, 1])"
    assert not Path("experiments").exists()


def test_a_compile_of_another_kind_is_named() -> None:
    class Own(Sum):
        def compile(self, first_optimizer: Any, second_optimizer: Any) -> None:
            super().compile()

    with pytest.raises(UserError, match="compile\\(\\) of the model's class Own") as caught:
        trial(lambda: Own(lambda x: x), dataset(X, Y), "mse", None, adam)
    assert f"{Path(__file__).name}:" in str(caught.value.seen)
    assert "in compile" in str(caught.value.seen)


def test_the_rehearsal_changes_nothing_and_is_not_repeated() -> None:
    traced: list[bool] = []

    class Traced(keras.layers.Layer):  # type: ignore[misc]
        def call(self, x: Any, training: bool = False) -> Any:
            traced.append(training)
            return x

    x = keras.Input((1,))
    hidden = keras.layers.Dropout(0.5)(keras.layers.BatchNormalization()(keras.layers.Dense(4)(x)))
    model = keras.Model(x, keras.layers.Dense(1)(Traced()(hidden)))
    model.compile(
        keras.optimizers.Adam(0.1, use_ema=True), "mse", metrics=["mae"], jit_compile=False
    )
    model.optimizer.build(model.trainable_variables)
    settings = load_settings(SETTINGS)
    data = from_pipeline(settings, TrialSource(), 0, print)
    before = [np.array(v) for v in [*model.variables, *model.optimizer.variables]]
    traced.clear()
    rehearse(model, data, settings, [keras.callbacks.TerminateOnNaN()])
    after = [np.array(v) for v in [*model.variables, *model.optimizer.variables]]
    assert data.meter.samples == 0
    for one, other in zip(before, after, strict=True):
        np.testing.assert_array_equal(one, other)
    so_far = list(traced)
    assert set(so_far) == {True, False}
    model.fit(data.train, validation_data=data.val, epochs=2, verbose=0)
    assert traced == so_far


class Freezes(keras.callbacks.Callback):  # type: ignore[misc]
    def on_train_begin(self, logs: Any = None) -> None:
        self.model.layers[-1].trainable = False


@pytest.mark.parametrize("how", ["callback", "function"])
def test_callbacks_may_change_the_model_before_the_first_batch(how: str) -> None:
    settings = load_settings(SETTINGS, hparams={"epochs": 1})
    models: list[Any] = []

    def addon_callbacks(model: Any, train_samples: Any, val_samples: Any) -> list[Any]:
        models.extend([model, [np.array(value) for value in model.layers[-1].get_weights()]])
        if how == "callback":
            return [Freezes()]
        model.layers[-1].trainable = False
        return []

    settings.addon_callbacks = addon_callbacks
    train(settings)
    model, before = models
    for value, same in zip(model.layers[-1].get_weights(), before, strict=True):
        np.testing.assert_array_equal(value, same)
    assert np.any(model.layers[0].get_weights()[1])


def test_a_label_out_of_range_in_a_later_batch_is_a_failure_of_the_work() -> None:
    q = labels(3).copy()
    q[-1] = 9
    with pytest.raises(
        WorkError, match="after 1 batch: InvalidArgumentError: Received a"
    ) as failed:
        trial(two_outputs, dataset(X, {"p": Y, "q": q}), CROSS, None, adam)
    assert Path(__file__).name in str(failed.value.seen)


@pytest.mark.parametrize(
    ("loss", "metrics", "near"),
    [
        ("mean_sqared_error", None, "mean_squared_error"),
        (
            {"p": "mse", "q": "SparseCategoricalCrossEntropie"},
            None,
            "SparseCategoricalCrossentropy",
        ),
        (CROSS, {"q": ["acuracy"]}, "Accuracy"),
        ("qqqqqqq", None, "of keras.loss"),
    ],
)
def test_a_misspelt_name_is_told_from_those_that_keras_knows(
    loss: Any, metrics: Any, near: str
) -> None:
    with pytest.raises(UserError, match="Could not interpret") as caught:
        trial(two_outputs, dataset(X, Q), loss, metrics, adam)
    assert near in str(caught.value.valid)
    assert caught.value.seen is None

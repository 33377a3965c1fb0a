"""What a trial makes of models, pipelines and errors of all kinds: what plain Keras makes of them.

Each case is a settings file and a model, run as a command runs it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from deeptool import kafka_dataset, train
from deeptool.commands.produce import command as produce
from deeptool.commands.train import command
from deeptool.errors import WorkError

HEAD = """
import collections
import keras
import numpy as np
import tensorflow as tf

workingFolder = "experiments"
session_name = "case"
hparams = {"rate": 0.01}
used_gpu_IDs = []
useXLA = False
use_profiling = False
model_file = "net.py"
weights_moving_averages = False
random_seed = 3
nbEpoch = 2
early_stopping_patience = 0
raw_data_dir_train = ""
raw_data_dir_val = ""
raw_data_filename_extension = ""
nb_train_samples = 0
nb_val_samples = 0
steps_per_epoch = 0
validation_steps = 0
batch_size = 8
reference_labels = ["sum"]


def addon_callbacks(model, train_samples, val_samples):
    return []


def get_learningRate():
    return hparams["rate"]


def get_optimizer(model, loss, learning_rate):
    return tf.keras.optimizers.SGD(learning_rate)


def get_metrics(model, loss):
    return []


def get_total_loss(model):
    return "mse"


def get_input_pipeline(raw_data_files_folder, isTraining, batch_size, nbEpoch):
    x = np.linspace(-1, 1, 96, dtype=np.float32).reshape(24, 4)
    return tf.data.Dataset.from_tensor_slices((x, x.sum(1, keepdims=True))).batch(batch_size)

"""
DENSE = """
import keras


def model(usersettings):
    return keras.Sequential([keras.Input((4,), name="row"), keras.layers.Dense(1)])
"""


def case(folder: Path, more: str = "", model: str = DENSE) -> Path:
    """Write the two files of a case; `more` defines names anew."""
    (folder / "net.py").write_text(model)
    (folder / "case.py").write_text(HEAD + more)
    return folder / "case.py"


def stored(folder: Path) -> dict[str, Any]:
    (path,) = folder.glob("experiments/*/result.json")
    values: dict[str, Any] = json.loads(path.read_text())
    return values


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


CHECKED = """
def checked(x):
    if {condition}:
        raise {error}
    return x
"""
MAPPED = """
def get_online_pipeline(dataset, isTraining):
    def row(x, y):
        return tf.ensure_shape(tf.{function}(checked, [x], tf.float32), [None, 4]), y
    return dataset.map(row) if isTraining == {where} else dataset
"""
CALLBACK = """
class Watch(keras.callbacks.Callback):
    def {hook}(self, *args, **named):
        raise KeyError("no such board")


def addon_callbacks(model, train_samples, val_samples):
    return [Watch()]
"""


@pytest.mark.parametrize(
    ("more", "model", "text", "place"),
    [
        (
            CHECKED.format(condition="x[0, 0] > 0", error='ValueError("out of\\nrange")')
            + MAPPED.format(function="numpy_function", where="True"),
            DENSE,
            "in epoch 1, after 2 batches: ValueError: out of\nrange",
            "raise ValueError",
        ),
        (
            CHECKED.format(condition="x[0, 0] > 0", error='RuntimeError("boom")')
            + MAPPED.format(function="py_function", where="False"),
            DENSE,
            "in epoch 1, after 3 batches and 2 of validation: RuntimeError: boom",
            "raise RuntimeError",
        ),
        (
            CHECKED.format(condition="True", error="OSError(5, 'broken')")
            + MAPPED.format(function="numpy_function", where="True"),
            DENSE,
            "in epoch 1, after 0 batches: OSError: [Errno 5] broken",
            "raise OSError",
        ),
    ],
)
def test_a_python_function_that_fails_in_the_graph(
    folder: Path, more: str, model: str, text: str, place: str
) -> None:
    file = case(folder, more, model)
    with pytest.raises(WorkError) as failed:
        train(file)
    assert failed.value.what == f"training failed {text}"
    source, line = str(failed.value.seen).split(":")
    assert place in (folder / source).read_text().splitlines()[int(line) - 1]
    assert "Traceback" not in str(failed.value)
    assert text in stored(folder)["error"]


@pytest.mark.parametrize(
    ("hook", "text"),
    [
        ("on_epoch_end", "in epoch 1, after 3 batches"),
        ("on_train_batch_end", "in epoch 1, after 1 batch"),
    ],
)
def test_a_callback_that_raises(folder: Path, hook: str, text: str) -> None:
    file = case(folder, CALLBACK.format(hook=hook))
    # A tuner's own exceptions reach the tuner.
    with pytest.raises(KeyError) as raised:
        train(file)
    cause = raised.value.__cause__
    assert isinstance(cause, WorkError)
    assert cause.what == f"training failed {text}: KeyError: 'no such board'"
    assert str(cause.seen).startswith("case.py:")


def test_the_command_shows_one_error(folder: Path) -> None:
    file = case(folder, CALLBACK.format(hook="on_epoch_end"))
    ended = CliRunner().invoke(command, ["-u", str(file), "-q"])
    assert isinstance(ended.exception, WorkError)
    assert str(ended.exception).startswith("training failed in epoch 1, after 3 batches: KeyError")


NAMED = """
Sides = collections.namedtuple("Sides", ["left", "right"])


def get_input_pipeline(raw_data_files_folder, isTraining, batch_size, nbEpoch):
    x = np.linspace(-1, 1, 96, dtype=np.float32).reshape(24, 4)
    sides = Sides({"a": x[:, :1], "b": (x[:, 1:2],)}, x[:, 2:])
    return tf.data.Dataset.from_tensor_slices((sides, x.sum(1, keepdims=True))).batch(batch_size)
"""
BY_NAME = """
import keras


class Net(keras.Model):
    def __init__(self):
        super().__init__()
        self.head = keras.layers.Dense(1)

    def call(self, sides):
        inner = keras.ops.concatenate([sides.left["a"], sides.left["b"][0]], 1)
        return self.head(inner * sides.right)


def model(usersettings):
    return Net()
"""


def test_named_tuples_come_back_from_kafka(folder: Path, broker: str, session_name: str) -> None:
    file = case(folder, f"session_name = {session_name!r}" + NAMED, BY_NAME)
    own = train(file)
    stored = CliRunner().invoke(produce, ["-u", str(file), "-s", broker, "--split", "both"])
    assert stored.exit_code == 0, stored.output
    result = train(file, kafka=True, servers=broker)
    assert result.status == own.status == "complete"
    assert result.epochs_run == 2
    element = next(iter(kafka_dataset(broker, session_name, "train")))
    assert element[0]._fields == ("left", "right")

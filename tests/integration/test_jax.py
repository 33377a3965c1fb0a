"""Trials whose models Keras computes with JAX, and a loop of plain JAX on the NumPy face.

They run in the environment of `make setup-jax`, with KERAS_BACKEND=jax.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from paths import ROOT

pytest.importorskip("jax", reason="JAX has an environment: make test-jax")

import keras
import tensorflow as tf
from settings_files import write
from test_stopped_inside_epochs import check_alike, history, same_arrays, settings, store

from deeptool import train
from deeptool.errors import UserError
from deeptool.settings import load_settings
from deeptool.training import checkpoint
from deeptool.training.pace import Pace

pytestmark = [
    pytest.mark.broker,
    pytest.mark.jax,
    pytest.mark.skipif(keras.config.backend() != "jax", reason="KERAS_BACKEND=jax: make test-jax"),
]
# A fixture.
__all__ = ["settings"]

MODEL = """
import keras


def model(usersettings):
    sample = keras.Input((7,))
    hidden = keras.layers.Dense(16, activation="tanh")(sample[:, :6])
    hidden = keras.layers.BatchNormalization()(hidden)
    hidden = keras.layers.Dropout(usersettings.hparams["dropout"])(hidden)
    return keras.Model(sample, keras.layers.Dense(1)(hidden))
"""


@pytest.fixture
def file(settings: Path) -> Path:
    settings.with_name("resumed_model.py").write_text(MODEL)
    return settings


@pytest.mark.parametrize(
    ("hparams", "stop_at"),
    [
        ({"averages": True, "plateau": True, "metrics": "many"}, "2,7"),
        ({"rate": "schedule", "steps": 7, "val_steps": 2}, "1,3"),
    ],
)
def test_a_trial_stopped_inside_an_epoch_ends_as_if_nothing_had_been(
    file: Path,
    broker: str,
    hparams: dict[str, Any],
    stop_at: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    store(broker, file)
    asked = {"kafka": True, "servers": broker}
    whole = train(file, hparams=hparams, session_dir="whole", **asked)
    assert whole.status == "complete"
    monkeypatch.setenv("STOP_AT", stop_at)
    with pytest.raises(OSError, match="pulled the plug"):
        train(file, hparams=hparams, session_dir="cut", **asked)
    monkeypatch.delenv("STOP_AT")
    capsys.readouterr()
    train(restart_from="cut")
    epoch, batch = map(int, stop_at.split(","))
    assert f"resumes in epoch {epoch + 1}, after {batch} batches" in capsys.readouterr().err
    check_alike(Path("whole"), Path("cut"))


def test_a_whole_trial_and_its_exports(file: Path) -> None:
    hparams = {"averages": True, "patience": 2, "epochs": 8}
    result = train(file, hparams=hparams, session_dir="whole")
    assert result.status == "complete"
    # It stops early, two epochs after the best one.
    assert result.best_epoch is not None
    assert result.epochs_run in (result.best_epoch + 2, 8)
    assert result.best["val_loss"] < float(history(Path("whole"))[0]["val_loss"])
    assert json.loads(Path("whole/config.json").read_text())["keras_backend"] == "jax"
    assert result.notes == ()
    kept = keras.models.load_model("whole/model.keras")
    best = checkpoint.load(Path("whole/checkpoints"))
    assert best is not None
    assert best.best is not None
    # Keras' own files leave out the seeds of random layers.
    values = [value for value in best.best if value.dtype != np.uint32]
    assert same_arrays(checkpoint.values_of(kept.weights), values)
    x = np.random.default_rng(0).normal(size=(8, 7)).astype(np.float32)
    served = tf.saved_model.load("whole/saved_model")
    np.testing.assert_allclose(served.serve(x), kept.predict(x, verbose=0), rtol=1e-4, atol=1e-5)


def test_a_batch_that_is_counted_late_is_not_missed(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = Pace.on_train_batch_end

    def count_late(self: Any, batch: int, logs: Any = None) -> None:
        # In a thread of Keras', which does not wait for it.
        time.sleep(0.5)
        count(self, batch, logs)

    monkeypatch.setattr(Pace, "on_train_batch_end", count_late)
    assert train(file, hparams={"epochs": 1, "steps": 5}).status == "complete"


def test_a_trial_resumes_after_an_epoch_of_its_own_pipeline(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(file, session_dir="whole")
    monkeypatch.setenv("STOP_AT", "2,3")
    with pytest.raises(OSError, match="pulled the plug"):
        train(file, session_dir="cut")
    monkeypatch.delenv("STOP_AT")
    train(restart_from="cut")
    check_alike(Path("whole"), Path("cut"))


def test_a_trial_that_began_with_tensorflow_is_not_resumed(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STOP_AT", "1,0")
    with pytest.raises(OSError, match="pulled the plug"):
        train(file, session_dir="cut")
    config = Path("cut/config.json")
    config.write_text(config.read_text().replace('"keras_backend": "jax"', '"other": 1'))
    with pytest.raises(UserError, match="resumes with the Keras backend") as refused:
        train(restart_from="cut")
    assert (refused.value.seen, refused.value.valid) == ("KERAS_BACKEND=jax", "tensorflow")


@pytest.mark.parametrize(
    ("elements", "loss", "said"),
    [
        ("tf.fill((40, 1), 'text'), x", "'mse'", "trains on arrays of numbers only"),
        ("tf.RaggedTensor.from_row_lengths(x[:, 0], [1] * 40), x", "'mse'", "arrays of numbers"),
        ("tf.zeros((40, 3)), x", "'mse'", "Keras refuses the model"),
        ("x, x", "'no_such_loss'", "Keras refuses what get_total_loss returns"),
    ],
)
def test_what_does_not_fit_is_one_error_before_the_first_epoch(
    tmp_path: Path,
    elements: str,
    loss: str,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model.py").write_text(
        "import keras\n\n\ndef model(usersettings):\n"
        "    return keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])\n"
    )
    path = write(
        tmp_path,
        get_total_loss=f"def get_total_loss(model):\n    return {loss}\n",
        get_input_pipeline="def get_input_pipeline(raw_data_files_folder, isTraining, batch_size,"
        " nbEpoch):\n    import tensorflow as tf\n    x = tf.random.normal((40, 1))\n"
        f"    return tf.data.Dataset.from_tensor_slices(({elements})).batch(10)\n",
    )
    with pytest.raises(UserError, match=said):
        train(load_settings(path))


def test_plain_jax_trains_on_what_plain_keras_stored(broker: str, tmp_path: Path) -> None:
    for name in ("plain_keras.py", "plain_jax.py"):
        done = subprocess.run(
            [sys.executable, str(ROOT / "examples" / name), broker],
            capture_output=True,
            text=True,
            timeout=240,
            cwd=tmp_path,
            env=os.environ,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    said = re.search(r"accuracy on the \d+ samples: (0\.\d+)", done.stdout)
    assert said is not None
    assert float(said[1]) > 0.9

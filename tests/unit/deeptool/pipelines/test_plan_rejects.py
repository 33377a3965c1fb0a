"""What `deeptool plan` rejects before anything is uploaded, and what it only warns of."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from settings_files import write

LISTS_FILES = (
    "def get_input_pipeline(raw_data_files_folder, isTraining, batch_size, nbEpoch):\n"
    "    import glob\n    import tensorflow as tf\n"
    "    files = glob.glob(raw_data_files_folder + '/*.png')\n"
    "    return tf.data.Dataset.from_tensor_slices(tf.constant(files, tf.string)).batch(2)\n"
)
MODEL = (
    "import keras\n\n\ndef model(usersettings):\n"
    "    return keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])\n"
)
PIPELINE = (
    "def get_input_pipeline(raw_data_files_folder, isTraining, batch_size, nbEpoch):\n"
    "    import tensorflow as tf\n"
    "    x = tf.zeros((nb_train_samples, 1))\n"
    "    return tf.data.Dataset.from_tensor_slices((x, x)).batch(batch_size)\n"
)


def planned(
    folder: Path, file: Path, trials: Sequence[Mapping[str, Any]] = (), **request: Any
) -> subprocess.CompletedProcess[str]:
    """The command, asked about trials of one variant."""
    asked = {
        "format": 1,
        "variants": [{"procID": 0, "hparams": {}}],
        "trials": [{"hparams": hparams, "procID": 0} for hparams in trials],
        **request,
    }
    (folder / "ask").write_text(json.dumps(asked))
    return subprocess.run(
        [Path(sys.executable).with_name("deeptool"), "plan", "-u", file]
        + ["--request", "ask", "--json"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "DEEPTOOL_PROBE_SECONDS": "0.5"},
    )


def test_all_hparams_that_the_file_cannot_take(tmp_path: Path) -> None:
    file = write(tmp_path, get_input_pipeline=PIPELINE)
    variants = [{"procID": 0, "hparams": {}}, {"procID": 1, "hparams": {"image_sice": 8}}]
    values = (0.1, "much", 0.3)
    trials = [{"learning_rate": value, "lr": 1} for value in values]
    done = planned(tmp_path, file, trials, variants=variants)
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith(
        "error: 3 hyperparameters of the campaign cannot be set in the settings file\n"
    )
    assert "image_sice: the file has no such hyperparameter (did you mean image_size?)" in (
        done.stderr
    )
    assert "lr: the file has no such hyperparameter (did you mean learning_rate?)" in done.stderr
    assert "learning_rate = 'much': valid is float, as the file's own value 0.1 is" in done.stderr


def test_a_raw_data_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    file = write(tmp_path, raw_data_dir_val="'picures'", get_input_pipeline=LISTS_FILES)
    (tmp_path / "model.py").write_text(MODEL)
    done = planned(tmp_path, file)
    assert done.returncode == 2, done.stderr
    assert "is not there: raw_data_dir_val" in done.stderr
    assert "seen: picures (did you mean pictures?)" in done.stderr


def test_raw_data_that_is_gone_does_not_matter_to_what_is_stored(tmp_path: Path) -> None:
    file = write(tmp_path, raw_data_dir_train="'gone'", get_input_pipeline=LISTS_FILES)
    (tmp_path / "model.py").write_text(MODEL)
    done = planned(tmp_path, file, versions={"v": {"data": {}, "training": {}}})
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("parts", "model", "says"),
    [
        (
            {"get_total_loss": "def get_total_loss(model):\n    return 'mean_squared_eror'\n"},
            MODEL,
            "mean_squared_error",
        ),
        pytest.param(
            {"get_metrics": "def get_metrics(model, loss):\n    return ['mean_absolut_error']\n"},
            MODEL,
            "mean_absolute_error",
            marks=pytest.mark.soak,
        ),
        pytest.param(
            *({}, MODEL.replace("Dense(1)", "Dens(1)"), "has no attribute 'Dens'"),
            marks=pytest.mark.soak,
        ),
        ({}, MODEL.replace("Input((1,))", "Input((7,))"), "a dataset of (float32[?, 1]"),
        (
            {"get_input_pipeline": PIPELINE.replace("tf.zeros", "tf.zeroes")},
            MODEL,
            "has no attribute 'zeroes'",
        ),
    ],
    ids=["loss", "metric", "model", "shape", "pipeline"],
)
def test_what_keras_and_python_refuse(
    tmp_path: Path, parts: dict[str, str], model: str, says: str
) -> None:
    file = write(tmp_path, **{"get_input_pipeline": PIPELINE, **parts})
    (tmp_path / "model.py").write_text(model)
    done = planned(tmp_path, file, [{"learning_rate": 0.2}], model=True)
    assert done.returncode == 2, done.stderr
    assert says in done.stderr


def test_what_only_this_machine_lacks_is_a_warning(tmp_path: Path) -> None:
    file = write(tmp_path, after="get_online_pipline = None", get_input_pipeline=PIPELINE)
    (tmp_path / "model.py").write_text(
        "def model(usersettings):\n    open('/nowhere/weights').read()\n"
    )
    done = planned(tmp_path, file, [{"learning_rate": 0.2}], model=True)
    assert done.returncode == 0, done.stderr
    warnings = json.loads(done.stdout)["warnings"]
    assert any("the model could not be tried here" in line for line in warnings)
    assert any("get_online_pipline means nothing to deeptool" in line for line in warnings)

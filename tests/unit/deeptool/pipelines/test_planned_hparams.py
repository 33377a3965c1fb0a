"""What `deeptool plan` says of hparams that reach the samples on many ways: none is free."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from settings_files import write

from deeptool.pipelines.split_probe import SECONDS_VARIABLE

# hparam -> (above the pipeline, the term that it adds to each sample within it)
WAYS = {
    "looked_up": ("", "hparams['looked_up']"),
    "by_get": ("", "hparams.get('by_get', 1)"),
    "top_level": ("top = hparams['top_level']", "top"),
    "through_names": ("first = hparams['through_names']\nsecond = [first * 2]", "second[0]"),
    "of_a_class": ("class Config:\n    x = 1\nConfig.x = hparams['of_a_class']", "Config.x"),
    "set_by_name": (
        "class Other:\n    x = 1\nsetattr(Other, 'x', hparams['set_by_name'])",
        "Other.x",
    ),
    "of_a_function": ("def use():\n    return use.x\nuse.x = hparams['of_a_function']", "use()"),
    "of_an_object": (
        "class Box:\n    def __init__(self, x):\n        self.x = x\n"
        "box = Box(hparams['of_an_object'])",
        "box.x",
    ),
    "in_a_closure": (
        "def make(x):\n    return lambda: x\nclosed = make(hparams['in_a_closure'])",
        "closed()",
    ),
    "a_partial": ("part = functools.partial(int, hparams['a_partial'])", "part()"),
    "environment": (
        "os.environ['PLANNED_HPARAM'] = str(hparams['environment'])",
        "int(os.environ['PLANNED_HPARAM'])",
    ),
    "of_a_helper": ("planned_helper.x = hparams['of_a_helper']", "planned_helper.get()"),
    "put_into_a_helper": ("planned_helper.put(hparams['put_into_a_helper'])", "planned_helper.y"),
    "of_keras": (
        "keras.config.set_epsilon(1e-3 * hparams['of_keras'])",
        "round(keras.config.epsilon() * 1e3)",
    ),
    "the_generator": (
        "rng = np.random.default_rng(hparams['the_generator'])",
        "rng.integers(1000)",
    ),
    "a_file": (
        "open('planned.txt', 'w').write(str(hparams['a_file']))",
        "int(open('planned.txt').read())",
    ),
    "how_many": ("count = 10 + hparams['how_many']", "0"),
    "a_branch": ("", "(1 if 'a_branch' in hparams and hparams['a_branch'] > 1 else 0)"),
}
FREE = ("learning_rate", "width", "patience", "unused")


@pytest.fixture(scope="module")
def answer(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Of one settings file with all of them, for trials that vary each."""
    folder = tmp_path_factory.mktemp("planned")
    before, terms = zip(*WAYS.values(), strict=True)
    file = write(
        folder,
        before="import functools, os\nimport keras\nimport numpy as np\nimport tensorflow as tf\n"
        "import planned_helper",
        after="\n".join(filter(None, before)),
        hparams=repr(dict.fromkeys((*WAYS, *FREE), 1)),
        early_stopping_patience="hparams['patience']",
        model_file="'model.py'",
        nb_train_samples="0",
        nb_val_samples="0",
        nbEpoch="1",
        get_input_pipeline="def get_input_pipeline(raw_data_files_folder, isTraining, batch_size,"
        " nbEpoch):\n    added = np.array([" + ", ".join(terms) + "])\n"
        "    return tf.data.Dataset.range(count).map(lambda x: x + added).batch(batch_size)\n",
    )
    (folder / "planned_helper.py").write_text(
        "x = y = 1\ndef get():\n    return x\ndef put(value):\n    global y\n    y = value\n"
    )
    (folder / "model.py").write_text(
        "def model(usersettings):\n    return usersettings.hparams['width']\n"
    )
    return planned(folder, file, (*WAYS, *FREE))


def planned(folder: Path, file: Path, varied: Iterable[str], seconds: float = 60) -> dict[str, Any]:
    """What is said where each of these is 2 in a trial of its own."""
    request = {
        "format": 1,
        "variants": [{"procID": 0, "hparams": {}}],
        "trials": [{"hparams": {key: 2}, "procID": 0} for key in varied],
    }
    (folder / "ask").write_text(json.dumps(request))
    deeptool = Path(sys.executable).with_name("deeptool")
    done = subprocess.run(
        [deeptool, "plan", "-u", file, "--request", "ask", "--json"],
        cwd=folder,
        # On a machine with much else to do, too, all samples are read.
        env={**os.environ, SECONDS_VARIABLE: str(seconds)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("key", WAYS)
def test_an_hparam_that_reaches_the_samples_is_none_to_vary(
    key: str, answer: dict[str, Any]
) -> None:
    assert key in answer["data_hparams"]
    assert [*WAYS].index(key) in [each["trial"] for each in answer["refused"]]


@pytest.mark.parametrize("key", FREE)
def test_what_does_not_reach_them_is_free(key: str, answer: dict[str, Any]) -> None:
    assert key in answer["free_hparams"]
    assert "the same samples with 2" in answer["free_hparams"][key]


@pytest.mark.parametrize(
    ("padding", "after", "free"),
    [
        ("0", "", True),
        pytest.param("None", "", False, marks=pytest.mark.soak),
        # The first sample comes long after the probe's time has passed.
        pytest.param(
            *("None", ".map(lambda x, y: (x, tf.numpy_function(late, [y], tf.int64)))", False),
            marks=pytest.mark.soak,
        ),
        # What a batch makes of its samples is more than padding.
        ("0", ".map(lambda x, y: (x * tf.cast(tf.shape(x)[0], tf.int64), y))", False),
    ],
)
def test_padding_leaves_the_batch_size_free(
    tmp_path: Path, padding: str, after: str, free: bool
) -> None:
    if "late" in after:
        after += ".map(lambda x, y: (x, tf.ensure_shape(y, (None,))))"
    file = write(
        tmp_path,
        before="import tensorflow as tf\nimport time\n"
        "def late(y):\n    time.sleep(4)\n    return y\n",
        after=f"padding_value = {padding}",
        hparams="{'batch_size': 4}",
        batch_size="hparams['batch_size']",
        model_file="'model.py'",
        nb_train_samples="0",
        nb_val_samples="0",
        nbEpoch="1",
        early_stopping_patience="0",
        get_learningRate="def get_learningRate():\n    return 0.1\n",
        get_input_pipeline="def get_input_pipeline(raw_data_files_folder, isTraining, batch_size,"
        " nbEpoch):\n    numbers = tf.data.Dataset.range(1, 20)\n"
        "    made = numbers.map(lambda n: (tf.fill([n % 5 + 1], n), n))\n"
        f"    return made.padded_batch(batch_size){after}\n",
    )
    (tmp_path / "model.py").write_text("def model(usersettings):\n    return None\n")
    answer = planned(tmp_path, file, ["batch_size"], 0.1 if "late" in after else 60)
    assert ("batch_size" in answer["free_hparams"]) == free
    assert bool(answer["refused"]) != free
    if padding == "None":
        assert "set padding_value in the settings file" in answer["refused"][0]["message"]

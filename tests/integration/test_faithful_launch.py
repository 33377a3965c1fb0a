"""A campaign whose files are edited between its launches, and while its trials wait."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import settings_files

from deeptool.files import read_json

pytestmark = [pytest.mark.broker, pytest.mark.timeout(900)]

COMMAND = Path(sys.executable).parent / "deeptool-hpc"
SECONDS = 240
MODULE = "GAIN = {gain}\n\n\ndef gained(x, y):\n    return x * GAIN, y\n"
MODEL = """
import keras

def model(usersettings):
    return keras.Sequential([keras.Input((2,)), keras.layers.Dense({units})])
"""
PIPELINE = """
def get_input_pipeline(raw_data_files_folder, isTraining, batch_size, nbEpoch):
    import tensorflow as tf
    import amplifier
    x = tf.reshape(tf.range(40 if isTraining else 12, dtype=tf.float32), (-1, 2)) / 40
    pairs = tf.data.Dataset.from_tensor_slices((x, tf.reduce_sum(x, 1, keepdims=True)))
    return pairs.map(amplifier.gained).batch(batch_size).repeat(nbEpoch)
"""
# What was launched is what a trial notes; it waits while the file ``hold`` is there.
CALLBACKS = """
def addon_callbacks(model, train_samples, val_samples):
    import os, time, keras
    def begin(epoch, logs):
        with open(os.environ["TEST_FOLDER"] + "/notes", "a") as notes:
            notes.write(f"{learning_rate}\\n")
        while os.path.exists(os.environ["TEST_FOLDER"] + "/hold"):
            time.sleep(0.05)
    return [keras.callbacks.LambdaCallback(on_epoch_begin=begin)]
"""


class Bench:
    """A campaign in a folder of its own."""

    def __init__(self, folder: Path, session: str, server: str | None) -> None:
        self.folder, self.session = folder, session
        self.run = folder / "runs" / "edited"
        self.settings_text(rate=0.1)
        (folder / "amplifier.py").write_text(MODULE.format(gain=1.0))
        (folder / "model.py").write_text(MODEL.format(units=1))
        broker = "" if server is None else f'broker.bootstrap_servers = ["{server}"]\n'
        (folder / "edited.toml").write_text(
            f'name = "edited"\nsettings = "mysettings_test.py"\nreport = false\n{broker}'
            "[producers]\npartitions = 1\n[trials]\ngrid = { batch = [4, 5] }\n"
        )
        self.launches: list[subprocess.Popen[str]] = []

    def settings_text(self, rate: float, before: str = "") -> None:
        settings_files.write(
            self.folder,
            before=before,
            after=f"learning_rate = {rate}",
            session_name=repr(self.session),
            hparams="{'batch': 4}",
            batch_size="hparams['batch']",
            nbEpoch="1",
            nb_train_samples="0",
            nb_val_samples="0",
            used_gpu_IDs="[]",
            get_learningRate="def get_learningRate():\n    return learning_rate\n",
            addon_callbacks=CALLBACKS,
            get_input_pipeline=PIPELINE,
        )

    def start(self, *words: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [COMMAND, "launch", "edited.toml", *words],
            cwd=self.folder,
            env={**os.environ, "TEST_FOLDER": str(self.folder), "TF_CPP_MIN_LOG_LEVEL": "3"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.launches.append(process)
        return process

    def launch(self, *words: str) -> str:
        return self.finish(self.start(*words))

    def finish(self, process: subprocess.Popen[str]) -> str:
        output, _ = process.communicate(timeout=SECONDS)
        assert process.returncode == 0, output
        return output

    def notes(self) -> list[float]:
        """The learning rates that trials trained with, in order."""
        file = self.folder / "notes"
        return [float(line) for line in file.read_text().split()] if file.exists() else []

    def states(self) -> dict[str, str]:
        shown = subprocess.run(
            [COMMAND, "status", str(self.run), "--json"], capture_output=True, text=True, timeout=60
        )
        rows = json.loads(shown.stdout)["rows"]
        return {row["name"]: row["state"] for row in rows if row["role"] == "trial"}

    def uploads(self) -> dict[str, str]:
        """Topic -> upload id of what the last launch found stored."""
        rows: list[dict[str, Any]] = read_json(self.run / "summary.json")["uploads"]  # type: ignore[index]
        return {row["topic"]: row["upload"] for row in rows}


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    (tmp_path / "hold").unlink(missing_ok=True)


def test_edits_on_an_existing_kafka(folder: Path, broker: str, session_name: str) -> None:
    bench = Bench(folder, session_name, broker)
    # The second trial begins after the edit, and trains with what was launched.
    (folder / "hold").touch()
    first = bench.start()
    deadline = time.monotonic() + SECONDS
    while not bench.notes():
        assert first.poll() is None, first.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.1)
    bench.settings_text(rate=0.2)
    (folder / "model.py").write_text("raise RuntimeError('this is not what was launched')\n")
    (folder / "hold").unlink()
    output = bench.finish(first)
    assert bench.notes() == [0.1, 0.1]
    assert f"{session_name}.0.train: stored 20 samples" in output
    stored = bench.uploads()

    # The optimizer: nothing is uploaded, and what is asked for runs again.
    (folder / "model.py").write_text(MODEL.format(units=1))
    one = ("--grid", "batch=4")
    dry = bench.launch(*one, "--dry-run")
    assert "outdated trials of earlier launches: trial-0, trial-1 (training code changed" in dry
    assert "trial-2: after producer-0" in dry
    output = bench.launch(*one)
    assert f"{session_name}.0.train: is there already" in output
    assert bench.notes() == [0.1, 0.1, 0.2]
    assert bench.uploads() == stored
    assert list(bench.states().values()) == ["outdated", "outdated", "complete"]

    # A remark, and new times: nothing.
    bench.settings_text(rate=0.2, before="# a remark\n")
    (folder / "amplifier.py").touch()
    output = bench.launch(*one)
    assert "1 of 1 trials are complete" in output
    assert "producer" not in output

    # A module of the pipeline: one upload, and what has changed.
    (folder / "amplifier.py").write_text(MODULE.format(gain=2.0))
    output = bench.launch(*one)
    assert "amplifier" in output
    assert "producer-0 uploads again" in output
    assert f"{session_name}.0.train: stored 20 samples" in output
    assert set(bench.uploads()) == set(stored)
    assert set(bench.uploads().values()).isdisjoint(stored.values())

    # Undone: nothing runs, and what is stored now is told of.
    (folder / "amplifier.py").write_text(MODULE.format(gain=1.0))
    output = bench.launch(*one)
    assert "1 of 1 trials are complete" in output
    assert "what producer-0 stored last is of other code" in output
    assert bench.notes() == [0.1, 0.1, 0.2, 0.2]
    outdated = {f"trial-{index}": "outdated" for index in (0, 1, 3)}
    assert bench.states() == {**outdated, "trial-2": "complete"}


@pytest.mark.soak
def test_an_edited_module_on_a_broker_of_its_own(folder: Path, session_name: str) -> None:
    bench = Bench(folder, session_name, None)
    bench.launch("--grid", "batch=4")
    first = bench.uploads()
    (folder / "amplifier.py").write_text(MODULE.format(gain=3.0))
    output = bench.launch("--grid", "batch=4")
    # The owner is the same: its own upload is replaced without being asked.
    assert "producer-0 uploads again" in output
    assert bench.uploads().keys() == first.keys()
    assert bench.uploads() != first
    assert list(bench.states().values()) == ["outdated", "complete"]

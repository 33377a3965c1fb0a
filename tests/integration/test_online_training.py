"""Trials that begin while their training set is still being uploaded to a real broker."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
import uploads
from paths import HELPERS, ROOT

from deeptool import Provenance, TrialResult, train
from deeptool.catalog.datasets import NotComplete, NotStored
from deeptool.catalog.fold import Upload
from deeptool.client.topic_names import topic_name
from deeptool.errors import UserError, WorkError
from deeptool.settings import load_settings

pytestmark = pytest.mark.broker

SAMPLES = 320
WHOLE = np.linspace(-1, 1, SAMPLES, dtype=np.float32).tolist()
# A training set that takes 40 x 0.15 = 6 seconds. FAIL_AT breaks it in the middle; at HOLD_AT it
# waits for a file, where something has to happen meanwhile, however slow the machine is.
SLOW = f"""
import os
import time

_quick = get_input_pipeline
hparams["samples"] = {SAMPLES}


def _pace(i):
    time.sleep(0.15)
    while i == int(os.environ.get("HOLD_AT", -1)) and not os.path.exists("go_on"):
        time.sleep(0.05)
    if i == int(os.environ.get("FAIL_AT", -1)):
        raise OSError("the disk is gone")
    return np.int64(0)


def get_input_pipeline(raw_data_files_folder, isTraining, batch_size, nbEpoch):
    dataset = _quick(raw_data_files_folder, isTraining, batch_size, nbEpoch)
    if not isTraining:
        return dataset

    def slowly(i, batch):
        with tf.control_dependencies([tf.numpy_function(_pace, [i], tf.int64)]):
            return tf.nest.map_structure(tf.identity, batch)

    return dataset.enumerate().map(slowly)
"""


@pytest.fixture
def settings(tmp_path: Path, session_name: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The settings file of the unit tests, slowed down, under a session name of its own."""
    monkeypatch.chdir(tmp_path)
    for name in ("trial_settings.py", "trial_model.py"):
        text = (HELPERS / name).read_text()
        (tmp_path / name).write_text(text.replace('"trial"', repr(session_name)))
    file = tmp_path / "trial_settings.py"
    file.write_text(file.read_text() + SLOW)
    return file


@contextmanager
def producing(
    broker: str, settings: Path, *more: str, env: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[str]]:
    """A producer in a process of its own."""
    arguments = ["-u", str(settings), "-s", broker, "--split", "both", *more]
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "start_kafka_producer.py"), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, **(env or {})},
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate(timeout=10)


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    output, _ = process.communicate(timeout=60)
    return process.returncode, output


class Log(keras.callbacks.Callback):
    """What a trial was really trained on, epoch by epoch, and when the first of it."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[float] = []
        self.epochs: list[list[float]] = []
        self.begun = self.first = 0.0

    def see(self, x: Any) -> None:
        self.first = self.first or time.time()
        self.seen += x.ravel().tolist()

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.begun = self.begun or time.time()
        self.seen.clear()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.epochs.append(list(self.seen))


class Recording(keras.Sequential):
    def __init__(self, log: Log) -> None:
        super().__init__([keras.Input((1,)), keras.layers.Dense(1)])
        self.log = log

    def train_step(self, data: Any) -> Any:
        tf.numpy_function(self.log.see, [data[0]], [])
        return super().train_step(data)


def run(file: Path, broker: str, *callbacks: Any, **hparams: Any) -> tuple[Log, TrialResult]:
    settings, log = load_settings(file, hparams=hparams), Log()
    settings.build_model = lambda: Recording(log)
    settings.addon_callbacks = lambda *given: [log, *callbacks]
    return log, train(settings, kafka=True, servers=broker, online=True, wait=120)


def stored(broker: str, settings: Path, proc_id: int = 0) -> Upload:
    name = load_settings(settings).session_name
    return uploads.current(broker, topic_name(name, proc_id, "train"))


def completed_at(upload: Upload) -> float:
    assert upload.completed is not None
    return upload.completed.time


def test_a_trial_begins_before_the_upload_ends(
    settings: Path, broker: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with producing(broker, settings) as producer:
        log, result = run(settings, broker, epochs=3)
        assert ended(producer)[0] == 0
    end = completed_at(stored(broker, settings))
    assert log.begun < end
    # And it was trained on samples that early, not only ready to be.
    assert log.first < end
    assert [sorted(epoch) for epoch in log.epochs] == [WHOLE] * 3
    assert len({tuple(epoch) for epoch in log.epochs}) == 3
    assert result.usage.samples_read == 3 * (SAMPLES + 16)
    said = capsys.readouterr().err
    assert "waiting up to" in said
    assert "split train, is not stored, and no upload of it has begun" in said
    assert any("is still being uploaded" in note for note in result.notes)
    config = json.loads((result.session_dir / "config.json").read_text())
    assert config["request"]["online"] is True
    assert config["data"]["samples"] == {"train": None, "val": 16}
    # What is complete is read as always: nothing of it is news.
    log, result = run(settings, broker, epochs=1)
    assert result.notes == ()
    assert sorted(log.epochs[0]) == WHOLE


@pytest.mark.timed
def test_shards_that_are_uploaded_at_once_arrive_as_one(settings: Path, broker: str) -> None:
    shards = ("--num-procs", "2", "--auto-shard")
    with (
        producing(broker, settings, "--procID", "0", *shards) as one,
        producing(broker, settings, "--procID", "1", *shards) as other,
    ):
        log, result = run(settings, broker, epochs=2)
        for producer in (one, other):
            code, said = ended(producer)
            assert code == 0, said
    assert log.first < min(completed_at(stored(broker, settings, n)) for n in (0, 1))
    assert [sorted(epoch) for epoch in log.epochs] == [WHOLE] * 2
    assert result.usage.samples_read == 2 * (SAMPLES + 16)
    assert result.proc_id is None


@pytest.mark.timed
def test_steps_go_through_what_arrives_and_then_on(settings: Path, broker: str) -> None:
    ends: list[float] = []
    times = keras.callbacks.LambdaCallback(on_epoch_end=lambda *_: ends.append(time.time()))
    with producing(broker, settings) as producer:
        log, _ = run(settings, broker, times, epochs=9, steps=9)
        assert ended(producer)[0] == 0
    # Several epochs of 9 batches each ended while the 40 batches of the first pass arrived.
    assert sum(end < completed_at(stored(broker, settings)) for end in ends) >= 2
    assert [len(epoch) for epoch in log.epochs] == [72] * 9
    read = [sample for epoch in log.epochs for sample in epoch]
    assert sorted(read[:SAMPLES]) == WHOLE
    assert sorted(read[SAMPLES : 2 * SAMPLES]) == WHOLE


def test_a_trial_may_end_before_the_upload(settings: Path, broker: str) -> None:
    with producing(broker, settings) as producer:
        log, result = run(settings, broker, epochs=2, steps=3)
        assert producer.poll() is None
        assert ended(producer)[0] == 0
    assert len({sample for epoch in log.epochs for sample in epoch}) == 48
    assert any("when the trial ended" in note for note in result.notes)


def test_an_upload_that_fails_midway_ends_the_trial(settings: Path, broker: str) -> None:
    trial = [sys.executable, str(ROOT / "experiments_manager.py"), "--usersettings", str(settings)]
    options = ["--kafka", "-s", broker, "--online", "--wait", "120", "--session-dir", "here"]
    with producing(broker, settings, env={"FAIL_AT": "30"}) as producer:
        outcome = subprocess.run([*trial, *options], capture_output=True, text=True, timeout=120)
        code, said = ended(producer)
    assert code == 1
    assert "the disk is gone" in said
    assert outcome.returncode == 1, outcome.stderr
    assert "the upload to topic" in outcome.stderr
    assert "failed while it was read" in outcome.stderr
    assert "run its producer again" in outcome.stderr
    assert outcome.stderr.count("error:") == 1
    assert "Traceback" not in outcome.stderr
    result = json.loads(Path("here/result.json").read_text())
    assert (result["status"], result["epochs_run"]) == ("failed", 0)
    # Uploaded again, it goes on: while that is under way as well.
    with producing(broker, settings, "--reuse") as producer:
        resumed = train(restart_from="here", wait=120)
        assert ended(producer)[0] == 0
    assert (resumed.status, resumed.epochs_run) == ("complete", 3)
    assert any("uploaded again since" in note for note in resumed.notes)
    assert any("is still being uploaded" in note for note in resumed.notes)


@pytest.mark.parametrize("steps", [pytest.param(0, marks=pytest.mark.soak), 5])
def test_a_trial_goes_on_when_the_upload_is_complete_meanwhile(
    settings: Path, broker: str, steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deeptool.training.callbacks.WRITING", math.inf)
    half = load_settings(settings, hparams={"epochs": 4, "steps": steps})
    half.addon_callbacks = lambda *given: [failing_at(1)]
    with producing(broker, settings) as producer:
        with pytest.raises(OSError, match="plug"):
            train(half, kafka=True, servers=broker, online=True, wait=120, session_dir="half")
        assert ended(producer)[0] == 0
    resumed = train(restart_from="half")
    assert (resumed.status, resumed.epochs_run) == ("complete", 4)
    assert resumed.notes == ()
    if not steps:
        assert resumed.usage.samples_read == 4 * (SAMPLES + 16)


def test_a_trial_goes_on_while_the_upload_does(
    settings: Path, broker: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deeptool.training.callbacks.WRITING", math.inf)
    half = load_settings(settings, hparams={"epochs": 4, "steps": 4})
    half.addon_callbacks = lambda *given: [failing_at(1)]
    with producing(broker, settings, env={"HOLD_AT": "30"}) as producer:
        with pytest.raises(OSError, match="plug"):
            train(half, kafka=True, servers=broker, online=True, wait=120, session_dir="half")
        resumed = train(restart_from="half")
        assert producer.poll() is None
        Path("go_on").touch()
        assert ended(producer)[0] == 0
    assert (resumed.status, resumed.epochs_run) == ("complete", 4)
    assert any("is still being uploaded" in note for note in resumed.notes)


def failing_at(epoch: int) -> Any:
    def fail(current: int, logs: Any) -> None:
        if current == epoch:
            raise OSError("pulled the plug")

    return keras.callbacks.LambdaCallback(on_epoch_begin=fail)


@pytest.fixture
def held(settings: Path, broker: str) -> Iterator[Callable[..., tuple[Future[Any], Any]]]:
    """``held(known) -> upload, go_on``: the training set's upload waits in its middle for go_on."""
    name = load_settings(settings).session_name
    go_on = threading.Event()

    def start(known: Callable[[], Mapping[str, Any]]) -> tuple[Future[Any], threading.Event]:
        half = np.linspace(-1, 1, 8, dtype=np.float32)[:, None]

        def slowly() -> Any:
            yield half, half**2
            go_on.wait(60)
            yield half, half**2

        spec = tf.TensorSpec((None, 1), tf.float32)
        whole = tf.data.Dataset.from_tensors((half, half**2))
        provenance = Provenance(known(), known)
        uploads.tuned_upload(whole, broker, name, "val", provenance=provenance)
        waiting = tf.data.Dataset.from_generator(slowly, output_signature=(spec, spec))
        how: dict[str, Any] = {"limit": 16, "record_bytes": 64, "batch_size": 8}
        begun = pool.submit(
            uploads.tuned_upload, waiting, broker, name, provenance=provenance, **how
        )
        topic = topic_name(name, 0, "train")
        while uploads.state(broker, topic).pending is None:
            assert not begun.done()
            time.sleep(0.05)
        return begun, go_on

    with ThreadPoolExecutor(1) as pool:
        try:
            yield start
        finally:
            go_on.set()


def test_a_trial_on_other_data_is_refused_as_always(
    settings: Path, broker: str, held: Callable[..., Any]
) -> None:
    held(lambda: {"samples": 40, "data": "slices"})
    for proc_id in (None, 0):
        with pytest.raises(UserError, match=r"samples|no variant"):
            train(settings, proc_id=proc_id, kafka=True, servers=broker, online=True)
    assert not Path("experiments").exists()
    loaded = load_settings(settings)
    loaded.hparams["samples"] = 40
    loaded.build_model = lambda: keras.Sequential([keras.Input((8, 8)), keras.layers.Flatten()])
    with pytest.raises(UserError, match="Keras refuses the model"):
        train(loaded, kafka=True, servers=broker, online=True)
    # Without --online it is not there yet.
    with pytest.raises(NotComplete):
        train(settings, proc_id=0, kafka=True, servers=broker)


def test_what_the_samples_depend_on_may_be_known_at_the_end_only(
    settings: Path, broker: str, held: Callable[..., Any]
) -> None:
    known = {"samples": SAMPLES}
    # As in most settings files: the keys are found by watching.
    settings.write_text(settings.read_text().replace('data_hparams = ["samples", "data"]', ""))
    begun, go_on = held(lambda: dict(known))
    begins = keras.callbacks.LambdaCallback(on_epoch_begin=lambda *_: go_on.set())
    known["dropout"] = 0.5
    with pytest.raises(WorkError, match="does not fit it") as caught:
        run(settings, broker, begins)
    assert "dropout" in str(caught.value)
    begun.result(60)


def test_nothing_to_begin_with_is_said(settings: Path, broker: str) -> None:
    with pytest.raises(NotStored, match="no upload of it has begun"):
        train(settings, kafka=True, servers=broker, online=True)
    name = load_settings(settings).session_name
    x = tf.zeros((8, 1))
    uploads.tuned_upload(tf.data.Dataset.from_tensors((x, x)), broker, name, "train")
    with pytest.raises(NotStored, match="split val, is not stored"):
        train(settings, kafka=True, servers=broker, online=True)


@pytest.mark.timed
def test_a_trial_that_waits_for_samples_ends_when_it_is_told_to(
    settings: Path, broker: str, held: Callable[..., Any]
) -> None:
    held(lambda: {"samples": SAMPLES, "data": "slices"})
    trial = [sys.executable, str(ROOT / "experiments_manager.py"), "--usersettings", str(settings)]
    options = ["--kafka", "-s", broker, "--online", "--session-dir", "here"]
    process = subprocess.Popen([*trial, *options], stderr=subprocess.PIPE, text=True)
    try:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and "training" not in state_of(Path("here")):
            assert process.poll() is None
            time.sleep(0.1)
        time.sleep(2)
        told = time.monotonic()
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=60)
        assert process.returncode == 128 + signal.SIGTERM, said
        assert time.monotonic() - told < 10
        assert json.loads(Path("here/result.json").read_text())["status"] == "interrupted"
    finally:
        process.kill()
        process.wait(10)


def state_of(session: Path) -> str:
    file = session / "progress.json"
    return str(json.loads(file.read_text())["state"]) if file.exists() else ""

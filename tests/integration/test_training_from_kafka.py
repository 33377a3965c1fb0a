"""Trials that read from a real broker."""

from __future__ import annotations

import csv
import functools
import json
import math
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from click.testing import CliRunner
from paths import HELPERS

from deeptool import Provenance, TrialResult, train, upload
from deeptool.catalog.datasets import NotComplete, NotStored
from deeptool.commands.produce import command as produce
from deeptool.errors import UserError, WorkError
from deeptool.settings import load_settings
from deeptool.store.kafka_store import KafkaStore

pytestmark = pytest.mark.broker

HERE = Path(__file__).resolve().parent
SEEN: list[float] = []


@pytest.fixture
def settings(tmp_path: Path, session_name: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The settings file of the unit tests, under a session name of its own."""
    monkeypatch.chdir(tmp_path)
    for name in ("trial_settings.py", "trial_model.py"):
        text = (HELPERS / name).read_text()
        (tmp_path / name).write_text(text.replace('"trial"', repr(session_name)))
    return tmp_path / "trial_settings.py"


def store(broker: str, settings: Path, *more: str) -> None:
    arguments = ["-u", str(settings), "-s", broker, "--split", "both", *more]
    outcome = CliRunner().invoke(produce, arguments, catch_exceptions=False)
    assert outcome.exit_code == 0, outcome.output


def rows(result: TrialResult) -> list[dict[str, float]]:
    with open(result.session_dir / "history.csv", newline="") as file:
        return [
            {name: float(value) for name, value in row.items() if name != "seconds"}
            for row in csv.DictReader(file)
        ]


class Recording(keras.Sequential):
    """Remembers the samples that it was really trained on."""

    def __init__(self) -> None:
        super().__init__([keras.Input((1,)), keras.layers.Dense(1)])

    def train_step(self, data: Any) -> Any:
        tf.numpy_function(lambda x: SEEN.extend(x.ravel().tolist()), [data[0]], [])
        return super().train_step(data)


class Epochs(keras.callbacks.Callback):
    """The samples of each epoch, in the order that they were trained on."""

    def __init__(self) -> None:
        super().__init__()
        self.epochs: list[list[float]] = []
        self.steps: list[int | None] = []

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        SEEN.clear()
        self.steps.append(self.params["steps"])

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.epochs.append(list(SEEN))


def recorded(file: Path, broker: str, **hparams: Any) -> tuple[list[list[float]], TrialResult]:
    """Each epoch's samples as trained on, and the result."""
    settings = load_settings(file, hparams=hparams)
    settings.build_model = Recording
    epochs = Epochs()
    settings.addon_callbacks = lambda *given: [epochs]
    return epochs.epochs, train(settings, kafka=True, servers=broker)


def test_every_epoch_reads_every_sample_once_in_another_order(settings: Path, broker: str) -> None:
    store(broker, settings)
    epochs, result = recorded(settings, broker, epochs=4)
    whole = np.linspace(-1, 1, 40, dtype=np.float32).tolist()
    assert [sorted(epoch) for epoch in epochs] == [whole] * 4
    assert len({tuple(epoch) for epoch in epochs}) == 4
    assert result.usage.samples_read == 4 * (40 + 16)
    # From the broker once, and from the node's copy afterwards.
    assert 2 <= result.usage.records_read < 2 * 2
    assert 56 * 8 < result.usage.bytes_read < 2 * 56 * 100
    assert result.usage.input_cpu_seconds is not None
    assert 0 < result.usage.input_cpu_seconds < result.usage.cpu_seconds
    assert (result.data_from, result.proc_id) == ("kafka", 0)
    # The seed says the order.
    assert recorded(settings, broker, epochs=4)[0] == epochs
    config = json.loads((result.session_dir / "config.json").read_text())
    assert config["data"]["samples"] == {"train": 40, "val": 16}


def test_steps_go_through_the_passes_without_a_gap(settings: Path, broker: str) -> None:
    store(broker, settings)
    epochs, _ = recorded(settings, broker, epochs=5, steps=3, val_steps=5)
    read = [sample for epoch in epochs for sample in epoch]
    whole = np.linspace(-1, 1, 40, dtype=np.float32).tolist()
    assert [len(epoch) for epoch in epochs] == [24] * 5
    assert [sorted(read[n : n + 40]) for n in (0, 40, 80)] == [whole] * 3


@pytest.mark.parametrize(
    "hparams",
    [{"averages": True, "plateau": True}, {"steps": 7, "val_steps": 3, "dropout": 0.2}],
    ids=["whole", "steps"],
)
def test_a_resumed_trial_reads_what_it_would_have_read(
    settings: Path, broker: str, hparams: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deeptool.training.callbacks.WRITING", math.inf)
    store(broker, settings)
    hparams = {"epochs": 5, **hparams}
    whole = train(settings, hparams=hparams, kafka=True, servers=broker)
    half = load_settings(settings, hparams=hparams)
    addon = half.addon_callbacks

    def fail(epoch: int, logs: Any) -> None:
        if epoch == 3:
            raise OSError("pulled the plug")

    last = keras.callbacks.LambdaCallback(on_epoch_begin=fail)
    half.addon_callbacks = lambda *given: [*addon(*given), last]
    with pytest.raises(OSError, match="plug"):
        train(half, kafka=True, servers=broker, session_dir="half")
    resumed = train(restart_from="half")
    assert resumed.data_from == "kafka"
    assert resumed.notes == ()
    for one, other in zip(rows(resumed), rows(whole), strict=True):
        assert one == pytest.approx(other, rel=1e-5)


def test_stored_epochs_of_different_sizes_are_read_whole(settings: Path, broker: str) -> None:
    name = load_settings(settings).session_name
    sizes = [17, 41, 8]

    def numbered(epoch: int) -> Any:
        x = tf.range(sizes[epoch], dtype=tf.float32)[:, tf.newaxis] + 100 * epoch
        return tf.data.Dataset.from_tensor_slices((x, x)).batch(8)

    hparams = {"samples": 40, "data": "slices"}
    known = {"provenance": Provenance(hparams, hparams)}
    upload(numbered, broker, name, "train", epochs=3, **known)
    upload(numbered(0), broker, name, "val", **known)
    epochs, result = recorded(settings, broker, epochs=5, learning_rate=0.0)
    expected = [[100.0 * k + n for n in range(sizes[k])] for k in (0, 1, 2, 0, 1)]
    assert [sorted(epoch) for epoch in epochs] == expected
    assert result.usage.samples_read == sum(map(len, expected)) + 5 * 17
    # The same store, five batches an epoch: passes of 3, 6 and 1 batches follow on another.
    epochs, _ = recorded(settings, broker, epochs=3, steps=5, learning_rate=0.0)
    read = [sample for epoch in epochs for sample in epoch]
    begin = 0
    for k in (0, 1, 2, 0):
        assert sorted(read[begin : begin + sizes[k]]) == [100.0 * k + n for n in range(sizes[k])]
        begin += sizes[k]


def test_callbacks_are_told_the_steps_of_each_epoch(settings: Path, broker: str) -> None:
    loaded = load_settings(settings, hparams={"epochs": 4, "learning_rate": 0.0})
    name = loaded.session_name

    def sized(epoch: int) -> Any:
        x = tf.zeros(([17, 41][epoch], 1))
        return tf.data.Dataset.from_tensor_slices((x, x)).batch(8)

    known = {"provenance": Provenance({}, {"samples": 40, "data": "slices"})}
    upload(sized, broker, name, "train", epochs=2, **known)
    upload(sized(0), broker, name, "val", **known)
    epochs, cardinalities = Epochs(), []

    def addon_callbacks(model: Any, train_samples: Any, val_samples: Any) -> Any:
        cardinalities.extend([int(train_samples.cardinality()), int(val_samples.cardinality())])
        return [epochs]

    loaded.addon_callbacks = addon_callbacks
    train(loaded, kafka=True, servers=broker)
    assert (epochs.steps, cardinalities) == ([3, 6, 3, 6], [3, 3])
    # What the trial's own pipeline makes of the batches counts, or that it cannot be known.
    for online, expected in (
        (lambda dataset, training: dataset.take(4), [3, 4, 3, 4]),
        (lambda dataset, training: dataset.filter(lambda x, y: True), [None] * 4),
    ):
        epochs.steps.clear()
        loaded.get_online_pipeline = online
        train(loaded, kafka=True, servers=broker)
        assert epochs.steps == expected


def test_the_online_pipeline_comes_after_the_read(settings: Path, broker: str) -> None:
    store(broker, settings)
    told: list[bool] = []
    loaded = load_settings(settings, hparams={"epochs": 1})
    loaded.build_model = Recording
    epochs = Epochs()
    loaded.addon_callbacks = lambda *given: [epochs]

    def online(dataset: Any, training: bool) -> Any:
        told.append(training)
        return dataset.map(lambda x, y: (x + 10.0 if training else x, y))

    loaded.get_online_pipeline = online
    train(loaded, kafka=True, servers=broker)
    assert sorted(told) == [False, True]
    assert sorted(epochs.epochs[0])[0] == 9.0


def test_a_trial_on_other_data_is_refused(settings: Path, broker: str) -> None:
    store(broker, settings)
    with pytest.raises(UserError) as caught:
        train(settings, hparams={"samples": 24}, kafka=True, servers=broker)
    assert "samples" in str(caught.value)
    assert "40" in str(caught.value)
    assert "24" in str(caught.value)
    with pytest.raises(UserError, match="samples"):
        train(settings, hparams={"samples": 24}, proc_id=0, kafka=True, servers=broker)
    assert not Path("experiments").exists()
    # Whatever else differs is free, and told where it is the code behind the samples.
    settings.write_text(settings.read_text() + "\n# changed\n")
    result = train(settings, hparams={"epochs": 1}, kafka=True, servers=broker)
    assert not any("changed" in note for note in result.notes)
    settings.write_text(settings.read_text().replace("(x, x**2)", "(x, x**2 + 0.0)"))
    result = train(settings, hparams={"epochs": 1}, kafka=True, servers=broker)
    assert sum("has changed since the upload: get_input_pipeline" in n for n in result.notes) == 2


def test_the_variant_that_fits_is_read(settings: Path, broker: str) -> None:
    store(broker, settings)
    store(broker, settings, "--procID", "1", "--hparam", "samples=24")
    for samples, proc_id in ((24, 1), (40, 0)):
        hparams = {"samples": samples, "epochs": 1}
        result = train(settings, hparams=hparams, kafka=True, servers=broker)
        assert (result.proc_id, result.usage.samples_read) == (proc_id, samples + 16)
    with pytest.raises(UserError, match="no variant") as caught:
        train(settings, hparams={"samples": 32}, kafka=True, servers=broker)
    assert "procID 0" in str(caught.value)
    assert "procID 1" in str(caught.value)


def test_shards_are_read_as_one_dataset(settings: Path, broker: str) -> None:
    for proc_id in ("0", "1"):
        store(broker, settings, "--procID", proc_id, "--num-procs", "2", "--auto-shard")
    epochs, result = recorded(settings, broker, epochs=2)
    whole = np.linspace(-1, 1, 40, dtype=np.float32).tolist()
    assert [sorted(epoch) for epoch in epochs] == [whole] * 2
    assert result.proc_id is None


def test_a_model_that_asks_for_another_shape_is_refused(settings: Path, broker: str) -> None:
    store(broker, settings)
    loaded = load_settings(settings)
    loaded.build_model = lambda: keras.Sequential(
        [keras.Input((8, 8), name="image"), keras.layers.Flatten(), keras.layers.Dense(1)]
    )
    with pytest.raises(UserError, match="Keras refuses the model: ValueError") as caught:
        train(loaded, kafka=True, servers=broker)
    assert caught.value.seen == "a dataset of (float32[?, 1], float32[?, 1])"
    assert "float32[?, 8, 8]" in str(caught.value.valid)


def test_what_is_not_there_is_said_or_waited_for(
    settings: Path, broker: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(NotStored, match="train"):
        train(settings, kafka=True, servers=broker)
    arguments = ["-u", str(settings), "-s", broker]
    assert CliRunner().invoke(produce, arguments).exit_code == 0
    with pytest.raises(NotStored, match="val"):
        train(settings, kafka=True, servers=broker)

    def later() -> None:
        time.sleep(2)
        assert CliRunner().invoke(produce, [*arguments, "-v"]).exit_code == 0

    thread = threading.Thread(target=later)
    thread.start()
    try:
        result = train(settings, kafka=True, servers=broker, wait=60, session_dir="waits")
    finally:
        thread.join(60)
    assert result.usage.samples_read == 3 * (40 + 16)
    assert "waiting up to" in capsys.readouterr().err


def test_an_upload_under_way_is_not_read(settings: Path, broker: str) -> None:
    name = load_settings(settings).session_name
    reached, go_on = threading.Event(), threading.Event()

    def slowly() -> Any:
        yield np.float32([0]), np.float32([0])
        reached.set()
        go_on.wait(60)

    spec = tf.TensorSpec((1,), tf.float32)
    dataset = tf.data.Dataset.from_generator(slowly, output_signature=(spec, spec)).batch(1)
    thread = threading.Thread(target=upload, args=(dataset, broker, name, "train"))
    thread.start()
    try:
        assert reached.wait(60)
        kind: type = NotStored
        deadline = time.monotonic() + 30
        while kind is NotStored and time.monotonic() < deadline:
            with pytest.raises(NotStored) as caught:
                train(settings, kafka=True, servers=broker)
            kind = caught.type
        assert kind is NotComplete
    finally:
        go_on.set()
        thread.join(60)


@pytest.mark.parametrize("cache", ["off", "auto"])
def test_a_broker_that_dies_fails_the_trial_which_goes_on_later(
    settings: Path, own_broker: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, cache: str
) -> None:
    """Unless the node has a copy of the dataset: then nobody asks the broker any more."""
    monkeypatch.setattr("deeptool.training.callbacks.WRITING", math.inf)
    server = own_broker()
    store(server.bootstrap, settings)
    loaded = load_settings(settings, hparams={"epochs": 4})

    def die(epoch: int, logs: Any) -> None:
        if epoch == 2:
            server.kill()

    last = keras.callbacks.LambdaCallback(on_epoch_begin=die)
    loaded.addon_callbacks = lambda *given: [last]
    impatient = functools.partial(KafkaStore, silence_seconds=5.0)
    monkeypatch.setattr("deeptool.training.find_data.KafkaStore", impatient)
    if cache == "auto":
        result = train(loaded, kafka=True, servers=server.bootstrap, session_dir="here")
        assert (result.status, result.epochs_run) == ("complete", 4)
        return
    with pytest.raises(WorkError) as caught:
        train(loaded, kafka=True, servers=server.bootstrap, session_dir="here", cache=cache)
    assert "Traceback" not in str(caught.value)
    result = json.loads(Path("here/result.json").read_text())
    assert (result["status"], result["epochs_run"]) == ("failed", 2)
    with pytest.raises(UserError, match="no Kafka broker answers"):
        train(restart_from="here", servers=server.bootstrap)
    assert json.loads(Path("here/result.json").read_text()) == result
    server.restart()
    resumed = train(restart_from="here", servers=server.bootstrap)
    assert (resumed.status, resumed.epochs_run) == ("complete", 4)

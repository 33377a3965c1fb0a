"""Whole trials, from the settings' own pipeline."""

from __future__ import annotations

import contextlib
import csv
import errno
import json
import math
import os
import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from click.testing import CliRunner
from paths import HELPERS

from deeptool import TrialResult, train
from deeptool.commands.train import command
from deeptool.errors import Terminated, UserError, WorkError
from deeptool.settings import load_settings
from deeptool.training import board, checkpoint, devices
from deeptool.training import model as trial_model
from deeptool.training.trial_request import TrialRequest
from deeptool.training.trial_source import TrialSource

SETTINGS = HELPERS / "trial_settings.py"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def rows(result: TrialResult) -> list[dict[str, float]]:
    """The history of a trial, without the times."""
    with open(result.session_dir / "history.csv", newline="") as file:
        return [
            {name: float(value) for name, value in row.items() if name != "seconds"}
            for row in csv.DictReader(file)
        ]


def logged(result: TrialResult, split: str, tag: str) -> list[float]:
    """What TensorBoard would show."""
    (file,) = (result.session_dir / "logs" / split).glob("events*")
    events = [v for e in tf.compat.v1.train.summary_iterator(str(file)) for v in e.summary.value]
    return [float(tf.make_ndarray(value.tensor)) for value in events if value.tag == tag]


def stored(folder: Path) -> dict[str, Any]:
    values: dict[str, Any] = json.loads((folder / "result.json").read_text())
    return values


def validation(samples: int = 16) -> tuple[Any, Any]:
    x = np.linspace(-1, 1, samples, dtype=np.float32)[:, np.newaxis]
    return x, x**2


class Stop(keras.callbacks.Callback):
    """Does something at the beginning of an epoch."""

    def __init__(self, epoch: int, what: Any) -> None:
        super().__init__()
        self.epoch, self.what = epoch, what

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        if epoch == self.epoch:
            self.what()


def interrupted(epoch: int, file: Path = SETTINGS, **hparams: Any) -> Path:
    """The session folder of a trial that failed after so many epochs."""
    settings = load_settings(file, hparams=hparams)
    addon = settings.addon_callbacks

    def fail() -> None:
        raise OSError("pulled the plug")

    settings.addon_callbacks = lambda *given: [*addon(*given), Stop(epoch, fail)]
    with pytest.raises(OSError, match="plug"):
        train(settings)
    (found,) = Path("experiments").absolute().iterdir()
    return found


def test_a_session_folder_holds_all_that_the_trial_was_and_came_to(folder: Path) -> None:
    result = train(SETTINGS, hparams={"learning_rate": "0.1", "epochs": 4})
    assert result.status == "complete"
    assert result.session_dir.parent == folder / "experiments"
    assert result.session_dir.name.startswith("trial_learning_rate=0.1_epochs=4_")
    assert result.hparams["learning_rate"] == 0.1
    assert (result.epochs_run, result.epochs_planned) == (4, 4)
    assert result.usage.samples_read == 4 * (40 + 16)
    assert result.data_from == "pipeline"
    history = rows(result)
    assert [row["epoch"] for row in history] == [1, 2, 3, 4]
    best = min(history, key=lambda row: row["val_loss"])
    assert result.best_epoch == best["epoch"]
    assert result.best == {k: best[k] for k in ("loss", "mae", "val_loss", "val_mae")}
    assert result.final["val_loss"] == history[-1]["val_loss"]
    assert TrialResult.from_json(stored(result.session_dir)) == result
    assert (result.session_dir / "trial_settings.py").read_text() == SETTINGS.read_text()
    assert (result.session_dir / "trial_model.py").exists()
    config = json.loads((result.session_dir / "config.json").read_text())
    assert config["settings"]["hparams"] == result.hparams
    assert config["request"]["hparams"] == {"learning_rate": "0.1", "epochs": 4}
    progress = json.loads((result.session_dir / "progress.json").read_text())
    assert (progress["state"], progress["epoch"], progress["epochs"]) == ("complete", 4, 4)
    assert progress["metrics"] == result.final
    assert logged(result, "train", "epoch_loss") == [row["loss"] for row in history]
    assert logged(result, "validation", "epoch_mae") == [row["val_mae"] for row in history]


def test_the_best_weights_are_exported_twice_alike() -> None:
    result = train(SETTINGS, hparams={"learning_rate": 1.0, "epochs": 5})
    assert result.best_epoch is not None
    assert result.best_epoch < 5, "the last epoch is the best: the test shows nothing"
    x, y = validation()
    model = keras.models.load_model(result.session_dir / "model.keras")
    predicted = model.predict(x, verbose=0)
    assert np.mean((predicted - y) ** 2) == pytest.approx(result.best["val_loss"], rel=1e-5)
    served = tf.saved_model.load(str(result.session_dir / "saved_model"))
    answer = served.serve(x)
    np.testing.assert_allclose(next(iter(answer.values())), predicted, rtol=1e-5, atol=1e-6)


def test_the_same_seed_gives_the_same_trial() -> None:
    one, other = train(SETTINGS), train(SETTINGS)
    assert rows(one) == rows(other)
    assert one.session_dir != other.session_dir


@pytest.mark.parametrize(
    "hparams",
    [
        pytest.param({"dropout": 0.3}, marks=pytest.mark.soak),
        {"dropout": 0.3, "averages": True, "plateau": True},
        {"steps": 7, "val_steps": 3, "plateau": True},
        {"data": "uncounted", "averages": True},
    ],
    ids=lambda hparams: "-".join(hparams),
)
def test_a_resumed_trial_goes_on_as_if_nothing_had_been(
    hparams: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deeptool.training.callbacks.WRITING", math.inf)
    hparams = {"epochs": 6, **hparams}
    folder = interrupted(3, **hparams)
    half = stored(folder)
    assert (half["status"], half["epochs_run"]) == ("failed", 3)
    assert "failed in epoch 4, after 0 batches: OSError: pulled the plug" in half["error"]
    resumed = train(restart_from=folder)
    assert resumed.session_dir == folder
    assert (resumed.status, resumed.epochs_run) == ("complete", 6)
    assert resumed.usage.samples_read > half["samples_read"]
    assert resumed.started == half["started"]
    whole = train(SETTINGS, hparams=hparams)
    assert len(rows(resumed)) == 6
    for one, other in zip(rows(resumed), rows(whole), strict=True):
        assert one == pytest.approx(other, rel=1e-5)
    assert resumed.best == pytest.approx(whole.best, rel=1e-5)
    if hparams.get("plateau"):
        assert rows(whole)[-1]["learning_rate"] < rows(whole)[0]["learning_rate"]


def test_early_stopping_goes_on_counting_after_a_restart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deeptool.training.callbacks.WRITING", math.inf)
    hparams = {"epochs": 12, "patience": 2, "learning_rate": 1.0}
    whole = train(SETTINGS, hparams=hparams)
    assert whole.best_epoch is not None
    assert whole.epochs_run == whole.best_epoch + 2 < 12
    why = f"stopped early: no better val_loss than in epoch {whole.best_epoch} for 2 epochs"
    assert why in whole.notes
    for session in Path("experiments").iterdir():
        session.rename("whole")
    resumed = train(restart_from=interrupted(whole.epochs_run - 1, **hparams))
    assert resumed.epochs_run == whole.epochs_run
    # Killed between the last epoch and the result: nothing is trained again.
    (resumed.session_dir / "result.json").unlink()
    again = train(restart_from=resumed.session_dir)
    assert (again.epochs_run, again.best) == (resumed.epochs_run, resumed.best)
    assert why in again.notes
    assert rows(again) == rows(resumed)


def test_a_server_says_where_to_read_from_and_to_read_from_there() -> None:
    with pytest.raises(UserError, match="no Kafka broker answers"):
        train(SETTINGS, servers="localhost:1")
    words = ["-u", str(SETTINGS), "--no-kafka", "--server", "localhost:1"]
    refused = CliRunner().invoke(command, words)
    assert refused.exit_code == 2
    assert "--server goes with --kafka" in refused.output


def test_a_resumed_trial_uses_its_own_copies(tmp_path: Path) -> None:
    for name in ("trial_settings.py", "trial_model.py"):
        (tmp_path / name).write_bytes((SETTINGS.parent / name).read_bytes())
    settings = load_settings(tmp_path / "trial_settings.py", hparams={"epochs": 2})

    def fail() -> None:
        raise OSError("pulled the plug")

    settings.addon_callbacks = lambda *given: [Stop(1, fail)]
    with pytest.raises(OSError, match="plug"):
        train(settings)
    (folder,) = Path("experiments").iterdir()
    (tmp_path / "trial_model.py").write_text("def model(usersettings): return None")
    (tmp_path / "trial_settings.py").unlink()
    resumed = train(restart_from=folder)
    assert (resumed.status, resumed.epochs_run) == ("complete", 2)
    assert sum("has changed since" in note for note in resumed.notes) == 2


def test_a_module_that_has_changed_is_said_when_a_trial_resumes(tmp_path: Path) -> None:
    mine, module = tmp_path / "mine.py", tmp_path / "widths_of_mine.py"
    mine.write_text(SETTINGS.read_text())
    module.write_text("WIDTH = 4\n")
    (tmp_path / "trial_model.py").write_text(
        "import keras\nfrom widths_of_mine import WIDTH\n\n\ndef model(usersettings):\n"
        "    hidden = keras.layers.Dense(WIDTH)\n"
        "    return keras.Sequential([keras.Input((1,)), hidden, keras.layers.Dense(1)])\n"
    )
    session = interrupted(2, mine, epochs=4)
    module.write_text("WIDTH = 8\n")
    with pytest.raises(UserError, match="checkpoint does not fit") as caught:
        train(restart_from=session)
    assert "undo what has changed" in str(caught.value.next_step)
    module.write_text("WIDTH = 4  # as before\n")
    resumed = train(restart_from=session)
    assert resumed.status == "complete"
    assert any(str(module) in note and "has changed" in note for note in resumed.notes)
    assert not any("has changed" in note for note in train(mine, hparams={"epochs": 1}).notes)


def test_what_cannot_be_resumed_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UserError, match="not a session folder"):
        train(restart_from="nowhere")
    result = train(SETTINGS, hparams={"epochs": 1})
    assert train(restart_from=result.session_dir) == result
    assert "already complete" in capsys.readouterr().err
    with pytest.raises(UserError, match="that it began with"):
        train(restart_from=result.session_dir, hparams={"epochs": 2})


def test_a_trial_that_never_reached_a_checkpoint_begins_anew() -> None:
    folder = interrupted(0, epochs=2)
    assert not (folder / "checkpoints").exists()
    resumed = train(restart_from=folder)
    assert resumed.epochs_run == 2
    assert any("no checkpoint" in note for note in resumed.notes)


KILLED = """
import os, signal, sys
from deeptool.training.session_folder import SessionFolder
from deeptool import train
def die(*given): os.kill(os.getpid(), signal.SIGKILL)
setattr(SessionFolder, {name!r}, die)
train(sys.argv[1], hparams={{"epochs": 2}}, session_dir={session!r})
"""


@pytest.mark.parametrize("session", ["given", pytest.param(None, marks=pytest.mark.soak)])
def test_a_trial_killed_before_it_began_is_run_again(tmp_path: Path, session: str | None) -> None:
    code = KILLED.format(name="begin", session=session)
    killed = subprocess.run([sys.executable, "-c", code, str(SETTINGS)], capture_output=True)
    assert killed.returncode == -signal.SIGKILL
    (folder,) = [path.parent for path in tmp_path.rglob("request.json")]
    assert not (folder / "config.json").exists()
    resumed = train(restart_from=folder)
    assert (resumed.status, resumed.epochs_run) == ("complete", 2)
    assert resumed.session_dir == folder
    assert train(restart_from=folder) == resumed


def test_a_folder_without_a_request_says_what_to_do() -> None:
    Path("empty").mkdir()
    with pytest.raises(UserError, match="not a session folder") as caught:
        train(restart_from="empty")
    assert "deeptool train --usersettings" in str(caught.value.next_step)


def test_the_given_session_folder_is_used_once() -> None:
    result = train(SETTINGS, session_dir="here/it/is", hparams={"epochs": 1})
    assert result.session_dir == Path("here/it/is").absolute()
    with pytest.raises(UserError, match="holds another trial") as caught:
        train(SETTINGS, session_dir="here/it/is")
    assert "--restart_interrupted" in str(caught.value.next_step)
    assert stored(result.session_dir)["status"] == "complete"


def test_what_was_refused_leaves_no_session_but_tells_the_given_folder() -> None:
    with pytest.raises(UserError, match="unknown hyperparameter"):
        train(SETTINGS, hparams={"epoch": 1})
    assert not Path("experiments").exists()
    with pytest.raises(UserError, match="unknown hyperparameter"):
        train(SETTINGS, hparams={"epoch": 1}, session_dir="given")
    assert stored(Path("given"))["status"] == "failed"
    assert "unknown hyperparameter" in stored(Path("given"))["error"]
    assert train(SETTINGS, hparams={"epochs": 1}, session_dir="given").status == "complete"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("lost", [False, True], ids=["raised", "lost"])
def test_a_signal_ends_the_trial_as_interrupted(number: signal.Signals, lost: bool) -> None:
    settings = load_settings(SETTINGS)

    def send() -> None:
        if not lost:
            os.kill(os.getpid(), number)
            return
        try:
            os.kill(os.getpid(), number)
        except BaseException as error:
            # As TensorFlow does with what is raised in its callbacks.
            raise RuntimeError("UnknownError") from error

    settings.addon_callbacks = lambda *given: [Stop(1, send)]
    kind = Terminated if number == signal.SIGTERM else KeyboardInterrupt
    before = signal.getsignal(number)
    with pytest.raises(kind):
        train(settings)
    assert signal.getsignal(number) == before
    (folder,) = Path("experiments").iterdir()
    assert (stored(folder)["status"], stored(folder)["epochs_run"]) == ("interrupted", 1)
    assert train(restart_from=folder).epochs_run == 3


def test_a_signal_that_is_swallowed_still_ends_the_trial() -> None:
    settings = load_settings(SETTINGS)

    def send() -> None:
        with contextlib.suppress(Terminated):
            os.kill(os.getpid(), signal.SIGTERM)

    settings.addon_callbacks = lambda *given: [Stop(1, send)]
    with pytest.raises(Terminated):
        train(settings)


def test_a_full_disk_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: Any, **kwargs: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "variables.npz")

    monkeypatch.setattr(checkpoint.np, "savez", full)
    with pytest.raises(WorkError, match="no space left") as caught:
        train(SETTINGS)
    assert "--restart_interrupted" in str(caught.value.next_step)
    (folder,) = Path("experiments").iterdir()
    assert "no space left" in stored(folder)["error"]


@pytest.mark.parametrize(
    ("hparams", "error", "text"),
    [
        ({"data": "endless"}, UserError, "never ends, and steps_per_epoch is 0"),
        ({"data": "endless", "steps": 2}, UserError, "never ends, and validation_steps is 0"),
        ({"data": "empty"}, WorkError, "had too few batches"),
        ({"data": "empty", "steps": 3}, WorkError, "had too few batches"),
    ],
)
def test_pipelines_that_cannot_be_trained_on(
    hparams: dict[str, Any], error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        train(SETTINGS, hparams=hparams)


def test_a_pipeline_without_end_trains_with_steps() -> None:
    result = train(SETTINGS, hparams={"data": "endless", "steps": 2, "val_steps": 1})
    assert result.epochs_run == 3
    # tf.data and Keras may read ahead, never less.
    assert result.usage.samples_read >= 3 * (2 + 1) * 8


def test_more_steps_than_the_data_have_repeat_them() -> None:
    settings = load_settings(SETTINGS, hparams={"steps": 7, "epochs": 2})
    counts: list[int] = []

    class Count(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            counts.append(0)

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            counts[-1] += 1

    settings.addon_callbacks = lambda *given: [Count()]
    train(settings)
    assert counts == [7, 7]


class Recording(keras.Model):
    """Remembers the samples that it was really trained on."""

    def __init__(self) -> None:
        super().__init__()
        self.dense = keras.layers.Dense(1)

    def call(self, x: Any) -> Any:
        return self.dense(x)

    def train_step(self, data: Any) -> Any:
        tf.numpy_function(lambda x: SEEN.extend(x.ravel().tolist()), [data[0]], [])
        return super().train_step(data)


SEEN: list[float] = []


@pytest.mark.parametrize("counted", [True, False])
def test_every_epoch_trains_on_every_sample_once_however_they_differ(counted: bool) -> None:
    settings = load_settings(SETTINGS, hparams={"epochs": 5})
    sizes = [24, 40, 8, 40, 33]
    epochs: list[list[float]] = []

    def generate() -> Any:
        for sample in range(40 if counted else sizes[len(epochs)]):
            yield np.float32([sample]), np.float32([1])

    spec = tf.TensorSpec((1,), tf.float32)
    endless = tf.data.Dataset.from_generator(generate, output_signature=(spec, spec))
    train_set = endless.batch(8).prefetch(2)
    if counted:
        train_set = train_set.apply(tf.data.experimental.assert_cardinality(5))
    val_set = tf.data.Dataset.from_tensor_slices(validation()).batch(8)
    settings.pipeline = lambda split: train_set if split == "train" else val_set
    settings.build_model = Recording

    told: set[Any] = set()

    class Epochs(keras.callbacks.Callback):
        def on_train_begin(self, logs: Any = None) -> None:
            told.add(self.params["steps"])

        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            SEEN.clear()
            told.add(self.params["steps"])

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            epochs.append(sorted(SEEN))

    def addon_callbacks(model: Any, train_samples: Any, val_samples: Any) -> Any:
        known = int(train_samples.cardinality())
        told.add(known if known >= 0 else None)
        return [Epochs()]

    settings.addon_callbacks = addon_callbacks
    result = train(settings)
    # Where nobody knows, nobody is told a number: not one that bounds any epoch either.
    assert told == {5 if counted else None}
    expected = [40] * 5 if counted else sizes
    assert epochs == [[float(n) for n in range(size)] for size in expected]
    assert result.usage.samples_read == sum(expected) + 5 * 16


def test_a_model_that_is_not_built_yet_is_resumed_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deeptool.training.callbacks.WRITING", math.inf)

    def unbuilt(self: Any) -> Any:
        return keras.Sequential([keras.layers.Dense(3), keras.layers.Dense(1)])

    monkeypatch.setattr("deeptool.settings.Settings.build_model", unbuilt)
    whole = train(SETTINGS, hparams={"epochs": 4})
    whole.session_dir.rename("whole")
    resumed = train(restart_from=interrupted(2, epochs=4))
    assert resumed.final == pytest.approx(whole.final, rel=1e-5)


def test_moving_averages_are_what_is_validated_and_exported() -> None:
    settings = load_settings(SETTINGS, hparams={"averages": True, "learning_rate": 1.0})
    raw: list[Any] = []

    class Raw(keras.callbacks.Callback):
        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            raw.append(self.model.get_weights())

    settings.addon_callbacks = lambda *given: [Raw()]
    result = train(settings)
    x, y = validation()
    model = keras.models.load_model(result.session_dir / "model.keras")
    exported = np.mean((model.predict(x, verbose=0) - y) ** 2)
    assert exported == pytest.approx(result.best["val_loss"], rel=1e-5)
    assert result.best_epoch is not None
    model.set_weights(raw[result.best_epoch - 1])
    assert np.mean((model.predict(x, verbose=0) - y) ** 2) != pytest.approx(exported, rel=1e-2)


def test_xla_and_profiling(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(board, "PROFILED", (2, 4))
    settings = load_settings(SETTINGS, hparams={"epochs": 2})
    settings.useXLA = settings.use_profiling = True
    compiled: list[bool] = []

    class Ask(keras.callbacks.Callback):
        def on_train_begin(self, logs: Any = None) -> None:
            compiled.append(self.model.jit_compile)

    settings.addon_callbacks = lambda *given: [Ask()]
    result = train(settings)
    assert compiled == [True]
    assert list(result.session_dir.glob("logs/**/*.xplane.pb"))
    assert rows(result) == [
        pytest.approx(row, rel=1e-4) for row in rows(train(SETTINGS, hparams={"epochs": 2}))
    ]


@pytest.mark.parametrize(
    "policy", [pytest.param("mixed_bfloat16", marks=pytest.mark.soak), "mixed_float16"]
)
def test_mixed_precision(policy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "policy", lambda *given: (policy, None))
    monkeypatch.setattr("deeptool.training.callbacks.WRITING", math.inf)
    whole = train(SETTINGS, hparams={"epochs": 4, "averages": True})
    assert keras.mixed_precision.dtype_policy().name == "float32"
    model = keras.models.load_model(whole.session_dir / "model.keras")
    assert model.layers[0].compute_dtype == policy.removeprefix("mixed_")
    whole.session_dir.rename("whole")
    resumed = train(restart_from=interrupted(2, epochs=4, averages=True))
    assert resumed.final == pytest.approx(whole.final, rel=1e-3)


SAYS = """
import keras


def model(usersettings):
    net = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    layer = net.layers[-1]
    print("MODEL", keras.config.floatx(), layer.compute_dtype, layer.kernel.dtype)
    return net
"""


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        (
            "tf.keras.mixed_precision.set_global_policy('mixed_bfloat16')",
            "float32 bfloat16 float32",
        ),
        ("tf.keras.config.set_floatx('float64')", "float64 float64 float64"),
        (
            "tf.keras.config.set_dtype_policy('mixed_float16')\nenable_mixed_precision = False",
            "float32 float32 float32",
        ),
        (
            "tf.keras.config.set_floatx('float64')\nenable_mixed_precision = True",
            "float64 float64 float64",
        ),
    ],
)
def test_the_precision_that_the_settings_file_sets_holds_for_its_trial(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], more: str, expected: str
) -> None:
    (tmp_path / "says.py").write_text(f"{SETTINGS.read_text()}\n{more}\n")
    (tmp_path / "trial_model.py").write_text(SAYS)
    result = train("says.py", hparams={"epochs": 1})
    assert f"MODEL {expected}\n" in capsys.readouterr().out
    assert keras.config.floatx() == keras.config.dtype_policy().name == "float32"
    config = json.loads((result.session_dir / "config.json").read_text())
    assert config["precision"].removeprefix("mixed_") == expected.split()[1]


def test_the_precision_of_keras_json_and_of_the_caller_holds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "says.py").write_text(SETTINGS.read_text())
    (tmp_path / "trial_model.py").write_text(SAYS)
    (tmp_path / "keras.json").write_text('{"floatx": "float64", "backend": "tensorflow"}')
    command = [
        str(Path(sys.executable).with_name("deeptool")),
        "train",
        "-u",
        "says.py",
        "--hparam",
        "epochs=1",
    ]
    environment = {**os.environ, "KERAS_HOME": str(tmp_path)}
    shown = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert "MODEL float64 float64 float64\n" in shown.stdout
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        train("says.py", hparams={"epochs": 1})
        assert keras.config.dtype_policy().name == "mixed_bfloat16"
    finally:
        keras.config.set_dtype_policy("float32")
    assert "MODEL float32 bfloat16 float32\n" in capsys.readouterr().out


def test_the_learning_rate_may_be_a_number_a_schedule_or_a_function() -> None:
    schedule = keras.optimizers.schedules.ExponentialDecay(0.1, 10, 0.5)
    assert trial_model.learning_rate(np.float32(0.5)) == (0.5, None)
    assert trial_model.learning_rate(schedule) == (schedule, None)
    for wrong in (None, "fast", keras.callbacks.ReduceLROnPlateau(), float):
        with pytest.raises(UserError, match="no learning rate"):
            trial_model.learning_rate(wrong)
    settings = load_settings(SETTINGS)
    settings.get_learningRate = lambda: lambda epoch: 0.1 / (epoch + 1)
    assert [row["learning_rate"] for row in rows(train(settings))] == pytest.approx(
        [0.1, 0.05, 0.1 / 3]
    )
    settings = load_settings(SETTINGS, hparams={"epochs": 2})
    settings.get_learningRate = lambda: schedule
    assert [row["learning_rate"] for row in rows(train(settings))] == pytest.approx(
        [0.1 * 0.5**0.5, 0.1 * 0.5**1.0]
    )


@pytest.mark.parametrize(
    ("loss", "metrics"),
    [
        (lambda y, p: tf.reduce_mean((y - p) ** 2, axis=-1), {}),
        (keras.losses.Huber(), {"dense_1": "mse"}),
        ({"dense_1": "mae"}, [keras.metrics.MeanSquaredError(name="mse")]),
    ],
)
def test_losses_and_metrics_of_all_kinds(loss: Any, metrics: Any) -> None:
    settings = load_settings(SETTINGS, hparams={"epochs": 1})
    build = settings.build_model

    def named() -> Any:
        model = build()
        model.layers[-1].name = "dense_1"
        inputs = keras.Input((1,))
        return keras.Model(inputs, keras.layers.Dense(1, name="dense_1")(inputs))

    settings.build_model = named
    settings.get_total_loss = lambda model: loss
    settings.get_metrics = lambda model, given: metrics
    result = train(settings)
    assert math.isfinite(result.best["val_loss"])
    assert any("mse" in name for name in result.best) == bool(metrics)


class Spoil(keras.callbacks.Callback):  # type: ignore[misc]
    """Makes a weight infinite when the third epoch begins."""

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        if epoch == 2:
            self.model.layers[0].kernel.assign(self.model.layers[0].kernel * math.nan)


def test_a_trial_that_diverges_ends_with_what_it_had(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deeptool.training.callbacks.WRITING", math.inf)
    settings = load_settings(SETTINGS, hparams={"epochs": 5})
    settings.addon_callbacks = lambda *given: [Spoil()]
    result = train(settings)
    assert (result.status, result.epochs_run, result.best_epoch) == ("diverged", 3, 2)
    assert result.error == "diverged: loss was nan in epoch 3"
    assert result.error in capsys.readouterr().err
    assert [row["epoch"] for row in rows(result)] == [1, 2, 3]
    assert stored(result.session_dir)["final"]["val_loss"] is None
    kept = checkpoint.load(result.session_dir / "checkpoints")
    assert kept is not None
    assert kept.epoch == 2
    model = keras.models.load_model(result.session_dir / "model.keras")
    x, y = validation()
    error = np.mean((model.predict(x, verbose=0) - y) ** 2)
    assert error == pytest.approx(result.best["val_loss"], rel=1e-5)
    # It has come to its result: nothing is run again.
    assert train(restart_from=result.session_dir).error == result.error
    shown = CliRunner().invoke(
        command, ["--restart_interrupted", "--model_dir", str(result.session_dir)]
    )
    assert shown.exit_code == 0
    assert "3 of 5 epochs, diverged: loss was nan in epoch 3, best at epoch 2" in shown.stdout


def test_a_trial_that_diverges_at_once_has_no_weights_to_export() -> None:
    settings = load_settings(SETTINGS, hparams={"epochs": 2})
    settings.get_total_loss = lambda model: lambda y, p: p * math.inf
    result = train(settings)
    assert (result.status, result.epochs_run) == ("diverged", 1)
    assert (result.best_epoch, result.best) == (None, {})
    assert not (result.session_dir / "model.keras").exists()
    assert not (result.session_dir / "checkpoints").exists()
    assert any("no weights were exported" in note for note in result.notes)


def test_a_metric_alone_that_is_no_number_is_no_divergence() -> None:
    settings = load_settings(SETTINGS, hparams={"epochs": 2})

    def never(y: Any, p: Any) -> Any:
        return p * math.nan

    settings.get_metrics = lambda model, loss: [never]
    result = train(settings)
    assert (result.status, result.epochs_run) == ("complete", 2)
    assert math.isnan(result.final["val_never"])


def test_what_cannot_be_exported_is_a_note() -> None:
    settings = load_settings(SETTINGS, hparams={"epochs": 1})

    class Closed(keras.layers.Layer):
        def __init__(self, secret: Any) -> None:
            super().__init__()

        def call(self, x: Any) -> Any:
            return x

        def get_config(self) -> Any:
            raise NotImplementedError("no config")

    settings.build_model = lambda: keras.Sequential(
        [keras.Input((1,)), Closed(object()), keras.layers.Dense(1)]
    )
    result = train(settings)
    assert result.status == "complete"
    (note,) = result.notes
    assert note.startswith("no model.keras was written: ")
    assert not (result.session_dir / "model.keras").exists()
    assert (result.session_dir / "saved_model" / "saved_model.pb").exists()


def test_recover_from_checkpoint_begins_with_the_last_trials_weights() -> None:
    first = train(SETTINGS, hparams={"epochs": 6})
    settings = load_settings(SETTINGS, hparams={"epochs": 1, "learning_rate": 0.0})
    settings.recoverFromCheckpoint = True
    second = train(settings)
    assert second.final["val_loss"] == pytest.approx(first.best["val_loss"], rel=1e-5)
    assert any(str(first.session_dir) in note for note in second.notes)


def test_settings_that_are_loaded_take_no_hparams() -> None:
    with pytest.raises(UserError, match="loaded settings"):
        train(load_settings(SETTINGS), hparams={"epochs": 1})
    with pytest.raises(UserError, match="no settings file"):
        train()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--no-kafka"], "the settings' own pipeline was asked for"),
        ([], "the settings' own pipeline was asked for"),
        (["--kafka", "--reader", "tfio"], "--online --reader tfio"),
    ],
)
def test_only_librdkafka_reads_what_is_still_being_uploaded(
    arguments: list[str], said: str, folder: Path
) -> None:
    with pytest.raises(UserError) as caught:
        CliRunner().invoke(
            command, ["-u", str(SETTINGS), "--online", *arguments], catch_exceptions=False
        )
    assert caught.value.seen == said
    assert not list(folder.iterdir())


def test_a_request_that_goes_on_is_online_as_it_began() -> None:
    began = TrialRequest(SETTINGS, {}, None, True, TrialSource(online=True))
    assert TrialRequest.from_json(began.to_json(), TrialSource()).source.online
    earlier = {key: value for key, value in began.to_json().items() if key != "online"}
    assert not TrialRequest.from_json(earlier, TrialSource()).source.online


def test_names_of_the_original_framework() -> None:
    settings = load_settings(SETTINGS, hparams={"epochs": 2})
    plain = train(settings).best["val_loss"]
    heavy = load_settings(SETTINGS, hparams={"epochs": 2})
    heavy.get_loss_weights = lambda: 1000.0
    heavy.get_metrics = lambda model, loss: "mae"
    heavy.monitored_loss_name = "loss"
    result = train(heavy)
    assert result.best["val_loss"] > 100 * plain
    assert "val_mae" in result.best
    assert result.monitor == stored(result.session_dir)["monitor"] == "loss"
    assert result.best["loss"] == min(row["loss"] for row in rows(result))


@pytest.mark.parametrize(
    ("monitor", "text"),
    [("val_accuracy", "names no loss"), ("val_los", "nothing that is logged")],
)
def test_a_monitored_loss_that_is_none_is_named(monitor: str, text: str) -> None:
    settings = load_settings(SETTINGS, hparams={"epochs": 1})
    settings.monitored_loss_name = monitor
    with pytest.raises((UserError, WorkError), match=text) as error:
        train(settings)
    assert error.value.seen == monitor


def test_logs_that_are_no_number_leave_the_trial_alive(capsys: pytest.CaptureFixture[str]) -> None:
    class Logs(keras.callbacks.Callback):  # type: ignore[misc]
        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            logs |= {"per class": np.array([0.1, 0.2]), "word": "text", "none": None, "epoch": 0.5}

    settings = load_settings(SETTINGS, hparams={"epochs": 2})
    settings.addon_callbacks = lambda *given: [Logs()]
    result = train(settings)
    assert result.status == "complete"
    assert [(row["epoch"], row["metric epoch"]) for row in rows(result)] == [(1, 0.5), (2, 0.5)]
    said = "per class, word, none: no single number"
    assert capsys.readouterr().err.count(said) == 1


def test_a_loop_of_trials_draws_new_hparams_each_time() -> None:
    random.seed(3)
    np.random.seed(3)
    drawn = []
    for _ in range(3):
        drawn.append((random.random(), np.random.rand()))
        train(SETTINGS, hparams={"epochs": 1, "learning_rate": drawn[-1][0] / 100})
    assert len(set(drawn)) == 3
